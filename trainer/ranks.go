package trainer

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"

	"mambatrain/autograd/kernel"
	"mambatrain/trainer/checkpoint"
)

// RanksError reports why the ranks cannot train together.
type RanksError struct {
	Problem string
	All     bool // every rank has this error
}

func (e *RanksError) Error() string { return "trainer: ranks: " + e.Problem }

// maxShards is far above any realistic number of ranks.
const maxShards = 1 << 16

// checkRanks reports an error unless the shards of a step can be divided among the ranks without changing the bits of
// sums: each rank needs a complete subtree of the tree of pairs.
func (t *Trainer) checkRanks() error {
	shards, ranks := t.task.Ranks.Shards, t.comm.Size()
	each := shards / ranks
	switch {
	case shards > maxShards:
		return &RanksError{Problem: fmt.Sprintf("distributed.shards: must be at most %d, got %d", maxShards, shards)}
	case shards < ranks:
		return &RanksError{Problem: fmt.Sprintf("distributed.shards: %d is too few for %d ranks", shards, ranks)}
	case shards%ranks != 0 || each&(each-1) != 0:
		return &RanksError{Problem: fmt.Sprintf("distributed.shards: %d shards cannot be divided among %d ranks: each rank needs 1, 2, 4, 8, … shards", shards, ranks)}
	case t.task.Ranks.ShardOptimizer && t.config.Optim == "adafactor":
		return &RanksError{Problem: "distributed.shard_optimizer: adafactor needs whole tensors, and its state is too small to be worth splitting"}
	}
	return nil
}

// checkAgreement compares everything that must be the same on all ranks with rank 0: settings, data, program, and
// weights. All ranks return the error of the highest rank that differs.
func (t *Trainer) checkAgreement() error {
	c := t.comm
	if c.Size() == 1 {
		return nil
	}
	own := map[string]string{"kernels": kernel.ISA(), "platform": runtime.GOARCH, "weights": weightsChecksum(t.task.Params)}
	for _, facts := range []map[string]string{t.progress.Settings, t.task.Ranks.Facts} {
		for k, v := range facts {
			own[k] = v
		}
	}
	text, err := json.Marshal(own)
	if err != nil {
		return err
	}
	root, err := broadcastText(c, string(text), 0)
	if err != nil {
		return err
	}
	theirs := map[string]string{}
	if err := json.Unmarshal([]byte(root), &theirs); err != nil {
		return err
	}
	return t.reportDifferences(checkpoint.Changes(theirs, own))
}

// reportDifferences returns the differences of one rank from rank 0 as an error on all ranks.
func (t *Trainer) reportDifferences(differences []checkpoint.Change) error {
	c, last := t.comm, []float64{-1}
	if len(differences) > 0 {
		last[0] = float64(c.Rank())
	}
	if err := c.AllReduceMax(last); err != nil || last[0] < 0 {
		return err
	}
	host, _ := os.Hostname()
	problem := fmt.Sprintf("rank %d (%s) differs from rank 0", c.Rank(), host)
	for _, d := range differences {
		problem += fmt.Sprintf("\n  %s: rank 0 %s, rank %d %s", d.Key, d.Was, c.Rank(), d.Is)
	}
	problem, err := broadcastText(c, problem, int(last[0]))
	if err != nil {
		return err
	}
	return &RanksError{problem, true}
}

// broadcastText returns root's text on every rank.
func broadcastText(c Communicator, text string, root int) (string, error) {
	n, err := BroadcastInt(c, root, len(text))
	if err != nil {
		return "", err
	}
	b := make([]byte, n)
	copy(b, text)
	err = c.Broadcast(b, root)
	return string(b), err
}

// BroadcastInt returns root's n on every rank.
func BroadcastInt(c Communicator, root, n int) (int, error) {
	b := binary.LittleEndian.AppendUint64(nil, uint64(n))
	err := c.Broadcast(b, root)
	return int(binary.LittleEndian.Uint64(b)), err
}

// startInfo is what rank 0 learns about the start of the run from the output directory.
type startInfo struct {
	Saves   bool // there is an output directory
	Done    bool // the run in it is finished
	Resumed bool // from a checkpoint; its weights and optimizer state are broadcast next
	State   *checkpoint.State
}

// shareStart returns rank 0's information, so that only rank 0 needs access to the output directory.
func (t *Trainer) shareStart(s startInfo) (startInfo, error) {
	c := t.comm
	if c.Size() == 1 {
		return s, nil
	}
	s.State = t.state
	text, err := json.Marshal(s)
	if err != nil {
		return s, err
	}
	root, err := broadcastText(c, string(text), 0)
	if err != nil {
		return s, err
	}
	if c.Rank() > 0 {
		s = startInfo{}
		if err := json.Unmarshal([]byte(root), &s); err != nil {
			return s, err
		}
		t.adopt(s.State)
	}
	if !s.Resumed {
		return s, nil
	}
	for _, p := range t.optimizer.Params() {
		if err := c.Broadcast(bytesOf(p.Float32s()), 0); err != nil {
			return s, err
		}
	}
	return s, nil
}

// sumSlots sums the slots over all ranks and then over the slots, in slot order. Each slot is set on only one rank, so
// unlike a sum of per-rank sums, the result does not depend on which rank set which slot.
func sumSlots(c Communicator, slots []float64) (float64, error) {
	err := c.AllReduceSum(slots) // adding zeros changes nothing
	sum := 0.0
	for _, x := range slots {
		sum += x
	}
	return sum, err
}

// shareFirst replaces f on every rank with the fault from the lowest micro-batch on any rank.
func (t *Trainer) shareFirst(f *NonFiniteError) error {
	c := t.comm
	if c.Size() == 1 {
		return nil
	}
	first, root := []float64{math.Inf(-1)}, []float64{0}
	if f.Batch >= 0 {
		first[0] = -float64(f.Batch)
	}
	if err := c.AllReduceMax(first); err != nil {
		return err
	}
	if f.Batch >= 0 && first[0] == -float64(f.Batch) {
		root[0] = float64(c.Rank())
	}
	if err := c.AllReduceMax(root); err != nil {
		return err
	}
	text, err := broadcastText(c, fmt.Sprintf("%d %v %s", f.Batch, f.Loss, f.Tensor), int(root[0]))
	if err != nil {
		return err
	}
	fields := strings.SplitN(text, " ", 3)
	if f.Batch, err = strconv.Atoi(fields[0]); err != nil {
		return err
	}
	f.Loss, err = strconv.ParseFloat(fields[1], 64)
	f.Tensor = fields[2]
	return err
}

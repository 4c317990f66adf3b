package trainer

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
	"mambatrain/trainer/checkpoint"
)

// RanksError says why ranks cannot train together.
type RanksError struct {
	Problem string
	All     bool // every rank has this error
}

func (e *RanksError) Error() string { return "trainer: ranks: " + e.Problem }

// ExitCode is the process's exit code: wrong use.
func (e *RanksError) ExitCode() int { return 2 }

// maxShards is far more than there are ranks to divide them over.
const maxShards = 1 << 16

// checkRanks says whether the shards of a step can be divided over the ranks so that sums keep their bits: each rank
// needs a whole subtree of the tree of pairs.
func (t *Trainer) checkRanks() error {
	shards, ranks := t.task.Shards, t.task.Comm.Size()
	each := shards / ranks
	switch {
	case shards > maxShards:
		return &RanksError{Problem: fmt.Sprintf("distributed.shards: must be at most %d, got %d", maxShards, shards)}
	case shards < ranks:
		return &RanksError{Problem: fmt.Sprintf("distributed.shards: %d shards are too few for %d ranks", shards, ranks)}
	case shards%ranks != 0 || each&(each-1) != 0:
		return &RanksError{Problem: fmt.Sprintf("distributed.shards: %d shards cannot be divided over %d ranks: each needs 1, 2, 4, 8 … of them", shards, ranks)}
	case t.task.ShardOptimizer && t.Optim == "adafactor":
		return &RanksError{Problem: "distributed.shard_optimizer: adafactor looks at whole tensors, and keeps little that could be divided"}
	}
	return nil
}

// agree compares what must be the same on all ranks with what rank 0 has: settings, data, program and weights. The error
// is that of the last rank that differs, on all of them.
func (t *Trainer) agree() error {
	c := t.task.Comm
	if c.Size() == 1 {
		return nil
	}
	own := map[string]string{"kernels": kernel.ISA(), "platform": runtime.GOARCH, "weights": weightsChecksum(t.task.Params)}
	for _, facts := range []map[string]string{t.progress.Settings, t.task.Facts} {
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
	return t.report(checkpoint.Changes(theirs, own))
}

// report makes one rank's differences from rank 0 the error of all ranks.
func (t *Trainer) report(differences []checkpoint.Change) error {
	c, last := t.task.Comm, []float64{-1}
	if len(differences) > 0 {
		last[0] = float64(c.Rank())
	}
	if err := c.AllReduceMax(last); err != nil || last[0] < 0 {
		return err
	}
	host, _ := os.Hostname()
	problem := fmt.Sprintf("rank %d (%s) does not have what rank 0 has", c.Rank(), host)
	for _, d := range differences {
		problem += fmt.Sprintf("\n  %s: rank 0 %s, rank %d %s", d.Key, d.Was, c.Rank(), d.Is)
	}
	problem, err := broadcastText(c, problem, int(last[0]))
	if err != nil {
		return err
	}
	return &RanksError{problem, true}
}

// castagnoli is the table of CRC-32C.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// weightsChecksum covers all parameters, frozen ones too: two ranks with different base models would train nonsense.
func weightsChecksum(params []*ag.Param) string {
	h := crc32.New(castagnoli)
	var buf []float32
	for _, p := range params {
		h.Write([]byte(p.Name))
		rows, cols := p.Shape()[0], p.Size()/p.Shape()[0]
		block := max(1, checksumBlock/cols)
		if need := min(block, rows) * cols; len(buf) < need {
			buf = make([]float32, need)
		}
		for from := 0; from < rows; from += block {
			y := kernel.Dense(buf, min(block, rows-from), cols)
			p.ReadRows(y, from)
			h.Write(bytesOf(buf[:y.Rows*cols]))
		}
	}
	return fmt.Sprintf("%08x", h.Sum32())
}

// checksumBlock is how many numbers of a weight are read at once, where a row is not longer.
const checksumBlock = 1 << 18

// bytesOf views numbers as the bytes that they are in memory.
func bytesOf(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), len(x)*int(unsafe.Sizeof(float32(0))))
}

// broadcastText returns root's text.
func broadcastText(c Communicator, text string, root int) (string, error) {
	n, err := FromRank(c, root, len(text))
	if err != nil {
		return "", err
	}
	b := make([]byte, n)
	copy(b, text)
	err = c.Broadcast(b, root)
	return string(b), err
}

// FromRank returns root's n.
func FromRank(c Communicator, root, n int) (int, error) {
	b := binary.LittleEndian.AppendUint64(nil, uint64(n))
	err := c.Broadcast(b, root)
	return int(binary.LittleEndian.Uint64(b)), err
}

// found is what rank 0 has found in the output directory.
type found struct {
	Saves   bool // there is one
	Done    bool // its run is finished
	Resumed bool // from a checkpoint, whose weights and optimiser follow
	State   *checkpoint.State
}

// share gives the other ranks what rank 0 has found, so that only rank 0 needs to see the output directory.
func (t *Trainer) share(f found) (found, error) {
	c := t.task.Comm
	if c.Size() == 1 {
		return f, nil
	}
	f.State = t.state
	text, err := json.Marshal(f)
	if err != nil {
		return f, err
	}
	root, err := broadcastText(c, string(text), 0)
	if err != nil {
		return f, err
	}
	if c.Rank() > 0 {
		f = found{}
		if err := json.Unmarshal([]byte(root), &f); err != nil {
			return f, err
		}
		t.adopt(f.State)
	}
	if !f.Resumed {
		return f, nil
	}
	for _, p := range t.optimizer.Params() {
		if err := c.Broadcast(bytesOf(p.Float32s()), 0); err != nil {
			return f, err
		}
	}
	return f, nil
}

// sumSlots adds up what each slot holds on the one rank that has filled it, in the order of the slots: unlike a sum of
// the ranks' sums, the result does not depend on who has filled which.
func sumSlots(c Communicator, slots []float64) (float64, error) {
	err := c.AllReduceSum(slots) // adding zeros changes nothing
	sum := 0.0
	for _, x := range slots {
		sum += x
	}
	return sum, err
}

// earliest makes the fault of the first micro-batch over all ranks that of all ranks.
func (t *Trainer) earliest(f *NonFinite) error {
	c := t.task.Comm
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

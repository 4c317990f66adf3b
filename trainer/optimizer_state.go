package trainer

import (
	"fmt"
	"path/filepath"
	"slices"

	"mambatrain/nn/weights"
	"mambatrain/trainer/optim"
)

// If ranks divide the optimizer state, a checkpoint still contains all of it, because a run may resume with a different
// number of ranks. Rank 0 writes it tensor by tensor while the others send their parts, so no rank ever has all of it
// in memory.

// optimizerFile contains the optimizer state of a checkpoint, as safetensors; torch's own format is a pickle.
const optimizerFile = "optimizer.safetensors"

// noTensor is broadcast instead of a tensor's index when rank 0 needs no more tensors.
const noTensor = -1

// sharded reports whether the ranks divide the optimizer state.
func (t *Trainer) sharded() bool { return t.task.Ranks.ShardOptimizer && t.comm.Size() > 1 }

// collect returns the complete i-th tensor of the optimizer. Only rank 0 calls it, in file order.
func (t *Trainer) collect(i int, x optim.Tensor) ([]float32, error) {
	if !t.sharded() {
		return x.Values()
	}
	if _, err := BroadcastInt(t.comm, 0, i); err != nil {
		return nil, err
	}
	return t.assemble(x)
}

// assemble joins the parts of a tensor from all ranks.
func (t *Trainer) assemble(x optim.Tensor) ([]float32, error) {
	all := make([]float32, x.Size())
	for _, part := range x.Parts {
		copy(all[part.From:], part.Data)
	}
	for _, b := range t.reducer.of[x.Param] {
		if s := b.extents[0]; b.shared {
			if err := t.comm.AllGather(all[s.From:s.To]); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// sendParts sends rank 0 this rank's parts of each tensor that rank 0 collects.
func (t *Trainer) sendParts() error {
	if !t.sharded() {
		return nil
	}
	list := t.optimizer.Tensors()
	for {
		i, err := BroadcastInt(t.comm, 0, noTensor)
		if err != nil || i == noTensor {
			return err
		}
		if _, err := t.assemble(list[i]); err != nil {
			return err
		}
	}
}

// endCollecting tells the other ranks that a checkpoint is complete or has failed.
func (t *Trainer) endCollecting() error {
	if !t.sharded() {
		return nil
	}
	_, err := BroadcastInt(t.comm, 0, noTensor)
	return err
}

// scatter distributes what read stores in data on rank 0, giving each rank its parts, tensor by tensor.
func (t *Trainer) scatter(read func(x optim.Tensor, data []float32) error) error {
	for _, x := range t.optimizer.Tensors() {
		data, err := x.Values()
		if err != nil {
			return err
		}
		if data == nil {
			data = make([]float32, x.Size())
		}
		if err := read(x, data); err != nil {
			return err
		}
		if t.comm.Size() > 1 {
			if err := t.comm.Broadcast(bytesOf(data), 0); err != nil {
				return err
			}
		}
		for _, part := range x.Parts {
			part.Set(data[part.From:][:len(part.Data)])
		}
	}
	return nil
}

func (t *Trainer) writeOptimizer(path string) error {
	var list []weights.Entry
	for i, x := range t.optimizer.Tensors() {
		list = append(list, weights.Entry{Name: x.Name, Shape: x.Shape, DType: weights.F32, Values: func() (any, error) { return t.collect(i, x) }})
	}
	list = append(list, t.carried.entries()...)
	return weights.Save(path, list, map[string]string{"optim": t.config.Optim})
}

// readOptimizer reads the optimizer state on rank 0 and distributes it to the other ranks.
func (t *Trainer) readOptimizer(dir string) error {
	t.optimizer.SetSteps(t.progress.Updates)
	if t.comm.Rank() > 0 {
		return t.scatter(func(optim.Tensor, []float32) error { return nil })
	}
	f, err := weights.Open(filepath.Join(dir, optimizerFile))
	if err != nil {
		return err
	}
	defer f.Close()
	err = t.scatter(func(m optim.Tensor, data []float32) error {
		x, ok := f.Tensor(m.Name)
		if !ok {
			return fmt.Errorf("%s: %s is missing", optimizerFile, m.Name)
		}
		if !slices.Equal(x.Shape, m.Shape) {
			return fmt.Errorf("%s: %s has shape %v, want %v", optimizerFile, m.Name, x.Shape, m.Shape)
		}
		return x.ReadFloat32s(data)
	})
	if err != nil {
		return err
	}
	t.carried, err = readCarriedStates(f)
	return err
}

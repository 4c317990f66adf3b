package trainer

import "mambatrain/trainer/optim"

// Where ranks divide the optimiser's memory, a checkpoint still holds it whole: a run may go on with another number of
// ranks. Rank 0 writes it tensor by tensor, for which the others send their parts, so that no rank ever has all of it.

// nothingMore ends assist.
const nothingMore = -1

// collect returns the whole of the i-th tensor that the optimiser remembers. Only rank 0 calls it, in the file's order.
func (t *Trainer) collect(i int, x optim.Tensor) ([]float32, error) {
	if t.undivided() {
		return x.Data(), nil
	}
	if _, err := FromRank(t.task.Comm, 0, i); err != nil {
		return nil, err
	}
	return t.assemble(x)
}

func (t *Trainer) undivided() bool { return !t.task.ShardOptimizer || t.task.Comm.Size() == 1 }

// assemble joins the parts of all ranks.
func (t *Trainer) assemble(x optim.Tensor) ([]float32, error) {
	all := make([]float32, x.Size())
	for _, part := range x.Parts {
		copy(all[part.From:], part.Data)
	}
	for _, b := range t.reducer.of[x.Param] {
		if s := b.extents[0]; b.shared {
			if err := t.task.Comm.AllGather(all[s.From:s.To]); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// assist sends rank 0 this rank's parts of the tensors that it asks for.
func (t *Trainer) assist() error {
	if t.undivided() {
		return nil
	}
	list := t.optimizer.Tensors()
	for {
		i, err := FromRank(t.task.Comm, 0, nothingMore)
		if err != nil || i == nothingMore {
			return err
		}
		if _, err := t.assemble(list[i]); err != nil {
			return err
		}
	}
}

// dismiss tells the other ranks that a checkpoint needs no more, be it whole or failed.
func (t *Trainer) dismiss() error {
	if t.undivided() {
		return nil
	}
	_, err := FromRank(t.task.Comm, 0, nothingMore)
	return err
}

// scatter gives each rank its parts of what read fills on rank 0, tensor by tensor.
func (t *Trainer) scatter(read func(x optim.Tensor, data []float32) error) error {
	for _, x := range t.optimizer.Tensors() {
		data := x.Data()
		if data == nil {
			data = make([]float32, x.Size())
		}
		if err := read(x, data); err != nil {
			return err
		}
		if t.task.Comm.Size() > 1 {
			if err := t.task.Comm.Broadcast(bytesOf(data), 0); err != nil {
				return err
			}
		}
		for _, part := range x.Parts {
			copy(part.Data, data[part.From:])
		}
	}
	return nil
}

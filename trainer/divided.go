package trainer

// Where ranks divide the optimiser's memory, a checkpoint still holds it whole: a run may go on with another number of
// ranks. Rank 0 writes it tensor by tensor, for which the others send their parts, so that no rank ever has all of it.

// nothingMore ends assist.
const nothingMore = -1

// collect returns the whole of the i-th tensor that the optimiser remembers. Only rank 0 calls it, in the file's order.
func (t *Trainer) collect(i int, m remembered) ([]float32, error) {
	if t.undivided() {
		return m.whole(), nil
	}
	if _, err := FromRank(t.task.Comm, 0, i); err != nil {
		return nil, err
	}
	return t.assemble(m)
}

func (t *Trainer) undivided() bool { return !t.task.ShardOptimizer || t.task.Comm.Size() == 1 }

// assemble joins the parts of all ranks.
func (t *Trainer) assemble(m remembered) ([]float32, error) {
	all := make([]float32, volume(m.Shape))
	for _, part := range m.parts {
		copy(all[part.from:], part.data)
	}
	for _, b := range t.reducer.of[m.param] {
		if s := b.extents[0]; b.shared {
			if err := t.task.Comm.AllGather(all[s.from:s.to]); err != nil {
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
	list := t.optimizer.remembered()
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
func (t *Trainer) scatter(read func(m remembered, data []float32) error) error {
	for _, m := range t.optimizer.remembered() {
		data := m.whole()
		if data == nil {
			data = make([]float32, volume(m.Shape))
		}
		if err := read(m, data); err != nil {
			return err
		}
		if t.task.Comm.Size() > 1 {
			if err := t.task.Comm.Broadcast(bytesOf(data), 0); err != nil {
				return err
			}
		}
		for _, part := range m.parts {
			copy(part.data, data[part.from:])
		}
	}
	return nil
}

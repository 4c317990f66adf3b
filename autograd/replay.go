package autograd

// Checkpointing. A segment keeps only its inputs. When backward first needs a value inside it, the ops on which saved
// values depend are recorded again at that point of the tape, and backward reads their results. The gradients stay with
// the original values.

// replayed returns the record with the saved values for r's backward pass: r itself, or its copy in the replay.
func (g *Graph) replayed(r *record) *record {
	if r.segment == 0 {
		return r
	}
	if r.source == nil {
		g.replay(r.segment)
	}
	return r.source
}

// replay records the ops of a segment again, but only those that its backward passes need.
func (g *Graph) replay(segment int) {
	var seg []*record
	for _, r := range g.records {
		if r.segment == segment && r.out.by == r {
			seg = append(seg, r)
		}
	}
	again := g.toReplay(seg)
	copies := map[*value]*value{}
	for _, r := range seg {
		c := &record{g: g, id: r.id, exec: r.exec, in: make([]*value, len(r.in)), shapes: r.shapes, out: r.out, state: r.state, carry: r.carry}
		for i, v := range r.in {
			c.in[i] = v
			if w := copies[v]; w != nil {
				c.in[i] = w
			}
		}
		r.source = c
		if !again[r] {
			continue
		}
		v := &value{g: g, shape: r.out.shape, live: append([]int(nil), r.out.live...), by: r, buf: g.buffer(r.out.shape)}
		c.out = v
		if r.state != nil && !r.keepsState() {
			c.state = g.buffer(r.state.shape)
		}
		g.forward(c)
		g.values = append(g.values, v)
		copies[r.out] = v
	}
}

// toReplay finds, going backward from the last op, the ops whose output or state some backward pass reads.
func (g *Graph) toReplay(seg []*record) map[*record]bool {
	again, read := map[*record]bool{}, map[*value]bool{}
	for i := len(seg) - 1; i >= 0; i-- {
		r := seg[i]
		again[r] = read[r.out] || r.active && r.state != nil && !r.keepsState()
		if r.active {
			for j, reads := range r.exec.saves(r.needs()) {
				if reads && r.in[j] != nil {
					read[r.in[j]] = true
				}
			}
		}
		if again[r] {
			for _, v := range r.in {
				if v != nil {
					read[v] = true
				}
			}
		}
	}
	return again
}

// keepsState reports whether r's state is so small that it is kept instead of recomputed.
func (r *record) keepsState() bool {
	return r.state != nil && 4*size(r.state.shape) <= size(r.out.shape)
}

package autograd

// Checkpointing. A segment keeps its inputs only. When backward first asks for a value from inside it, those of its ops
// on which saved values depend are recorded again, at that point of the tape, and backward reads their results. The
// gradients stay with the original values.

// replayed returns where the backward pass of r finds its saved values: r itself, or its copy in the replay.
func (g *Graph) replayed(r *record) *record {
	if r.segment == 0 {
		return r
	}
	if r.source == nil {
		g.replay(r.segment)
	}
	return r.source
}

// replay records the ops of a segment again as far as its backward passes need them.
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

// toReplay finds, from the last op backwards, those whose output or state some backward pass reads.
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

// keepsState says that r's state is so small that it lives on rather than being computed again.
func (r *record) keepsState() bool {
	return r.state != nil && 4*size(r.state.shape) <= size(r.out.shape)
}

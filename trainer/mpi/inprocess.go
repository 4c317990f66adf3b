package mpi

import (
	"errors"
	"fmt"
	"sync"
)

// InProcess returns the communicators of n ranks in this process that exchange data through memory, for tests of code
// that runs on several ranks. Mismatched calls are errors. After Abort every call fails. c must be valid.
func InProcess(n int, c Config) []*Comm {
	g := newGroup(n)
	comms := make([]*Comm, n)
	var wg sync.WaitGroup
	for i := range comms {
		wg.Go(func() {
			open := func() (library, error) { return &member{g, i}, nil }
			comms[i], _ = start(open, launch{name: "test", rank: i, size: n}, c) // opening a member cannot fail
		})
	}
	wg.Wait()
	return comms
}

// group is the ranks of one process, which exchange data through memory.
type group struct {
	mu      sync.Mutex
	all     *sync.Cond
	ranks   []call
	arrived int
	round   int
	aborted error
}

func newGroup(ranks int) *group {
	g := &group{ranks: make([]call, ranks)}
	g.all = sync.NewCond(&g.mu)
	return g
}

// call is a rank's part of a collective call.
type call struct {
	name    string
	floats  []float32
	doubles []float64
	bytes   []byte
}

// meet returns when all ranks have called it.
func (g *group) meet() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	round := g.round
	g.arrived++
	if g.arrived == len(g.ranks) {
		g.arrived = 0
		g.round++
		g.all.Broadcast()
	}
	for g.round == round && g.aborted == nil {
		g.all.Wait()
	}
	return g.aborted
}

// member is one rank of a group.
type member struct {
	group *group
	me    int
}

// exchange publishes c, lets read inspect the calls of all ranks, and waits until all ranks have done so.
func (m *member) exchange(c call, read func(all []call)) error {
	m.group.ranks[m.me] = c
	if err := m.group.meet(); err != nil {
		return err
	}
	var mismatch error
	for i, other := range m.group.ranks {
		if other.name != c.name || len(other.floats) != len(c.floats) || len(other.doubles) != len(c.doubles) || len(other.bytes) != len(c.bytes) {
			mismatch = fmt.Errorf("rank %d called %s on %d elements, rank %d called %s on %d", m.me, c.name, c.len(), i, other.name, other.len())
		}
	}
	if mismatch == nil {
		read(m.group.ranks)
	}
	return errors.Join(mismatch, m.group.meet())
}

func (c call) len() int { return len(c.floats) + len(c.doubles) + len(c.bytes) }

func (m *member) version() string    { return "goroutines" }
func (m *member) rank() (int, error) { return m.me, nil }
func (m *member) size() (int, error) { return len(m.group.ranks), nil }

func (m *member) sumFloat32s(recv, send []float32) error {
	return m.exchange(call{name: "sum", floats: send}, func(all []call) {
		clear(recv)
		for _, c := range all {
			for i, x := range c.floats {
				recv[i] += x
			}
		}
	})
}

func (m *member) sumFloat64s(recv, send []float64) error {
	return m.exchange(call{name: "sum", doubles: send}, func(all []call) {
		clear(recv)
		for _, c := range all {
			for i, x := range c.doubles {
				recv[i] += x
			}
		}
	})
}

func (m *member) maxFloat64s(recv, send []float64) error {
	return m.exchange(call{name: "max", doubles: send}, func(all []call) {
		copy(recv, all[0].doubles)
		for _, c := range all {
			for i, x := range c.doubles {
				recv[i] = max(recv[i], x)
			}
		}
	})
}

func (m *member) allToAll(recv, send []float32) error {
	n := len(send) / len(m.group.ranks)
	return m.exchange(call{name: "all-to-all", floats: send}, func(all []call) {
		for i, c := range all {
			copy(recv[i*n:][:n], c.floats[m.me*n:])
		}
	})
}

func (m *member) allGather(recv, send []float32) error {
	return m.exchange(call{name: "all-gather", floats: send}, func(all []call) {
		for i, c := range all {
			copy(recv[i*len(send):], c.floats)
		}
	})
}

func (m *member) broadcast(x []byte, root int) error {
	c := call{name: fmt.Sprintf("broadcast from %d", root), bytes: x}
	return m.exchange(c, func(all []call) {
		if m.me != root {
			copy(x, all[root].bytes)
		}
	})
}

func (m *member) barrier() error  { return m.exchange(call{name: "barrier"}, func([]call) {}) }
func (m *member) finalize() error { return m.exchange(call{name: "finalize"}, func([]call) {}) }

func (m *member) abort(code int) {
	m.group.mu.Lock()
	defer m.group.mu.Unlock()
	m.group.aborted = fmt.Errorf("aborted with code %d", code)
	m.group.all.Broadcast()
}

package mpi

import (
	"errors"
	"fmt"
	"sync"
)

// InProcess returns the communicators of n ranks that live in this process and exchange through memory, for tests of
// what runs on several ranks. Calls that do not match are errors. After Abort every call fails.
func InProcess(n int, o Options) []*Comm {
	r := newRoom(n)
	comms := make([]*Comm, n)
	var wg sync.WaitGroup
	for i := range comms {
		wg.Go(func() {
			open := func() (library, error) { return &seat{r, i}, nil }
			comms[i], _ = start(open, launched{name: "test", rank: i, size: n}, o) // a seat does not fail to open
		})
	}
	wg.Wait()
	return comms
}

// room is where the ranks of one process meet.
type room struct {
	mu      sync.Mutex
	all     *sync.Cond
	ranks   []call
	arrived int
	round   int
	aborted error
}

func newRoom(ranks int) *room {
	r := &room{ranks: make([]call, ranks)}
	r.all = sync.NewCond(&r.mu)
	return r
}

// call is what a rank brings along.
type call struct {
	name    string
	floats  []float32
	doubles []float64
	bytes   []byte
}

// meet returns when all ranks are there.
func (r *room) meet() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	round := r.round
	r.arrived++
	if r.arrived == len(r.ranks) {
		r.arrived = 0
		r.round++
		r.all.Broadcast()
	}
	for r.round == round && r.aborted == nil {
		r.all.Wait()
	}
	return r.aborted
}

// seat is one rank's place in a room.
type seat struct {
	room *room
	me   int
}

// exchange shows c to the others, lets read look at theirs, and keeps everybody until all have looked.
func (s *seat) exchange(c call, read func(all []call)) error {
	s.room.ranks[s.me] = c
	if err := s.room.meet(); err != nil {
		return err
	}
	var mismatch error
	for i, other := range s.room.ranks {
		if other.name != c.name || len(other.floats) != len(c.floats) || len(other.doubles) != len(c.doubles) || len(other.bytes) != len(c.bytes) {
			mismatch = fmt.Errorf("rank %d calls %s of %d elements, rank %d %s of %d", s.me, c.name, c.len(), i, other.name, other.len())
		}
	}
	if mismatch == nil {
		read(s.room.ranks)
	}
	return errors.Join(mismatch, s.room.meet())
}

func (c call) len() int { return len(c.floats) + len(c.doubles) + len(c.bytes) }

func (s *seat) version() string    { return "goroutines" }
func (s *seat) rank() (int, error) { return s.me, nil }
func (s *seat) size() (int, error) { return len(s.room.ranks), nil }

func (s *seat) sumFloat32s(recv, send []float32) error {
	return s.exchange(call{name: "sum", floats: send}, func(all []call) {
		clear(recv)
		for _, c := range all {
			for i, x := range c.floats {
				recv[i] += x
			}
		}
	})
}

func (s *seat) sumFloat64s(recv, send []float64) error {
	return s.exchange(call{name: "sum", doubles: send}, func(all []call) {
		clear(recv)
		for _, c := range all {
			for i, x := range c.doubles {
				recv[i] += x
			}
		}
	})
}

func (s *seat) maxFloat64s(recv, send []float64) error {
	return s.exchange(call{name: "max", doubles: send}, func(all []call) {
		copy(recv, all[0].doubles)
		for _, c := range all {
			for i, x := range c.doubles {
				recv[i] = max(recv[i], x)
			}
		}
	})
}

func (s *seat) allToAll(recv, send []float32) error {
	n := len(send) / len(s.room.ranks)
	return s.exchange(call{name: "all-to-all", floats: send}, func(all []call) {
		for i, c := range all {
			copy(recv[i*n:][:n], c.floats[s.me*n:])
		}
	})
}

func (s *seat) allGather(recv, send []float32) error {
	return s.exchange(call{name: "all-gather", floats: send}, func(all []call) {
		for i, c := range all {
			copy(recv[i*len(send):], c.floats)
		}
	})
}

func (s *seat) broadcast(x []byte, root int) error {
	c := call{name: fmt.Sprintf("broadcast from %d", root), bytes: x}
	return s.exchange(c, func(all []call) {
		if s.me != root {
			copy(x, all[root].bytes)
		}
	})
}

func (s *seat) barrier() error  { return s.exchange(call{name: "barrier"}, func([]call) {}) }
func (s *seat) finalize() error { return s.exchange(call{name: "finalize"}, func([]call) {}) }

func (s *seat) abort(code int) {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	s.room.aborted = fmt.Errorf("aborted with code %d", code)
	s.room.all.Broadcast()
}

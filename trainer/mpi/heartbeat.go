package mpi

import (
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// heartbeat distinguishes a rank that is computing from one that will never make its next call. To MPI both are just
// late: it does not detect a rank that is stopped or cut off. So each rank also sends its status to its peers once per
// beat, outside MPI, and listens for theirs. Rank 0's peers are all other ranks, and their only peer is rank 0. The
// goroutines that do this run while kernels compute and files are read or written, so only a process that is stopped,
// dead, or cut off falls silent.
type heartbeat struct {
	every  time.Duration
	ticker ticker
	done   chan struct{}
	once   sync.Once

	mu    sync.Mutex
	peers []*peer
}

// status is a rank's report about itself, sent as one byte on its connection.
type status byte

const (
	alive    status = 'a'
	finished status = 'z' // has left MPI normally
	failing  status = 'f' // has reported an error to the user and is ending the job
	gone     status = 0   // never sent: the connection ended without a final status
)

const (
	// silentBeats is the number of missed beats after which a peer is lost.
	silentBeats = 20
	// failingBeats is the number of beats that a launcher has to end this process after a peer reports that it is
	// failing.
	failingBeats = 5
	// inFlightBeats is the number of beats that may be in flight on the network.
	inFlightBeats = 3
)

func newHeartbeat(c Config) *heartbeat {
	every := c.Silence / silentBeats
	return &heartbeat{every: every, ticker: c.newTicker(every), done: make(chan struct{})}
}

// watch starts sending and listening. If a peer is lost, it calls lost, once, with the reason.
func (h *heartbeat) watch(peers []*peer, lost func(reason string)) {
	h.mu.Lock()
	h.peers = peers
	h.mu.Unlock()
	for _, p := range peers {
		go p.listen()
	}
	go h.run(lost)
}

// run counts its own beats instead of reading the clock. If the whole job is suspended and resumed, all clocks jump;
// what matters is how long a peer is silent while this rank is running.
func (h *heartbeat) run(lost func(reason string)) {
	defer h.ticker.stop()
	for {
		select {
		case <-h.done:
			return
		case <-h.ticker.ticks():
		}
		h.send(alive)
		for _, p := range h.peers {
			if reason := p.beat(h.every); reason != "" {
				lost(reason)
				return
			}
		}
	}
}

// send sends a status to all peers. It does not check for delivery: a peer notices if nothing arrives.
func (h *heartbeat) send(s status) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.peers {
		p.conn.Write([]byte{byte(s)})
	}
}

// stop sends a final status and ends the heartbeat.
func (h *heartbeat) stop(last status) {
	h.once.Do(func() {
		close(h.done)
		h.send(last)
	})
}

// cutOff reports whether the host of any peer is cut off.
func (h *heartbeat) cutOff() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.peers, (*peer).cutOff)
}

// peer is the other end of a connection.
type peer struct {
	rank int
	host string
	conn net.Conn

	heard  atomic.Bool  // whether the peer was heard since the last beat
	last   atomic.Int32 // status
	silent int          // consecutive silent beats
}

func newPeer(rank int, host string, conn net.Conn) *peer {
	p := &peer{rank: rank, host: host, conn: conn}
	p.last.Store(int32(alive))
	return p
}

// listen receives the peer's status until the connection closes.
func (p *peer) listen() {
	defer p.conn.Close()
	b := make([]byte, 64)
	for {
		n, err := p.conn.Read(b)
		if n > 0 {
			p.last.Store(int32(b[n-1]))
			p.heard.Store(true)
		}
		if err != nil {
			p.last.CompareAndSwap(int32(alive), int32(gone))
			return
		}
	}
}

// beat returns the reason if the peer is lost, or "".
func (p *peer) beat(every time.Duration) string {
	p.silent++
	if p.heard.Swap(false) {
		p.silent = 0
	}
	switch last := status(p.last.Load()); {
	case last == finished:
	case last == gone:
		return fmt.Sprintf("rank %d on %s exited unexpectedly: it was killed, crashed, or ran out of memory", p.rank, p.host)
	case last == failing && p.silent >= failingBeats:
		return fmt.Sprintf("rank %d on %s gave up", p.rank, p.host)
	case last == alive && p.silent >= silentBeats:
		why := "it is stopped or hung"
		if p.cutOff() {
			why = "its host is down or disconnected"
		}
		return fmt.Sprintf("rank %d on %s has been silent for %v: %s", p.rank, p.host, silentBeats*every, why)
	}
	return ""
}

// cutOff reports whether data no longer reaches the peer's host. For a stopped process, the host's kernel still
// acknowledges data.
func (p *peer) cutOff() bool { return unacknowledged(p.conn) > inFlightBeats }

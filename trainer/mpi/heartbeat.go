package mpi

import (
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// heartbeat distinguishes a rank that computes from one that will never call. For MPI both are late: it does not notice a
// rank that is stopped or cut off. So each rank also sends its status to its peers every second, outside MPI, and listens
// for theirs: rank 0's peers are all others, and theirs is rank 0. The goroutines that do this run while kernels compute
// and files are read or written; only a process that is stopped, dead or cut off falls silent.
type heartbeat struct {
	every  time.Duration
	ticker ticker
	done   chan struct{}
	once   sync.Once

	mu    sync.Mutex
	peers []*peer
}

// status is what a rank sends about itself, one byte on its connection.
type status byte

const (
	alive    status = 'a'
	finished status = 'z' // it has left MPI normally
	failing  status = 'f' // it has told the user why, and ends the job
	gone     status = 0   // never sent: the connection has ended without a last status
)

const (
	// silentBeats is how many beats may be missing before a peer is lost.
	silentBeats = 20
	// failingBeats is the time that a launcher has to end this process after a peer has reported that it fails.
	failingBeats = 5
	// inFlightBeats is how many beats the network may be delivering.
	inFlightBeats = 3
)

func newHeartbeat(c Config) *heartbeat {
	every := c.Silence / silentBeats
	return &heartbeat{every: every, ticker: c.newTicker(every), done: make(chan struct{})}
}

// watch starts sending and listening. It calls lost, once, with what has happened to a peer that is lost.
func (h *heartbeat) watch(peers []*peer, lost func(reason string)) {
	h.mu.Lock()
	h.peers = peers
	h.mu.Unlock()
	for _, p := range peers {
		go p.listen()
	}
	go h.run(lost)
}

// run counts its own beats instead of reading the clock. If the whole job is suspended and continued, all clocks jump;
// what counts is how long a peer is silent while this rank runs.
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

// send sends a status to all peers. It does not check whether it arrives: they notice if it does not.
func (h *heartbeat) send(s status) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.peers {
		p.conn.Write([]byte{byte(s)})
	}
}

// stop ends the heartbeat with a last status.
func (h *heartbeat) stop(last status) {
	h.once.Do(func() {
		close(h.done)
		h.send(last)
	})
}

// cutOff reports whether the host of a peer is cut off.
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

	heard  atomic.Bool  // since the last beat
	last   atomic.Int32 // status
	silent int          // beats in a row
}

func newPeer(rank int, host string, conn net.Conn) *peer {
	p := &peer{rank: rank, host: host, conn: conn}
	p.last.Store(int32(alive))
	return p
}

// listen receives the peer's status until the connection ends.
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

// beat returns why the peer is lost, or "".
func (p *peer) beat(every time.Duration) string {
	p.silent++
	if p.heard.Swap(false) {
		p.silent = 0
	}
	switch last := status(p.last.Load()); {
	case last == finished:
	case last == gone:
		return fmt.Sprintf("rank %d on %s has ended without a word: killed, crashed or out of memory", p.rank, p.host)
	case last == failing && p.silent >= failingBeats:
		return fmt.Sprintf("rank %d on %s has given up", p.rank, p.host)
	case last == alive && p.silent >= silentBeats:
		why := "it is stopped or hangs"
		if p.cutOff() {
			why = "its host is down or cut off"
		}
		return fmt.Sprintf("rank %d on %s has been silent for %v: %s", p.rank, p.host, silentBeats*every, why)
	}
	return ""
}

// cutOff reports whether nothing arrives at the peer's host. A process that is stopped still has a kernel that acknowledges.
func (p *peer) cutOff() bool { return unacknowledged(p.conn) > inFlightBeats }

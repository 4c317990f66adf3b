package mpi

import (
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// heartbeat tells a rank that computes from one that will never come. For MPI both are late: it has no notion of a rank
// that is stopped or cut off. So each rank also sends a word every second to its peers, apart from MPI, and listens for
// theirs: rank 0 has all others for peers, and they have rank 0. The goroutines that do this run beside the kernels and
// while files are read or written; only a process that is stopped, dead or cut off falls silent.
type heartbeat struct {
	every time.Duration
	done  chan struct{}
	once  sync.Once

	mu    sync.Mutex
	peers []*peer
}

// word is what a rank says about itself, one byte on its connection.
type word byte

const (
	alive    word = 'a'
	finished word = 'z' // it has left MPI in good order
	failing  word = 'f' // it has told the user why, and ends the job
	gone     word = 0   // nothing was said: the connection has ended by itself
)

const (
	// silentBeats is how many beats may fail to come before a peer is lost.
	silentBeats = 20
	// farewellBeats is the time that a launcher has to end this process after a peer has said that it fails.
	farewellBeats = 5
	// onTheWay is how many beats a network may hold.
	onTheWay = 3
)

func newHeartbeat(silence time.Duration) *heartbeat {
	return &heartbeat{every: silence / silentBeats, done: make(chan struct{})}
}

// watch begins to send and to listen. It calls lost, once, with what has happened to a peer that is lost.
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
	ticker := time.NewTicker(h.every)
	defer ticker.Stop()
	for {
		select {
		case <-h.done:
			return
		case <-ticker.C:
		}
		h.say(alive)
		for _, p := range h.peers {
			if reason := p.beat(h.every); reason != "" {
				lost(reason)
				return
			}
		}
	}
}

// say tells all peers. Whether it arrives is for them to find out.
func (h *heartbeat) say(w word) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.peers {
		p.conn.Write([]byte{byte(w)})
	}
}

// stop ends the heartbeat with a last word.
func (h *heartbeat) stop(last word) {
	h.once.Do(func() {
		close(h.done)
		h.say(last)
	})
}

// cutOff says whether the host of a peer is.
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
	last   atomic.Int32 // word
	silent int          // beats in a row
}

func newPeer(rank int, host string, conn net.Conn) *peer {
	p := &peer{rank: rank, host: host, conn: conn}
	p.last.Store(int32(alive))
	return p
}

// listen takes in what the peer says until the connection ends.
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
	switch w := word(p.last.Load()); {
	case w == finished:
	case w == gone:
		return fmt.Sprintf("rank %d on %s has ended without a word: killed, crashed or out of memory", p.rank, p.host)
	case w == failing && p.silent >= farewellBeats:
		return fmt.Sprintf("rank %d on %s has given up", p.rank, p.host)
	case w == alive && p.silent >= silentBeats:
		why := "it is stopped or hangs"
		if p.cutOff() {
			why = "its host is down or cut off"
		}
		return fmt.Sprintf("rank %d on %s has been silent for %v: %s", p.rank, p.host, silentBeats*every, why)
	}
	return ""
}

// cutOff says whether nothing arrives at the peer's host. A process that is stopped still has a kernel that acknowledges.
func (p *peer) cutOff() bool { return unacknowledged(p.conn) > onTheWay }

package mpi

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// mustEnd waits for the given number of ranks to exit with 75 and returns what they printed.
func (r *exitRecorder) mustEnd(t *testing.T, ranks int) string {
	t.Helper()
	for range ranks {
		if code := <-r.ended; code != 75 {
			t.Errorf("exit code %d, want 75: %s", code, r.text())
		}
	}
	return r.text()
}

// stall makes a rank behave like a stopped process: its connections stay open, but it sends nothing.
func stall(c *Comm) { c.heart.once.Do(func() { close(c.heart.done) }) }

// noRank is the stalled rank in tests where all ranks run.
const noRank = -1

// beat ticks all ranks once and waits until their peers have received what they sent. The stalled rank sends nothing.
// It reports whether any rank is still running.
func beat(t *testing.T, comms []*Comm, stalled int) bool {
	t.Helper()
	running := false
	for _, c := range comms {
		if c.rank == stalled {
			continue
		}
		received := func(p *peer) bool { return status(p.last.Load()) == failing }
		if tick(c.heart.ticker) {
			running, received = true, func(p *peer) bool { return p.heard.Load() }
		}
		for _, p := range c.heart.peers {
			waitFor(t, fmt.Sprintf("rank %d is heard by rank %d", c.rank, p.rank), func() bool { return received(comms[p.rank].peer(c.rank)) })
		}
	}
	return running
}

// peer returns this rank's end of the connection to another rank.
func (c *Comm) peer(rank int) *peer {
	for _, p := range c.heart.peers {
		if p.rank == rank {
			return p
		}
	}
	return nil
}

func TestStoppedRankIsLost(t *testing.T) {
	for stopped, others := range map[int]int{0: 2, 2: 2} {
		r := newExitRecorder()
		comms := InProcess(3, r.config())
		stall(comms[stopped])
		for beat(t, comms, stopped) {
		}
		text := r.mustEnd(t, others)
		if want := fmt.Sprintf("rank %d on %s has been silent for %v", stopped, hostName(), Default().Silence); !strings.Contains(text, want) {
			t.Errorf("got %q, want %q in it", text, want)
		}
	}
}

// The first lines report which rank is lost; the others follow rank 0.
func TestOtherRanksFollowRankZero(t *testing.T) {
	r := newExitRecorder()
	comms := InProcess(3, r.config())
	stall(comms[1])
	for beat(t, comms, 1) {
	}
	text := r.mustEnd(t, 2)
	if first, rest, _ := strings.Cut(text, "\n"); !strings.Contains(first, "rank 1 on") || !strings.Contains(rest, "rank 0 on "+hostName()+" gave up") {
		t.Errorf("got %q", text)
	}
}

func TestKilledRankIsLost(t *testing.T) {
	r := newExitRecorder()
	comms := InProcess(2, r.config())
	stall(comms[1])
	comms[1].heart.peers[0].conn.Close() // as the kernel would
	killed := comms[0].peer(1)
	waitFor(t, "the connection has ended", func() bool { return status(killed.last.Load()) == gone })
	for tick(comms[0].heart.ticker) {
	}
	if text := r.mustEnd(t, 1); !strings.Contains(text, "rank 1 on "+hostName()+" exited unexpectedly") {
		t.Errorf("got %q", text)
	}
}

// A rank that computes for a long time while the others wait for it is not lost.
func TestBusyRankIsNotLost(t *testing.T) {
	r := newExitRecorder()
	comms := InProcess(3, r.config())
	closed := make(chan error, len(comms))
	for _, c := range comms[1:] {
		go func() { closed <- c.Close() }()
	}
	for range 2 * silentBeats {
		if !beat(t, comms, noRank) {
			t.Fatalf("no rank runs: %s", r.text())
		}
	}
	go func() { closed <- comms[0].Close() }()
	for range comms {
		if err := <-closed; err != nil {
			t.Error(err)
		}
	}
	if len(r.ended) > 0 {
		t.Errorf("ended: %s", r.text())
	}
}

// A closed rank is silent but not lost.
func TestClosedRankIsNotLost(t *testing.T) {
	here, there := net.Pipe()
	p := newPeer(1, "h", here)
	listened := make(chan struct{})
	go func() {
		p.listen()
		close(listened)
	}()
	there.Write([]byte{byte(alive)})
	there.Write([]byte{byte(finished)})
	there.Close()
	<-listened
	for i := range 2 * silentBeats {
		if reason := p.beat(time.Second); reason != "" {
			t.Fatalf("beat %d: %s", i, reason)
		}
	}
}

// Silence is counted in this rank's own beats and is reset whenever the peer is heard.
func TestSilenceIsCountedInOwnBeats(t *testing.T) {
	p := newPeer(1, "h", nil)
	for round := range 3 {
		p.heard.Store(true)
		for i := range silentBeats {
			if reason := p.beat(time.Second); reason != "" {
				t.Fatalf("round %d, beat %d: %s", round, i, reason)
			}
		}
	}
	if reason := p.beat(time.Second); !strings.Contains(reason, "silent for 20s") {
		t.Errorf("got %q", reason)
	}
}

// wrongToken is a member whose rank is rejected because it receives the wrong token.
type wrongToken struct{ *member }

func (w wrongToken) broadcast(x []byte, root int) error {
	err := w.member.broadcast(x, root)
	if _, token, ok := bytes.Cut(x, []byte(`"Token":"`)); ok {
		token[0] ^= 1
	}
	return err
}

// A rank that cannot connect runs without a heartbeat, which rank 0 reports; the others keep theirs.
func TestRankWithoutConnection(t *testing.T) {
	r := newExitRecorder()
	g := newGroup(3)
	comms := make([]*Comm, 3)
	var wg sync.WaitGroup
	for i := range comms {
		wg.Go(func() {
			var lib library = &member{g, i}
			if i == 1 {
				lib = wrongToken{&member{g, i}}
			}
			comms[i], _ = start(func() (library, error) { return lib, nil }, launch{rank: i, size: 3}, r.config())
		})
	}
	wg.Wait()
	if text := r.text(); strings.Count(text, "\n") != 0 || !strings.Contains(text, "no heartbeat from rank 1: ") || !strings.Contains(text, "distributed.timeout (10m0s)") {
		t.Errorf("got %q", text)
	}
	if n := len(comms[1].heart.peers); n != 0 {
		t.Errorf("rank 1 has %d peers", n)
	}
	stall(comms[2])
	for tick(comms[0].heart.ticker) {
	}
	if text := r.mustEnd(t, 1); !strings.Contains(text, "rank 2 on ") {
		t.Errorf("got %q", text)
	}
}

// Rank 0 is found although some of its addresses are unreachable or belong to another program, and it accepts each rank
// once.
func TestDial(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	other, _ := newAcceptor(2, hangTimeout)
	defer other.close()
	a, own := newAcceptor(2, hangTimeout)
	defer a.close()
	own.Addresses = append([]string{closed.Addr().String(), other.listener.Addr().String()}, own.Addresses...)
	conn := own.dial(1, "a host", hangTimeout)
	if conn == nil {
		t.Fatal("not accepted")
	}
	peers, missing := a.peers([]float64{0, 1})
	if len(peers) != 1 || len(missing) != 0 || peers[0].host != "a host" || peers[0].conn.RemoteAddr().String() != conn.LocalAddr().String() {
		t.Errorf("got peers %v, missing %v", peers, missing)
	}
	if own.dial(1, "a host", hangTimeout) != nil {
		t.Error("the same rank was accepted twice")
	}
}

// Connections from anything else are refused.
func FuzzAccept(f *testing.F) {
	f.Add("TOKEN 1 \"h\"\n")
	f.Add("TOKEN 9 \"h\"\n")
	f.Add("GET / HTTP/1.1\r\n\r\n")
	f.Fuzz(func(t *testing.T, hello string) {
		a := &acceptor{token: "SECRET", timeout: hangTimeout, accepted: make([]*peer, 2)}
		ours, theirs := net.Pipe()
		go func() {
			theirs.Write([]byte(hello))
			theirs.Close()
		}()
		a.accept(ours)
		if a.accepted[1] != nil && !strings.Contains(hello, "SECRET 1") {
			t.Errorf("%q was accepted", hello)
		}
	})
}

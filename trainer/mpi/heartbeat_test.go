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

const shortSilence = 400 * time.Millisecond

func (f *farewell) withHeartbeat() Options {
	o := f.options(time.Minute)
	o.Silence = shortSilence
	return o
}

// mustEnd waits for as many ranks to end with 75, and returns what they said.
func (f *farewell) mustEnd(t *testing.T, ranks int) string {
	t.Helper()
	for i := range ranks {
		select {
		case code := <-f.ended:
			if code != 75 {
				t.Errorf("exit code %d, want 75: %s", code, f.text())
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%d of %d ranks have ended: %s", i, ranks, f.text())
		}
	}
	return f.text()
}

// stall makes a rank behave like a stopped process: its connections stand, and nothing comes.
func stall(c *Comm) { c.heart.once.Do(func() { close(c.heart.done) }) }

func TestStoppedRankIsLost(t *testing.T) {
	for stopped, others := range map[int][]int{0: {1, 2}, 2: {0, 1}} {
		f := newFarewell()
		comms := InProcess(3, f.withHeartbeat())
		stall(comms[stopped])
		text := f.mustEnd(t, len(others))
		if want := fmt.Sprintf("rank %d on %s has been silent for %v", stopped, hostName(), shortSilence); !strings.Contains(text, want) {
			t.Errorf("got %q, want %q in it", text, want)
		}
	}
}

// The first lines tell which rank is lost; the others follow rank 0.
func TestRanksFollowTheOneThatEnds(t *testing.T) {
	f := newFarewell()
	comms := InProcess(3, f.withHeartbeat())
	stall(comms[1])
	text := f.mustEnd(t, 2)
	if first, rest, _ := strings.Cut(text, "\n"); !strings.Contains(first, "rank 1 on") || !strings.Contains(rest, "rank 0 on "+hostName()+" has given up") {
		t.Errorf("got %q", text)
	}
}

func TestKilledRankIsLost(t *testing.T) {
	f := newFarewell()
	comms := InProcess(2, f.withHeartbeat())
	stall(comms[1])
	comms[1].heart.peers[0].conn.Close() // by the kernel
	if text := f.mustEnd(t, 1); !strings.Contains(text, "rank 1 on "+hostName()+" has ended without a word") {
		t.Errorf("got %q", text)
	}
}

// A rank that computes for long, or that has closed, is not lost.
func TestBusyRankIsNotLost(t *testing.T) {
	f := newFarewell()
	mustTogether(t, InProcess(3, f.withHeartbeat()), func(c *Comm) error {
		if c.Rank() == 0 {
			for began, x := time.Now(), 1.0; time.Since(began) < 2*shortSilence; x *= 1.000001 {
			}
		}
		if err := c.Close(); err != nil {
			return err
		}
		for _, p := range c.heart.peers {
			p.conn.Close()
		}
		time.Sleep(shortSilence)
		return nil
	})
	if len(f.ended) > 0 {
		t.Errorf("ended: %s", f.text())
	}
}

// Silence is counted in beats of this rank and begins again with each word.
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

// stranger is a seat whose rank is not let in: what it hears of rank 0's token is wrong.
type stranger struct{ *seat }

func (s stranger) broadcast(x []byte, root int) error {
	err := s.seat.broadcast(x, root)
	if _, token, ok := bytes.Cut(x, []byte(`"Token":"`)); ok {
		token[0] ^= 1
	}
	return err
}

// A rank that cannot connect goes without a heartbeat, which rank 0 says; the others keep theirs.
func TestRankWithoutConnection(t *testing.T) {
	f := newFarewell()
	r := newRoom(3)
	comms := make([]*Comm, 3)
	var wg sync.WaitGroup
	for i := range comms {
		wg.Go(func() {
			var lib library = &seat{r, i}
			if i == 1 {
				lib = stranger{&seat{r, i}}
			}
			comms[i], _ = start(func() (library, error) { return lib, nil }, launched{rank: i, size: 3}, f.withHeartbeat())
		})
	}
	wg.Wait()
	if text := f.text(); strings.Count(text, "\n") != 0 || !strings.Contains(text, "no heartbeat from rank 1: ") || !strings.Contains(text, "distributed.timeout (1m0s)") {
		t.Errorf("got %q", text)
	}
	if n := len(comms[1].heart.peers); n != 0 {
		t.Errorf("rank 1 has %d peers", n)
	}
	stall(comms[2])
	if text := f.mustEnd(t, 1); !strings.Contains(text, "rank 2 on ") {
		t.Errorf("got %q", text)
	}
}

// Rank 0 is found although some of its addresses lead nowhere or to somebody else, and takes each rank in once.
func TestCall(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	other, _ := openReception(2)
	defer other.close()
	r, own := openReception(2)
	defer r.close()
	own.Addresses = append([]string{closed.Addr().String(), other.listener.Addr().String()}, own.Addresses...)
	conn := own.call(1, "a host")
	if conn == nil {
		t.Fatal("not taken in")
	}
	peers, missing := r.guests([]float64{0, 1})
	if len(peers) != 1 || len(missing) != 0 || peers[0].host != "a host" || peers[0].conn.RemoteAddr().String() != conn.LocalAddr().String() {
		t.Errorf("got peers %v, missing %v", peers, missing)
	}
	if own.call(1, "a host") != nil {
		t.Error("the same rank was taken in twice")
	}
}

// Whatever else connects is sent away.
func FuzzGreet(f *testing.F) {
	f.Add("TOKEN 1 \"h\"\n")
	f.Add("TOKEN 9 \"h\"\n")
	f.Add("GET / HTTP/1.1\r\n\r\n")
	f.Fuzz(func(t *testing.T, hello string) {
		r := &reception{token: "SECRET", came: make([]*peer, 2)}
		ours, theirs := net.Pipe()
		go func() {
			theirs.Write([]byte(hello))
			theirs.Close()
		}()
		r.greet(ours)
		if r.came[1] != nil && !strings.Contains(hello, "SECRET 1") {
			t.Errorf("%q was taken in", hello)
		}
	})
}

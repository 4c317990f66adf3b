package mpi

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"mambatrain/trainer"
)

// Ranks meet for the heartbeat over TCP: rank 0 listens at a free port, MPI tells the others where, and each of them
// connects. Which of rank 0's addresses leads there is found by trying all of them. A rank that cannot connect, for a
// firewall that lets only MPI's ports through, goes without.

const (
	// meetingTime is how long a rank tries.
	meetingTime = 5 * time.Second
	// helloBytes is more than any hello has.
	helloBytes = 512
)

// card says where rank 0 is to be found. The token proves on both sides that the other one belongs to this job.
type card struct {
	Host      string
	Addresses []string
	Token     string
}

// meet returns the peers of this rank.
func (c *Comm) meet() ([]*peer, error) {
	if c.rank == 0 {
		return c.receive()
	}
	return c.visit()
}

// receive is rank 0's part.
func (c *Comm) receive() ([]*peer, error) {
	r, own := openReception(c.size)
	defer r.close()
	if _, err := c.exchangeCard(own); err != nil {
		return nil, err
	}
	came := make([]float64, c.size)
	if err := c.AllReduceSum(came); err != nil {
		return nil, err
	}
	peers, missing := r.guests(came)
	if len(missing) > 0 {
		c.options.Print(fmt.Sprintf("%sno heartbeat from rank %s: no TCP connection to this host; if it is stopped or cut off, only distributed.timeout (%v) notices",
			Prefix(c), strings.Join(missing, ", "), c.options.Timeout))
	}
	return peers, nil
}

// visit is the part of all other ranks.
func (c *Comm) visit() ([]*peer, error) {
	host, err := c.exchangeCard(card{})
	if err != nil {
		return nil, err
	}
	conn := host.call(c.rank, c.host)
	came := make([]float64, c.size)
	if conn != nil {
		came[c.rank] = 1
	}
	if err := c.AllReduceSum(came); err != nil || conn == nil {
		return nil, err
	}
	return []*peer{newPeer(0, host.Host, conn)}, nil
}

// exchangeCard returns rank 0's card.
func (c *Comm) exchangeCard(own card) (card, error) {
	text, err := json.Marshal(own)
	if err != nil {
		return own, err
	}
	n, err := trainer.BroadcastInt(c, 0, len(text))
	if err != nil {
		return own, err
	}
	text = append(text, make([]byte, max(0, n-len(text)))...)[:n]
	if err := c.Broadcast(text, 0); err != nil {
		return own, err
	}
	return own, json.Unmarshal(text, &own)
}

// reception is where rank 0 waits for the others.
type reception struct {
	listener net.Listener // nil if there is no network
	token    string

	mu   sync.Mutex
	came []*peer // by rank
}

func openReception(size int) (*reception, card) {
	r := &reception{token: rand.Text(), came: make([]*peer, size)}
	own := card{Host: hostName(), Token: r.token}
	listener, err := net.Listen("tcp", ":0")
	if err != nil {
		return r, own
	}
	r.listener = listener
	own.Addresses = addresses(listener.Addr().(*net.TCPAddr).Port)
	go r.serve()
	return r, own
}

// addresses are all that this host has, with the port.
func addresses(port int) []string {
	all, _ := net.InterfaceAddrs() // without any, nobody comes
	var list []string
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLinkLocalUnicast() {
			list = append(list, net.JoinHostPort(n.IP.String(), strconv.Itoa(port)))
		}
	}
	return list
}

func (r *reception) serve() {
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			return
		}
		go r.greet(conn)
	}
}

// greet takes in the caller if it belongs to this job and is the first of its rank: a rank calls at all addresses at once.
func (r *reception) greet(conn net.Conn) {
	conn.SetDeadline(time.Now().Add(meetingTime))
	var token, host string
	var rank int
	_, err := fmt.Fscanf(io.LimitReader(conn, helloBytes), "%s %d %q\n", &token, &rank, &host)
	if err != nil || token != r.token || rank < 1 || rank >= len(r.came) || !r.admit(newPeer(rank, host, conn)) {
		conn.Close()
		return
	}
	conn.SetDeadline(time.Time{})
	fmt.Fprintf(conn, "%s\n", r.token)
}

func (r *reception) admit(p *peer) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.came[p.rank] != nil {
		return false
	}
	r.came[p.rank] = p
	return true
}

// guests returns the peers who know that they were taken in, and the numbers of the other ranks.
func (r *reception) guests(know []float64) (peers []*peer, missing []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for rank := 1; rank < len(know); rank++ {
		if know[rank] > 0 {
			peers = append(peers, r.came[rank])
		} else {
			missing = append(missing, strconv.Itoa(rank))
		}
	}
	return peers, missing
}

func (r *reception) close() {
	if r.listener != nil {
		r.listener.Close()
	}
}

// call returns a connection to rank 0, or nil.
func (h card) call(rank int, host string) net.Conn {
	conns := make(chan net.Conn, len(h.Addresses))
	for _, address := range h.Addresses {
		go func() { conns <- h.callAt(address, rank, host) }()
	}
	for range h.Addresses {
		if conn := <-conns; conn != nil {
			return conn // rank 0 takes in no other
		}
	}
	return nil
}

// callAt tries one address.
func (h card) callAt(address string, rank int, host string) net.Conn {
	deadline := time.Now().Add(meetingTime)
	conn, err := (&net.Dialer{Deadline: deadline}).Dial("tcp", address)
	if err != nil {
		return nil
	}
	conn.SetDeadline(deadline)
	fmt.Fprintf(conn, "%s %d %q\n", h.Token, rank, host)
	var token string
	if _, err := fmt.Fscanf(io.LimitReader(conn, helloBytes), "%s\n", &token); err != nil || token != h.Token {
		conn.Close()
		return nil
	}
	conn.SetDeadline(time.Time{})
	return conn
}

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

// Ranks connect over TCP for the heartbeat: rank 0 listens on a free port, MPI broadcasts its location, and the other
// ranks connect. They try all of rank 0's addresses to find one that works. A rank that cannot connect, for example
// because a firewall admits only MPI's ports, runs without a heartbeat.

const (
	// connectTimeout is how long a rank tries to connect.
	connectTimeout = 5 * time.Second
	// helloBytes exceeds the length of any introduction a rank sends.
	helloBytes = 512
)

// location is where rank 0 listens. The token proves to each side that the other belongs to this job.
type location struct {
	Host      string
	Addresses []string
	Token     string
}

// connect returns the peers of this rank.
func (c *Comm) connect() ([]*peer, error) {
	if c.rank == 0 {
		return c.acceptAll()
	}
	return c.connectToRoot()
}

// acceptAll is the part of connect for rank 0.
func (c *Comm) acceptAll() ([]*peer, error) {
	a, own := newAcceptor(c.size, c.config.connectTimeout)
	defer a.close()
	if _, err := c.shareLocation(own); err != nil {
		return nil, err
	}
	connected := make([]float64, c.size)
	if err := c.AllReduceSum(connected); err != nil {
		return nil, err
	}
	peers, missing := a.peers(connected)
	if len(missing) > 0 {
		c.config.Print(fmt.Sprintf("%sno heartbeat from rank %s: no TCP connection to this host; a hang or disconnection is detected only by distributed.timeout (%v)",
			Prefix(c), strings.Join(missing, ", "), c.config.Timeout))
	}
	return peers, nil
}

// connectToRoot is the part of connect for all other ranks.
func (c *Comm) connectToRoot() ([]*peer, error) {
	root, err := c.shareLocation(location{})
	if err != nil {
		return nil, err
	}
	conn := root.dial(c.rank, c.host, c.config.connectTimeout)
	connected := make([]float64, c.size)
	if conn != nil {
		connected[c.rank] = 1
	}
	if err := c.AllReduceSum(connected); err != nil || conn == nil {
		return nil, err
	}
	return []*peer{newPeer(0, root.Host, conn)}, nil
}

// shareLocation returns rank 0's location.
func (c *Comm) shareLocation(own location) (location, error) {
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

// acceptor accepts the connections of other ranks on rank 0.
type acceptor struct {
	listener net.Listener // nil if there is no network
	token    string
	timeout  time.Duration

	mu       sync.Mutex
	accepted []*peer // by rank
}

func newAcceptor(size int, timeout time.Duration) (*acceptor, location) {
	a := &acceptor{token: rand.Text(), timeout: timeout, accepted: make([]*peer, size)}
	own := location{Host: hostName(), Token: a.token}
	listener, err := net.Listen("tcp", ":0")
	if err != nil {
		return a, own
	}
	a.listener = listener
	own.Addresses = addresses(listener.Addr().(*net.TCPAddr).Port)
	go a.serve()
	return a, own
}

// addresses returns all addresses of this host with the given port.
func addresses(port int) []string {
	all, _ := net.InterfaceAddrs() // without addresses, no rank connects
	var list []string
	for _, address := range all {
		if n, ok := address.(*net.IPNet); ok && !n.IP.IsLinkLocalUnicast() {
			list = append(list, net.JoinHostPort(n.IP.String(), strconv.Itoa(port)))
		}
	}
	return list
}

func (a *acceptor) serve() {
	for {
		conn, err := a.listener.Accept()
		if err != nil {
			return
		}
		go a.accept(conn)
	}
}

// accept accepts a connection from this job if it is the first of its rank: a rank dials all addresses at once.
func (a *acceptor) accept(conn net.Conn) {
	conn.SetDeadline(time.Now().Add(a.timeout))
	var token, host string
	var rank int
	_, err := fmt.Fscanf(io.LimitReader(conn, helloBytes), "%s %d %q\n", &token, &rank, &host)
	if err != nil || token != a.token || rank < 1 || rank >= len(a.accepted) || !a.add(newPeer(rank, host, conn)) {
		conn.Close()
		return
	}
	conn.SetDeadline(time.Time{})
	fmt.Fprintf(conn, "%s\n", a.token)
}

// add adds p and reports whether it is the first of its rank.
func (a *acceptor) add(p *peer) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.accepted[p.rank] != nil {
		return false
	}
	a.accepted[p.rank] = p
	return true
}

// peers returns the peers that know they are connected, and the numbers of the other ranks.
func (a *acceptor) peers(connected []float64) (peers []*peer, missing []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for rank := 1; rank < len(connected); rank++ {
		if connected[rank] > 0 {
			peers = append(peers, a.accepted[rank])
		} else {
			missing = append(missing, strconv.Itoa(rank))
		}
	}
	return peers, missing
}

func (a *acceptor) close() {
	if a.listener != nil {
		a.listener.Close()
	}
}

// dial returns a rank's connection to rank 0, or nil.
func (l location) dial(rank int, host string, timeout time.Duration) net.Conn {
	conns := make(chan net.Conn, len(l.Addresses))
	for _, address := range l.Addresses {
		go func() {
			hello := fmt.Sprintf("%s %d %q\n", l.Token, rank, host)
			conns <- l.dialAddress(address, hello, timeout)
		}()
	}
	for range l.Addresses {
		if conn := <-conns; conn != nil {
			return conn // rank 0 accepts only one
		}
	}
	return nil
}

// dialAddress tries one address.
func (l location) dialAddress(address, hello string, timeout time.Duration) net.Conn {
	deadline := time.Now().Add(timeout)
	conn, err := (&net.Dialer{Deadline: deadline}).Dial("tcp", address)
	if err != nil {
		return nil
	}
	conn.SetDeadline(deadline)
	fmt.Fprint(conn, hello)
	var token string
	if _, err := fmt.Fscanf(io.LimitReader(conn, helloBytes), "%s\n", &token); err != nil || token != l.Token {
		conn.Close()
		return nil
	}
	conn.SetDeadline(time.Time{})
	return conn
}

package mpi

import (
	"net"
	"testing"
)

// Bytes that a peer does not accept remain unacknowledged.
func TestUnacknowledged(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p := newPeer(1, "h", conn)
	conn.Write(make([]byte, 100)) // the kernel acknowledges for a process that does not read
	waitFor(t, "all bytes are acknowledged", func() bool { return !p.cutOff() })
	go func() {
		for b := make([]byte, 1<<20); ; { // until the buffer is full, then until the connection is closed
			if _, err := conn.Write(b); err != nil {
				return
			}
		}
	}()
	waitFor(t, "the buffer is full", p.cutOff)
}

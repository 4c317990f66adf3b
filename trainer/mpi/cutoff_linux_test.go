package mpi

import (
	"net"
	"testing"
	"time"
)

// What a peer does not take in waits here.
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
	for deadline := time.Now().Add(5 * time.Second); p.cutOff(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("cut off, with a buffer to write to")
		}
	}
	conn.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	for b := make([]byte, 1<<20); ; {
		if _, err := conn.Write(b); err != nil {
			break
		}
	}
	if !p.cutOff() {
		t.Error("not cut off, with a full buffer")
	}
}

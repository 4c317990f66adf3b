package mpi

import (
	"testing"
	"time"
)

// manualTicker ticks when a test tells it to.
type manualTicker struct {
	c       chan time.Time
	idle    chan struct{} // its owner is waiting for the next tick
	stopped chan struct{}
}

func newManualTicker(time.Duration) ticker {
	return &manualTicker{c: make(chan time.Time), idle: make(chan struct{}, 1), stopped: make(chan struct{})}
}

// ticks returns the channel of ticks. The owner calls it before each tick.
func (m *manualTicker) ticks() <-chan time.Time {
	m.idle <- struct{}{}
	return m.c
}

func (m *manualTicker) stop() { close(m.stopped) }

// tick ticks t and returns when its owner has handled the tick. It returns false if the owner no longer receives ticks.
func tick(t ticker) bool {
	m := t.(*manualTicker)
	select {
	case m.c <- time.Time{}:
	case <-m.stopped:
		return false
	}
	<-m.idle // idle before this tick
	select {
	case <-m.idle:
		m.idle <- struct{}{}
	case <-m.stopped:
	}
	return true
}

// hangTimeout is a duration after which something that does not depend on time has failed, however busy the machine is.
const hangTimeout = 5 * time.Minute

// waitFor waits for a condition that another goroutine or the network makes true.
func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(hangTimeout); !holds(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

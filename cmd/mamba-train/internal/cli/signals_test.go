package cli

import (
	"os"
	"syscall"
	"testing"
	"time"
)

// TestAnother checks that signals soon after the first, such as those of timeout(1), do not count.
func TestAnother(t *testing.T) {
	signals := make(chan os.Signal, 3)
	ages := []time.Duration{time.Millisecond, copied - 1, copied}
	age := func() time.Duration {
		a := ages[0]
		ages = ages[1:]
		return a
	}
	signals <- syscall.SIGTERM
	signals <- syscall.SIGTERM
	signals <- syscall.SIGINT
	if s, ok := another(signals, age); s != syscall.SIGINT || !ok {
		t.Errorf("got %v, %v, want the third signal", s, ok)
	}
	close(signals)
	if _, ok := another(signals, age); ok {
		t.Error("got a signal from a closed channel")
	}
}

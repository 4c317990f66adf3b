package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// interruptible returns a context that ends with the first SIGINT or SIGTERM, or one of the others, whose cause tells
// which. The second one ends the process at once; files are never written in place, so nothing on disk is damaged by it.
func interruptible(others ...os.Signal) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, append(others, syscall.SIGINT, syscall.SIGTERM)...)
	go func() {
		s, ok := <-signals
		if !ok {
			return
		}
		cancel(caught{s})
		if s, ok = <-signals; ok {
			os.Exit(exitCode(stopped{s, caught{s}}))
		}
	}()
	return ctx, sync.OnceFunc(func() {
		signal.Stop(signals)
		close(signals)
		cancel(nil)
	})
}

// caught is the cause of a context that a signal has ended.
type caught struct{ signal os.Signal }

func (c caught) Error() string { return fmt.Sprintf("stopped by a signal (%v)", c.signal) }

// signalled makes err the end of a command that a signal stopped, if one did.
func signalled(ctx context.Context, err error) error {
	c, ok := context.Cause(ctx).(caught)
	if !ok || err == nil {
		return err
	}
	if err == context.Canceled || err == ctx.Err() {
		err = c
	}
	return stopped{c.signal, err}
}

// interrupts turns SIGINT into the end of what is under way instead of the end of the program.
type interrupts struct {
	mu      sync.Mutex
	cancel  context.CancelFunc
	signals chan os.Signal
}

func newInterrupts() *interrupts {
	i := &interrupts{signals: make(chan os.Signal, 1)}
	signal.Notify(i.signals, syscall.SIGINT)
	go func() {
		for range i.signals {
			i.mu.Lock()
			if i.cancel != nil {
				i.cancel()
			}
			i.mu.Unlock()
		}
	}()
	return i
}

// during returns a context that the next interrupt ends.
func (i *interrupts) during() (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	i.set(cancel)
	return ctx, func() {
		i.set(nil)
		cancel()
	}
}

func (i *interrupts) set(cancel context.CancelFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.cancel = cancel
}

func (i *interrupts) stop() {
	signal.Stop(i.signals)
	close(i.signals)
}

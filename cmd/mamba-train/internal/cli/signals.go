package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"mambatrain/trainer"
)

// Interruptible returns a context that ends with the first SIGINT or SIGTERM, or one of the others, whose cause tells
// which. The second one ends the process at once, after removing what leftover was told of; files are never written in
// place, so nothing on disk is damaged by it.
func Interruptible(others ...os.Signal) (ctx context.Context, stop func()) {
	left := &leftovers{}
	ctx, cancel := context.WithCancelCause(context.WithValue(context.Background(), leftoversOf{}, left))
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, append(others, syscall.SIGINT, syscall.SIGTERM)...)
	go func() {
		s, ok := <-signals
		if !ok {
			return
		}
		cancel(Signal{s})
		if s, ok = <-signals; ok {
			left.remove()
			os.Exit(ExitCode(Stopped{s, Signal{s}}))
		}
	}()
	return ctx, sync.OnceFunc(func() {
		signal.Stop(signals)
		close(signals)
		cancel(nil)
	})
}

// leftovers are directories that must not outlive the process.
type leftovers struct {
	mu   sync.Mutex
	dirs []string
}

type leftoversOf struct{} // their key in a context

// leftover makes sure that a temporary directory is removed: by what it returns, or by the signal that ends the process.
func temporary(ctx context.Context, dir string) (remove func()) {
	if left, ok := ctx.Value(leftoversOf{}).(*leftovers); ok {
		left.mu.Lock()
		left.dirs = append(left.dirs, dir)
		left.mu.Unlock()
	}
	return func() { os.RemoveAll(dir) }
}

func (l *leftovers) remove() {
	l.mu.Lock()
	for _, dir := range l.dirs {
		for range 3 { // a file may be made in it meanwhile
			if os.RemoveAll(dir) == nil {
				break
			}
		}
	}
}

// Signal is the cause of a context that a signal has ended.
type Signal struct{ Signal os.Signal }

func (c Signal) Error() string { return fmt.Sprintf("stopped by a signal (%v)", c.Signal) }

// Signalled makes err the end of a command that a signal stopped, if one did.
func Signalled(ctx context.Context, err error) error {
	c, ok := context.Cause(ctx).(Signal)
	if !ok || err == nil {
		return err
	}
	if errors.Is(err, context.Canceled) && !errors.As(err, new(*trainer.Interrupted)) { // that says where it stands
		err = c
	}
	return Stopped{c.Signal, err}
}

// Interrupts turns SIGINT into the end of what is under way instead of the end of the program.
type Interrupts struct {
	mu      sync.Mutex
	cancel  context.CancelFunc
	signals chan os.Signal
}

func NewInterrupts() *Interrupts {
	i := &Interrupts{signals: make(chan os.Signal, 1)}
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

// During returns a context that the next interrupt ends.
func (i *Interrupts) During() (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	i.set(cancel)
	return ctx, func() {
		i.set(nil)
		cancel()
	}
}

func (i *Interrupts) set(cancel context.CancelFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.cancel = cancel
}

func (i *Interrupts) Stop() {
	signal.Stop(i.signals)
	close(i.signals)
}

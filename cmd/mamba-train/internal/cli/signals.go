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

// NotifyContext returns a context that ends with the first SIGINT or SIGTERM, or one of the others; its cause is an
// [Interrupt]. The second signal ends the process at once, after removing the directories of [Stage]; files are never
// written in place, so nothing on disk is damaged by it.
func NotifyContext(others ...os.Signal) (ctx context.Context, stop func()) {
	dirs := &tempDirs{}
	ctx, cancel := context.WithCancelCause(context.WithValue(context.Background(), tempDirsKey{}, dirs))
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, append(others, syscall.SIGINT, syscall.SIGTERM)...)
	go func() {
		s, ok := <-signals
		if !ok {
			return
		}
		cancel(Interrupt{s})
		if s, ok = <-signals; ok {
			dirs.remove()
			os.Exit(ExitCode(InterruptError{s, Interrupt{s}}))
		}
	}()
	return ctx, sync.OnceFunc(func() {
		signal.Stop(signals)
		close(signals)
		cancel(nil)
	})
}

// tempDirs are directories that must not outlive the process.
type tempDirs struct {
	mu   sync.Mutex
	list []string
}

type tempDirsKey struct{} // in a context

// tempDirsOf returns the temporary directories of a context from [NotifyContext]; of another one, a list that nobody reads.
func tempDirsOf(ctx context.Context) *tempDirs {
	if dirs, ok := ctx.Value(tempDirsKey{}).(*tempDirs); ok {
		return dirs
	}
	return &tempDirs{}
}

// add makes the signal that ends the process remove a directory.
func (d *tempDirs) add(dir string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = append(d.list, dir)
}

// hold makes that signal wait until release.
func (d *tempDirs) hold() (release func()) {
	d.mu.Lock()
	return d.mu.Unlock
}

func (d *tempDirs) remove() {
	d.mu.Lock()
	for _, dir := range d.list {
		for range 3 { // a file may be made in it meanwhile
			if os.RemoveAll(dir) == nil {
				break
			}
		}
	}
}

// Interrupt is the cause of a context that a signal has ended.
type Interrupt struct{ Signal os.Signal }

func (i Interrupt) Error() string { return fmt.Sprintf("stopped by a signal (%v)", i.Signal) }

// InterruptError is the error of a command that a signal has ended.
type InterruptError struct {
	Signal os.Signal
	Err    error
}

func (e InterruptError) Error() string { return e.Err.Error() }
func (e InterruptError) Unwrap() error { return e.Err }

// WithSignal returns err as an [InterruptError] if a signal has ended ctx.
func WithSignal(ctx context.Context, err error) error {
	c, ok := context.Cause(ctx).(Interrupt)
	if !ok || err == nil {
		return err
	}
	if errors.Is(err, context.Canceled) && !errors.As(err, new(*trainer.StopError)) { // which says more
		err = c
	}
	return InterruptError{c.Signal, err}
}

// Interrupts makes SIGINT end the current work instead of the program.
type Interrupts struct {
	// Idle receives a value when SIGINT arrives while there is no work.
	Idle <-chan struct{}

	mu      sync.Mutex
	cancel  context.CancelFunc
	signals chan os.Signal
}

// NewInterrupts catches SIGINT until Stop.
func NewInterrupts() *Interrupts {
	idle := make(chan struct{}, 1)
	i := &Interrupts{signals: make(chan os.Signal, 1), Idle: idle}
	signal.Notify(i.signals, syscall.SIGINT)
	go func() {
		for range i.signals {
			i.mu.Lock()
			if i.cancel != nil {
				i.cancel()
			} else if len(idle) == 0 {
				idle <- struct{}{}
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

// Stop restores the usual meaning of SIGINT.
func (i *Interrupts) Stop() {
	signal.Stop(i.signals)
	close(i.signals)
}

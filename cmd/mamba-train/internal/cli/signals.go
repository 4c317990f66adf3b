package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"mambatrain/trainer"
)

// copied is how long after the first signal others count as copies of it. timeout(1) sends a signal to its child and
// then to their process group, and a launcher may pass on a Ctrl-C that the terminal has sent to all processes.
const copied = 100 * time.Millisecond

// NotifyContext returns a context that is canceled by the first SIGINT or SIGTERM, or by one of the other signals, with an
// [Interrupt] as its cause. A second signal ends the process immediately, after removing the temporary directories of
// [Stage], unless it follows so soon that it is a copy of the first. Files are never written in place, so this damages
// nothing on disk.
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
		first := time.Now()
		cancel(Interrupt{s})
		if s, ok = another(signals, func() time.Duration { return time.Since(first) }); ok {
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

// another waits for a signal that is not a copy of the first. age is the time since that. ok is false if the channel is
// closed.
func another(signals <-chan os.Signal, age func() time.Duration) (s os.Signal, ok bool) {
	for s = range signals {
		if age() >= copied {
			return s, true
		}
	}
	return nil, false
}

// tempDirs is a list of directories to remove before the process exits.
type tempDirs struct {
	mu   sync.Mutex
	list []string
}

type tempDirsKey struct{} // context key

// tempDirsOf returns the temporary directories of a context from [NotifyContext]. For any other context, it returns an
// unused list.
func tempDirsOf(ctx context.Context) *tempDirs {
	if dirs, ok := ctx.Value(tempDirsKey{}).(*tempDirs); ok {
		return dirs
	}
	return &tempDirs{}
}

// add registers a directory to be removed by the signal that ends the process.
func (d *tempDirs) add(dir string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = append(d.list, dir)
}

// hold delays that signal until release is called.
func (d *tempDirs) hold() (release func()) {
	d.mu.Lock()
	return d.mu.Unlock
}

func (d *tempDirs) remove() {
	d.mu.Lock()
	for _, dir := range d.list {
		for range 3 { // a file may be created in it at the same time
			if os.RemoveAll(dir) == nil {
				break
			}
		}
	}
}

// Interrupt is the cause of a context that was canceled by a signal.
type Interrupt struct{ Signal os.Signal }

func (i Interrupt) Error() string { return fmt.Sprintf("stopped by signal: %v", i.Signal) }

// InterruptError is the error of a command that was ended by a signal.
type InterruptError struct {
	Signal os.Signal
	Err    error
}

func (e InterruptError) Error() string { return e.Err.Error() }
func (e InterruptError) Unwrap() error { return e.Err }

// WithSignal wraps err in an [InterruptError] if a signal has canceled ctx.
func WithSignal(ctx context.Context, err error) error {
	c, ok := context.Cause(ctx).(Interrupt)
	if !ok || err == nil {
		return err
	}
	if errors.Is(err, context.Canceled) && !errors.As(err, new(*trainer.StopError)) { // a StopError has more detail
		err = c
	}
	return InterruptError{c.Signal, err}
}

// Interrupts makes SIGINT cancel the current work instead of ending the program.
type Interrupts struct {
	// Idle receives a value when SIGINT arrives while no work is in progress.
	Idle <-chan struct{}

	mu      sync.Mutex
	cancel  context.CancelFunc
	signals chan os.Signal
}

// NewInterrupts catches SIGINT until Stop is called.
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

// During returns a context that is canceled by the next interrupt.
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

// Stop restores the default handling of SIGINT.
func (i *Interrupts) Stop() {
	signal.Stop(i.signals)
	close(i.signals)
}

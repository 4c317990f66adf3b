package cli

import (
	"fmt"
	"sync"
	"time"

	"mambatrain/internal/format"
)

// Wait tells the user what a command is doing while it prints nothing else, and for how long. On a terminal it is a status
// line that disappears before anything else is printed; elsewhere a line is printed every minute.
type Wait struct {
	console  *Console
	terminal bool
	mu       sync.Mutex
	text     string
	shown    bool // the status line is on the terminal
	paused   bool
	minutes  int // printed so far without a terminal
	end      chan struct{}
}

// firstShown is how long a command may be silent.
const firstShown = 2 * time.Second

// Wait starts to show a text, in place of an earlier one, until EndWait is called or a result is printed.
func (c *Console) Wait(text string, args ...any) *Wait {
	c.EndWait()
	w := &Wait{console: c, terminal: IsTerminal(c.Err), text: fmt.Sprintf(text, args...), end: make(chan struct{})}
	if c.Quiet {
		return w
	}
	c.waiting.Store(w)
	began := time.Now()
	go func() {
		for tick := time.NewTicker(time.Second); ; {
			select {
			case <-w.end:
				tick.Stop()
				return
			case <-tick.C:
				w.show(time.Since(began))
			}
		}
	}()
	return w
}

// Show replaces the text.
func (w *Wait) Show(text string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = fmt.Sprintf(text, args...)
}

// PauseWait hides the line, or lets it return. Progress bars pause it.
func (c *Console) PauseWait(paused bool) {
	if w := c.waiting.Load(); w != nil {
		w.pause(paused)
	}
}

// EndWait removes the line, if there is one.
func (c *Console) EndWait() {
	if w := c.waiting.Swap(nil); w != nil {
		close(w.end)
		w.pause(true) // for a tick that is under way
	}
}

func (w *Wait) pause(paused bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.paused = paused
	w.hide()
}

// show draws the line after the command has been silent for some time.
func (w *Wait) show(silent time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := format.Printable(fmt.Sprintf("%s, %s", w.text, format.Duration(silent.Truncate(time.Second))))
	switch {
	case w.paused || silent < firstShown:
	case w.terminal:
		if r, most := []rune(text), Columns(w.console.Err)-1; most > 0 && len(r) > most {
			text = string(r[:most])
		}
		fmt.Fprintf(w.console.Err, "\r\x1b[K%s", text)
		w.shown = true
	case int(silent.Minutes()) > w.minutes:
		w.minutes = int(silent.Minutes())
		fmt.Fprintln(w.console.Err, text)
	}
}

// hide clears the status line. w.mu is locked.
func (w *Wait) hide() {
	if w.shown {
		fmt.Fprint(w.console.Err, "\r\x1b[K")
		w.shown = false
	}
}

// aside prints something else while the line is hidden.
func (c *Console) aside(print func()) {
	if w := c.waiting.Load(); w != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.hide()
	}
	print()
}

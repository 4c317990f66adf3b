package cli

import (
	"bytes"
	"testing"
	"time"
)

// The line appears after some silence, and makes way for anything else that is printed.
func TestWait(t *testing.T) {
	var out bytes.Buffer
	c := &Console{Err: &out, Out: &out}
	w := c.Wait("evaluating")
	w.terminal = true
	w.show(time.Second)
	if out.Len() > 0 {
		t.Errorf("%q after one second", out.String())
	}
	w.show(3 * time.Second)
	c.Say("a line")
	w.Show("row %d", 7)
	w.show(4 * time.Second)
	c.PauseWait(true)
	w.show(5 * time.Second)
	c.PauseWait(false)
	w.show(6 * time.Second)
	c.EndWait()
	c.EndWait()
	w.show(7 * time.Second)
	const clear = "\r\x1b[K"
	want := clear + "evaluating, 3 s" + clear + "a line\n" + clear + "row 7, 4 s" + clear + clear + "row 7, 6 s" + clear
	if out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
}

// Without a terminal there is a line for each minute, and with --quiet nothing.
func TestWait_elsewhere(t *testing.T) {
	for _, quiet := range []bool{false, true} {
		var out bytes.Buffer
		c := &Console{Err: &out, Quiet: quiet}
		w := c.Wait("evaluating")
		if !quiet {
			for seconds := range 130 {
				w.show(time.Duration(seconds) * time.Second)
			}
		}
		c.EndWait()
		want := map[bool]string{false: "evaluating, 1 min 0 s\nevaluating, 2 min 0 s\n"}[quiet]
		if out.String() != want {
			t.Errorf("quiet %v: printed %q, want %q", quiet, out.String(), want)
		}
	}
}

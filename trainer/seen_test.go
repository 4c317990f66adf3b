package trainer

import (
	"bytes"
	"encoding/hex"
	"errors"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type buffer struct{ bytes.Buffer }

func (*buffer) Close() error { return nil }

// TestTensorBoardBytes compares with a file that the tensorboard package reads back as: version, loss 1.5 at step 3,
// the restart at step 4, eval loss 2 at step 5 and the text.
func TestTensorBoardBytes(t *testing.T) {
	w := &buffer{}
	b := &TensorBoard{w: w, now: frozenClock}
	b.event(0, message{}.text(eventVersion, "brain.Event:2"))
	b.Observe(Logged{Row{"step": 3, "loss": 1.5}})
	b.Observe(Resumed{Step: 3})
	b.Observe(Evaluated{Row: Row{"step": 5, "eval_loss": 2}})
	b.Observe(Sampled{Step: 5, Prompt: "p", Text: "hello"})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/tfevents.golden")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(w.Bytes(), want) {
		t.Errorf("got\n%s\nwant\n%s", hex.Dump(w.Bytes()), hex.Dump(want))
	}
}

func TestSeenFiles(t *testing.T) {
	dir := t.TempDir()
	var closers []io.Closer
	watched := func() *run {
		r := newRun()
		board, err := NewTensorBoard(Disk{}, filepath.Join(dir, "logs"), time.Now)
		if err != nil {
			t.Fatal(err)
		}
		journal := NewJournal(Disk{}, filepath.Join(dir, "log.jsonl"))
		r.onEvent = Observers(board.Observe, journal.Observe)
		closers = append(closers, board, journal)
		r.task.Publish = func(dir string, st *State) error { return WritePlots(dir, History{"run", st.LogHistory}) }
		return r
	}
	out := filepath.Join(dir, "run")
	first := watched()
	seen := first.onEvent
	first.stopAfter(t, out, Fresh, func(e Event) bool { seen(e); return isStep(e) }, 7)
	res := watched().must(t, out, Resume)
	for _, c := range closers {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}

	lines, err := os.ReadFile(filepath.Join(dir, "log.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	for _, r := range res.State.LogHistory {
		line, _ := r.MarshalJSON()
		want.Write(append(line, '\n'))
	}
	if !bytes.Equal(lines, want.Bytes()) {
		t.Errorf("journal\n%s\nwant\n%s", lines, want.Bytes())
	}
	if events, _ := filepath.Glob(filepath.Join(dir, "logs", "events.out.tfevents.*")); len(events) != 2 {
		t.Errorf("event files %v, want 2", events)
	}
	for _, name := range []string{"loss.svg", "loss.png"} {
		if s, err := os.Stat(filepath.Join(out, name)); err != nil || s.Size() < 1000 {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
}

func TestPlot(t *testing.T) {
	rows := []Row{
		{"step": 1, "loss": 3, "learning_rate": 1e-3, "grad_norm": 2},
		{"step": 2, "loss": math.NaN(), "learning_rate": 5e-4, "grad_norm": math.Inf(1)},
		{"step": 2, "eval_short_loss": 2.5},
		{"step": 3, "loss": 2, "learning_rate": 0, "grad_norm": 1},
		{"step": 3, "train_loss": 2.4},
	}
	one, again := &strings.Builder{}, &strings.Builder{}
	for _, w := range []*strings.Builder{one, again} {
		if err := Plot(w, "svg", History{"a", rows}); err != nil {
			t.Fatal(err)
		}
	}
	if one.String() != again.String() {
		t.Error("the same history gives two different drawings")
	}
	for _, want := range []string{"training", "evaluation short", "learning rate", "gradient norm", "step"} {
		if !strings.Contains(one.String(), want) {
			t.Errorf("%q is not in the drawing", want)
		}
	}
	var b bytes.Buffer
	if err := Plot(&b, "png", History{"a", rows}, History{"b", rows[:1]}, History{"empty", nil}); err != nil {
		t.Fatal(err)
	}
	if _, err := png.Decode(&b); err != nil {
		t.Error(err)
	}
	if err := Plot(&b, "gif"); err == nil {
		t.Error("gif was accepted")
	}
}

func TestObserversReportFailedWrites(t *testing.T) {
	full := errors.New("disk full")
	b := &TensorBoard{w: failing{full}, now: frozenClock}
	b.Observe(Logged{Row{"step": 1, "loss": 1}})
	b.Observe(Logged{Row{"step": 2, "loss": 1}})
	if err := b.Close(); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
func (f failing) Close() error              { return nil }

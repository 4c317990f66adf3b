package tensorboard

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"mambatrain/trainer"
	"mambatrain/trainer/checkpoint"
)

func clock() time.Time { return time.Unix(1_700_000_000, 0) }

type buffer struct{ bytes.Buffer }

func (*buffer) Close() error { return nil }

// TestTensorBoardBytes compares with a file that the tensorboard package reads as: version, loss 1.5 at step 3, a
// restart at step 4, eval loss 2 at step 5, and the text.
func TestTensorBoardBytes(t *testing.T) {
	w := &buffer{}
	b := &Writer{w: w, now: clock}
	b.event(0, message{}.text(eventVersion, "brain.Event:2"))
	b.Observe(trainer.LogEvent{Row: checkpoint.Row{"step": 3, "loss": 1.5}})
	b.Observe(trainer.ResumeEvent{Step: 3})
	b.Observe(trainer.EvalEvent{Row: checkpoint.Row{"step": 5, "eval_loss": 2}})
	b.Observe(trainer.SampleEvent{Step: 5, Prompt: "p", Text: "hello"})
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

// A resumed run writes a separate file: TensorBoard reads all files in a directory.
func TestNew_keepsEarlierFiles(t *testing.T) {
	dir, now := filepath.Join(t.TempDir(), checkpoint.LogsDir), clock()
	for range 2 {
		w, err := New(checkpoint.Disk{}, dir, func() time.Time { now = now.Add(time.Second); return now })
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
	if events, _ := filepath.Glob(filepath.Join(dir, "events.out.tfevents.*")); len(events) != 2 {
		t.Errorf("event files %v, want 2", events)
	}
}

func TestObserversReportFailedWrites(t *testing.T) {
	full := errors.New("disk full")
	b := &Writer{w: fullDisk{full}, now: clock}
	b.Observe(trainer.LogEvent{Row: checkpoint.Row{"step": 1, "loss": 1}})
	b.Observe(trainer.LogEvent{Row: checkpoint.Row{"step": 2, "loss": 1}})
	if err := b.Close(); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
}

type fullDisk struct{ err error }

func (f fullDisk) Write([]byte) (int, error) { return 0, f.err }
func (f fullDisk) Close() error              { return nil }

func TestResumes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "rate[1e-3]")
	for _, step := range []int{0, 650, 200, 200} { // 0: a new run
		w, err := New(checkpoint.Disk{}, dir, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		if step > 0 {
			w.Observe(trainer.ResumeEvent{Step: step})
		}
		w.Observe(trainer.LogEvent{Row: checkpoint.Row{"step": float64(step + 10), "loss": 1.5}})
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"short": "1234567", "long": "\xff\xff\xff\xff\xff\xff\xff\xff1234567890", "empty": ""} {
		if err := os.WriteFile(filepath.Join(dir, checkpoint.EventsPrefix+name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := Resumes(dir); err != nil || !slices.Equal(got, []int{200, 650}) {
		t.Errorf("got %v, %v, want 200 and 650", got, err)
	}
}

package trainer_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"mambatrain/trainer"
	"mambatrain/trainer/checkpoint"
)

// A resumed run drops the samples of the steps that it repeats. Without samples there is no file.
func TestSampleLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), checkpoint.SamplesFile)
	observe := func(events ...trainer.Event) {
		t.Helper()
		l := trainer.NewSampleLog(checkpoint.Disk{}, path)
		for _, e := range events {
			l.Observe(e)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	observe(trainer.StartEvent{}, trainer.SampleEvent{Step: 5, Prompt: "A", Err: errors.New("no")})
	if _, err := os.Stat(path); err == nil {
		t.Error("a file was created without samples")
	}
	observe(trainer.StartEvent{}, trainer.SampleEvent{Step: 5, Prompt: "A", Text: "b\n"}, trainer.SampleEvent{Step: 10, Prompt: "A", Text: "c"})
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString(`{"step":3,"pro`)
	f.Close()
	observe(trainer.StartEvent{Overview: trainer.Overview{StartStep: 5}}, trainer.SampleEvent{Step: 10, Prompt: "A", Text: "d"})
	got, err := os.ReadFile(path)
	want := `{"step":5,"prompt":"A","text":"b\n"}` + "\n" + `{"step":10,"prompt":"A","text":"d"}` + "\n"
	if err != nil || string(got) != want {
		t.Errorf("got %s (%v), want %s", got, err, want)
	}
}

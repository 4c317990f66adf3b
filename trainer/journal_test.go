package trainer

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"mambatrain/trainer/checkpoint"
)

// A stopped and resumed run leaves one journal that contains every row once.
func TestJournal_equalsHistory(t *testing.T) {
	dir := t.TempDir()
	var journals []*Journal
	recorded := func() *run {
		r, j := newRun(), NewJournal(checkpoint.Disk{}, filepath.Join(dir, "log.jsonl"))
		r.onEvent = j.Observe
		journals = append(journals, j)
		return r
	}
	out := filepath.Join(dir, "run")
	first := recorded()
	observe := first.onEvent
	first.stopAfter(t, out, checkpoint.Fresh, func(e Event) bool { observe(e); return isStep(e) }, 7)
	res := recorded().must(t, out, checkpoint.Resume)
	for _, j := range journals {
		if err := j.Close(); err != nil {
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
}

package recipe

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"mambatrain/trainer"
)

// A resumed run tells TensorBoard to discard the steps that it repeats: a session start appears in its event file.
func TestResumedCurvesDoNotOverlap(t *testing.T) {
	dir := t.TempDir()
	r := &Run{Config: Config{OutputDir: dir}}
	r.writeLogs(trainer.ResumeEvent{Step: 7})
	r.writeLogs(trainer.StartEvent{})
	r.Close()
	files, err := filepath.Glob(filepath.Join(dir, "logs", "*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	raw, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	const session = "\x3a\x02\x08\x01" // field 7, a message of two bytes: field 1 is START
	if !bytes.Contains(raw, []byte(session)) {
		t.Errorf("no session starts in % x", raw)
	}
}

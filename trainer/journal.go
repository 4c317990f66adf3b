package trainer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"mambatrain/internal/atomicfile"
	"mambatrain/trainer/checkpoint"
)

// Journal writes each row of the history as a line of JSON when it is logged.
type Journal struct {
	fs   checkpoint.FS
	path string
	w    io.WriteCloser
	err  error
}

// NewJournal returns a journal whose file is created when the run starts. When a run resumes, the file is reset to the
// rows in its checkpoint.
func NewJournal(f checkpoint.FS, path string) *Journal { return &Journal{fs: f, path: path} }

// Observe writes the events that belong in the file. After a failed write it does nothing; Close reports the failure.
func (j *Journal) Observe(e Event) {
	if j.err != nil {
		return
	}
	switch e := e.(type) {
	case StartEvent:
		j.open(e.History)
	case LogEvent:
		j.line(e.Row)
	case EvalEvent:
		j.line(e.Row)
	}
}

// Close closes the file and returns the first error that occurred.
func (j *Journal) Close() error {
	err := j.err
	if j.w != nil {
		if cerr := j.w.Close(); err == nil {
			err = cerr
		}
	}
	if err != nil {
		return fmt.Errorf("trainer: %s: %w", j.path, err)
	}
	return nil
}

func (j *Journal) open(history []checkpoint.Row) {
	var b bytes.Buffer
	for _, r := range history {
		line, _ := json.Marshal(r)
		b.Write(append(line, '\n'))
	}
	if j.err = atomicfile.ReplaceFile(j.fs, j.path, b.Bytes()); j.err == nil {
		j.w, j.err = j.fs.Append(j.path)
	}
}

func (j *Journal) line(r checkpoint.Row) {
	if j.w == nil {
		return
	}
	line, err := json.Marshal(r)
	if err == nil {
		_, err = j.w.Write(append(line, '\n'))
	}
	j.err = err
}

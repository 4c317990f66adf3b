package trainer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"mambatrain/internal/atomicfile"
	"mambatrain/trainer/checkpoint"
)

// Sample is a text generated during an evaluation.
type Sample struct {
	Step   int    `json:"step"`
	Prompt string `json:"prompt"`
	Text   string `json:"text"`
}

// SampleLog writes each sample as a line of JSON when it is generated. The file is created with the first sample.
type SampleLog struct {
	fs   checkpoint.FS
	path string
	w    io.WriteCloser
	err  error
}

// NewSampleLog returns a log. When a run resumes, samples of later steps are removed from the file.
func NewSampleLog(f checkpoint.FS, path string) *SampleLog { return &SampleLog{fs: f, path: path} }

// Observe writes the events that belong in the file. After a failed write it does nothing; Close reports the failure.
func (l *SampleLog) Observe(e Event) {
	if l.err != nil {
		return
	}
	switch e := e.(type) {
	case StartEvent:
		l.err = l.goBack(e.StartStep)
	case SampleEvent:
		if e.Err == nil {
			l.err = l.line(Sample{e.Step, e.Prompt, e.Text})
		}
	}
}

// Close closes the file and returns the first error that occurred.
func (l *SampleLog) Close() error {
	err := l.err
	if l.w != nil {
		err = errors.Join(err, l.w.Close())
	}
	if err != nil {
		return fmt.Errorf("trainer: %s: %w", l.path, err)
	}
	return nil
}

// goBack removes the samples of later steps and any partially written last line.
func (l *SampleLog) goBack(step int) error {
	in, err := l.fs.Open(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	all, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	var kept []byte
	for line := range bytes.Lines(all) {
		var s Sample
		if json.Unmarshal(line, &s) == nil && s.Step <= step && bytes.HasSuffix(line, []byte("\n")) {
			kept = append(kept, line...)
		}
	}
	return atomicfile.ReplaceFile(l.fs, l.path, kept)
}

func (l *SampleLog) line(s Sample) (err error) {
	if l.w == nil {
		if l.w, err = l.fs.Append(l.path); err != nil {
			return err
		}
	}
	b, err := json.Marshal(s)
	if err == nil {
		_, err = l.w.Write(append(b, '\n'))
	}
	return err
}

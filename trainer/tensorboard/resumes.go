package tensorboard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mambatrain/trainer/checkpoint"
)

// Resumes returns the steps after which the run with event files in dir was resumed, in ascending order. It skips
// unreadable files and files of other programs.
func Resumes(dir string) (steps []int, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("tensorboard: %w", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), checkpoint.EventsPrefix) {
			continue
		}
		if step, ok := resumeStep(filepath.Join(dir, e.Name())); ok && !slices.Contains(steps, step) {
			steps = append(steps, step)
		}
	}
	slices.Sort(steps)
	return steps, nil
}

// resumeStep looks for a session start, which is the second event in a file written by a resumed run.
func resumeStep(path string) (step int, ok bool) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return 0, false
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, 1<<10))
	if err != nil {
		return 0, false
	}
	_, rest := cutRecord(head)
	event, _ := cutRecord(rest)
	session := message{}.inner(eventSession, message{}.number(sessionStatus, sessionStart))
	const timeField = 1 + 8
	if len(event) < timeField || !bytes.HasSuffix(event, session) {
		return 0, false
	}
	number, ok := bytes.CutPrefix(event[timeField:], message{}.key(eventStep, 0))
	next, _ := binary.Uvarint(number)
	return int(next) - 1, ok
}

// cutRecord cuts the first event, framed by [record], from b. It does not verify checksums.
func cutRecord(b []byte) (event, rest []byte) {
	const length, sum = 8, 4
	if len(b) < length+2*sum {
		return nil, nil
	}
	n := binary.LittleEndian.Uint64(b)
	b = b[length+sum:]
	if n > uint64(len(b)-sum) {
		return nil, nil
	}
	return b[:n], b[n+sum:]
}

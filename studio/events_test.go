package studio_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mambatrain/studio"
	"mambatrain/studio/runs"
)

// message is a server-sent event with changes to the list.
type message struct {
	First   bool
	Changed []runs.Summary
	Gone    []string
}

// next reads the next event.
func next(t *testing.T, in *bufio.Reader) (m message) {
	t.Helper()
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if text, ok := strings.CutPrefix(line, "data: "); ok {
			if err := json.Unmarshal([]byte(text), &m); err != nil {
				t.Fatal(err)
			}
			return m
		}
	}
}

// The first event contains all runs; later events contain the runs that have changed or are gone.
func TestEvents(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b"} {
		writeFiles(t, filepath.Join(dir, name), map[string]string{"log.jsonl": rows(1, 3, 4), "run.json": fmt.Sprintf(facts, 100)})
	}
	p := serve(t, studio.Options{}, dir)
	in := bufio.NewReader(p.request(t, "GET", "/api/events", nil).Body)
	if m := next(t, in); !m.First || len(m.Changed) != 2 {
		t.Fatalf("first: %+v", m)
	}
	f, err := os.OpenFile(filepath.Join(dir, "b", "log.jsonl"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString(rows(4, 4, 4))
	f.Close()
	if m := next(t, in); m.First || len(m.Changed) != 1 || m.Changed[0].Step != 40 {
		t.Errorf("then: %+v", m)
	}
	if err := os.RemoveAll(filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	for m := next(t, in); len(m.Gone) == 0; m = next(t, in) {
	}
}

package fault_test

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"

	"mambatrain/internal/fault"
)

// Messages contain neither the names of system calls nor Go's words for values and the end of a file.
func TestPlain(t *testing.T) {
	dir := t.TempDir()
	gone := filepath.Join(dir, "gone")
	_, open := os.Open(gone)
	_, stat := os.Stat(gone)
	for err, want := range map[error]string{
		open:                             gone + ": no such file or directory",
		fmt.Errorf("adapter: %w", stat):  "adapter: " + gone + ": no such file or directory",
		fmt.Errorf("%s: %w", gone, open): gone + ": no such file or directory",
		os.Rename(gone, filepath.Join(dir, "new")):          filepath.Join(dir, "new") + ": no such file or directory",
		fmt.Errorf("a.gz: line 3: %w", io.ErrUnexpectedEOF): "a.gz: line 3: unexpected end of file",
		fmt.Errorf("a: %w", io.EOF):                         "a: unexpected end of file",
		errors.Join(open, errors.New("more")):               gone + ": no such file or directory\nmore",
		errors.New("unexpected EOF"):                        "unexpected EOF", // not the library's own error
	} {
		if got := fault.Plain(err); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	var l fault.List
	l.Include("model", open)
	if want := "model: " + gone + ": no such file or directory"; l.Error() != want {
		t.Errorf("got %q, want %q", l.Error(), want)
	}
}

func TestValue(t *testing.T) {
	for want, v := range map[string]any{
		"null": nil, `"a<b"`: "a<b", `{"x":[1,null]}`: map[string]any{"x": []any{1, nil}}, "true": true, "nan": math.NaN(), "1.5": 1.5, "7": int64(7),
	} {
		if got := fault.Value(v); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

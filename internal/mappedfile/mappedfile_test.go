//go:build unix

package mappedfile

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
)

// write returns the path of a file of n bytes.
func write(t *testing.T, n int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "weights")
	if err := os.WriteFile(path, bytes.Repeat([]byte{7}, n), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMap(t *testing.T) {
	for _, n := range []int{0, 1, 1 << 16} {
		path := write(t, n)
		m, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(m.Bytes, bytes.Repeat([]byte{7}, n)) {
			t.Errorf("%d bytes: the mapping differs from the file", n)
		}
		if err := m.Close(); err != nil || m.Close() != nil {
			t.Errorf("%d bytes: close: %v", n, err)
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that does not exist is mapped")
	}
}

// TestExplain_shorterFile: reading pages that a truncated file has lost is an error naming the file; other panics are
// not explained.
func TestExplain_shorterFile(t *testing.T) {
	path := write(t, 1<<16)
	m, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := os.Truncate(path, 100); err != nil {
		t.Fatal(err)
	}
	recovered := func(read func()) (r any) {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		defer func() { r = recover() }()
		read()
		return nil
	}
	sum := byte(0)
	if r := recovered(func() { sum += m.Bytes[50] }); r != nil {
		t.Errorf("the remainder of the file cannot be read: %v", r)
	}
	if err := Explain(recovered(func() { sum += m.Bytes[1<<15] })); err == nil || !strings.Contains(err.Error(), path+": the file shrank") {
		t.Errorf("got %v, want an error that names %s", err, path)
	}
	var none *int
	for _, other := range []any{nil, "text", recovered(func() { sum += byte(*none) })} {
		if err := Explain(other); err != nil {
			t.Errorf("%v is explained as %v", other, err)
		}
	}
}

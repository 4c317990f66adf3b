package checkpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"mambatrain/internal/atomicfile"
	"mambatrain/internal/fault"
)

// manifestName is the file that lists the files of a checkpoint with their sizes and checksums. It is written last.
const manifestName = "manifest.json"

type manifest struct {
	Files []manifestFile `json:"files"`
}

type manifestFile struct {
	Name   string `json:"name"` // slash-separated, relative to the checkpoint
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// seal writes the manifest of everything in dir and syncs all of it to disk.
func seal(f FS, dir string) error {
	files, dirs, err := walk(f, dir, "")
	if err != nil {
		return err
	}
	var m manifest
	for _, name := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		entry, err := checksum(f, path)
		if err != nil {
			return err
		}
		entry.Name = name
		m.Files = append(m.Files, entry)
		if err := f.Sync(path); err != nil {
			return err
		}
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := atomicfile.ReplaceFile(f, filepath.Join(dir, manifestName), append(b, '\n')); err != nil {
		return err
	}
	for _, d := range slices.Backward(dirs) {
		if err := f.Sync(filepath.Join(dir, filepath.FromSlash(d))); err != nil {
			return err
		}
	}
	return nil
}

// verify compares dir with its manifest and reports everything that differs.
func verify(f FS, dir string) error {
	b, err := readFile(f, filepath.Join(dir, manifestName))
	if err != nil {
		return err
	}
	var m manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return fmt.Errorf("%s: %w", manifestName, err)
	}
	if !slices.ContainsFunc(m.Files, func(e manifestFile) bool { return e.Name == StateFile }) {
		return fmt.Errorf("%s: does not list %s", manifestName, StateFile)
	}
	var faults []error
	for _, want := range m.Files {
		if !filepath.IsLocal(filepath.FromSlash(want.Name)) {
			faults = append(faults, fmt.Errorf("%s: %q is not a file of the checkpoint", manifestName, want.Name))
			continue
		}
		got, err := checksum(f, filepath.Join(dir, filepath.FromSlash(want.Name)))
		switch {
		case err != nil:
			faults = append(faults, err)
		case got.Bytes != want.Bytes:
			faults = append(faults, fmt.Errorf("%s: has %d bytes, want %d", want.Name, got.Bytes, want.Bytes))
		case got.SHA256 != want.SHA256:
			faults = append(faults, fmt.Errorf("%s: its checksum differs from the manifest's", want.Name))
		}
	}
	return fault.Join(faults...)
}

// checksum returns the size and checksum of a file.
func checksum(f FS, path string) (manifestFile, error) {
	r, err := f.Open(path)
	if err != nil {
		return manifestFile{}, err
	}
	defer r.Close()
	h := sha256.New()
	n, err := io.CopyBuffer(h, onlyReader{r}, make([]byte, 1<<18))
	return manifestFile{Bytes: n, SHA256: hex.EncodeToString(h.Sum(nil))}, err
}

// onlyReader hides WriteTo so that io.CopyBuffer uses its buffer.
type onlyReader struct{ io.Reader }

// walk returns the files and directories below dir, with dir itself first as "", but not the manifest.
func walk(f FS, dir, below string) (files, dirs []string, err error) {
	entries, err := f.ReadDir(filepath.Join(dir, filepath.FromSlash(below)))
	if err != nil {
		return nil, nil, err
	}
	dirs = append(dirs, below)
	for _, e := range entries {
		name := strings.TrimPrefix(below+"/"+e.Name(), "/")
		if e.IsDir() {
			moreFiles, moreDirs, err := walk(f, dir, name)
			if err != nil {
				return nil, nil, err
			}
			files, dirs = append(files, moreFiles...), append(dirs, moreDirs...)
		} else if name != manifestName {
			files = append(files, name)
		}
	}
	return files, dirs, nil
}

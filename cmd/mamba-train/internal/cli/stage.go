package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"mambatrain/internal/atomicfile"
	"mambatrain/nn/weights"
)

// Policy says what to do with an output directory that is not empty. A flag --force is a Policy.
type Policy bool

const (
	Refuse  Policy = false
	Replace Policy = true // files of the same name are replaced, others stay
)

// CheckOutput returns an error if dir may not be written to, before anything expensive is done.
func CheckOutput(dir string, p Policy) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return Misuse(fmt.Errorf("--output: %w", err))
	case len(entries) > 0 && p == Refuse:
		return Misusef("--output %s is not empty; --force replaces its files", dir)
	}
	return nil
}

// Stage lets fill write into a temporary directory next to dir and moves the result into place, so that dir is never
// incomplete. If ctx has ended by then, nothing is left.
func Stage(ctx context.Context, dir string, p Policy, fill func(tmp string) error) error {
	if err := CheckOutput(dir, p); err != nil {
		return err
	}
	dir = filepath.Clean(dir)
	return fillAndPlace(ctx, dir, fill, func(tmp string) error {
		if err := os.Remove(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
			return os.Rename(tmp, dir) // dir was absent or empty
		}
		return moveInto(tmp, dir)
	})
}

// StageFile does for one file what [Stage] does for a directory.
func StageFile(ctx context.Context, path string, fill func(tmp string) error) error {
	name := filepath.Base(path)
	return fillAndPlace(ctx, path, func(tmp string) error { return fill(filepath.Join(tmp, name)) }, func(tmp string) error {
		return os.Rename(filepath.Join(tmp, name), path)
	})
}

// fillAndPlace lets fill write into a temporary directory next to path, and then lets place move what it wrote. The
// directory is removed in any case.
func fillAndPlace(ctx context.Context, path string, fill, place func(tmp string) error) error {
	parent := filepath.Dir(path)
	if err := os.MkdirAll(parent, 0o777); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(parent, ".tmp-"+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	defer removeLater(ctx, tmp)()
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if err := fill(tmp); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := place(tmp); err != nil {
		return err
	}
	return atomicfile.Sync(parent)
}

// moveInto moves the files of from into dir and removes weights there that would now be read with or instead of them.
func moveInto(from, dir string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
		if err := os.Rename(filepath.Join(from, e.Name()), filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	old, err := filepath.Glob(filepath.Join(dir, "model*.safetensors*"))
	if err != nil || !slices.Contains(names, weights.ModelFile) && !slices.Contains(names, weights.IndexFile) {
		return err
	}
	for _, path := range old {
		if !slices.Contains(names, filepath.Base(path)) {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"mambatrain/internal/atomicfile"
	"mambatrain/nn/weights"
)

// Policy determines what to do with an output directory that is not empty. A flag --force is a Policy.
type Policy bool

const (
	Refuse  Policy = false
	Replace Policy = true // replace files of the same name, keep the others
)

// CheckOutput returns an error if dir may not be used for output: if it is not empty, or if it is or contains one of the
// inputs. Commands call it before expensive work. Inputs are files or directories; "" is ignored.
func CheckOutput(dir string, p Policy, inputs ...string) error {
	for _, input := range inputs {
		if err := CheckDistinct("--output", dir, directoryOf(input)); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return Misuse(fmt.Errorf("--output: %w", err))
	case p == Refuse && slices.ContainsFunc(entries, counts):
		return Misusef("--output %s is not empty; use --force to replace its files", dir)
	}
	return nil
}

// directoryOf returns path, or its directory if path is a file.
func directoryOf(path string) string {
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		return filepath.Dir(path)
	}
	return path
}

// counts reports whether an entry makes its directory count as not empty. Temporary files of killed processes and
// lost+found, which every new file system has, do not.
func counts(e fs.DirEntry) bool { return !atomicfile.IsTemporary(e.Name()) && e.Name() != "lost+found" }

// CheckDistinct returns an error if output, named by a flag, is the same file as one of the inputs, even under another name
// or through a link. It ignores inputs that do not exist, such as "".
func CheckDistinct(flag, output string, inputs ...string) error {
	if atomicfile.Overwrites(output, inputs...) {
		return Misusef("%s %s is an input of this command and would be overwritten; choose another name", flag, output)
	}
	return nil
}

// CheckFile is like [CheckOutput] for a single file. An existing device or pipe is accepted.
func CheckFile(path string, p Policy, inputs ...string) error {
	if err := CheckDistinct("--output", path, inputs...); err != nil {
		return err
	}
	_, special, err := atomicfile.Target(path)
	if err != nil {
		return Misuse(fmt.Errorf("--output: %w", err))
	}
	if p == Refuse && !special && Exists("", path) == nil {
		return Misusef("--output %s already exists; use --force to replace it", path)
	}
	return nil
}

// modelKeys are the files that a directory needs to be recognized as a model, an adapter, or a tokenizer.
var modelKeys = []string{"config.json", "adapter_config.json", "tokenizer.json"}

// Stage calls fill with a temporary directory and then moves the result to dir. A new directory appears with all its files
// at once. In an existing directory, which may be a link or a mount point, Stage replaces files of the same name and
// removes the weights of an earlier model, in an order that leaves no loadable mixture if the process is killed. If ctx is
// canceled before the move, nothing is left behind.
func Stage(ctx context.Context, dir string, p Policy, fill func(tmp string) error) error {
	if err := CheckOutput(dir, p); err != nil {
		return err
	}
	dir = filepath.Clean(dir)
	parent := dir
	_, err := os.Stat(dir)
	fresh := errors.Is(err, fs.ErrNotExist)
	if fresh {
		if dir, _, err = atomicfile.Target(dir); err != nil { // follow links
			return err
		}
		parent = filepath.Dir(dir)
	}
	return fillAndPlace(ctx, parent, dir, fill, func(tmp *atomicfile.Dir) error {
		if fresh {
			return tmp.Rename(dir)
		}
		names, err := os.ReadDir(tmp.Path)
		if err != nil {
			return err
		}
		hasWeights := slices.ContainsFunc(names, func(e fs.DirEntry) bool { return weights.IsModelFile(e.Name()) })
		return tmp.MoveInto(dir, modelKeys, func(name string) bool { return hasWeights && weights.IsModelFile(name) })
	})
}

// StageFile is like [Stage] for a single file, following the rules of [atomicfile.WriteOutput].
func StageFile(ctx context.Context, path string, fill func(tmp string) error) error {
	target, special, err := atomicfile.Target(path)
	if err != nil {
		return Misuse(fmt.Errorf("--output: %w", err))
	}
	name, parent := filepath.Base(target), filepath.Dir(target)
	if special {
		name, parent = "output", os.TempDir()
	}
	return fillAndPlace(ctx, parent, parent, func(tmp string) error { return fill(filepath.Join(tmp, name)) }, func(tmp *atomicfile.Dir) error {
		if !special {
			return os.Rename(filepath.Join(tmp.Path, name), target) // already synced by fill
		}
		f, err := os.Open(filepath.Join(tmp.Path, name))
		if err != nil {
			return err
		}
		defer f.Close()
		return atomicfile.WriteOutput(path, func(w io.Writer) error {
			_, err := io.Copy(w, f)
			return err
		})
	})
}

// fillAndPlace calls fill with a temporary directory in parent, and then place, which moves the files to dir. It always
// removes the temporary directory.
func fillAndPlace(ctx context.Context, parent, dir string, fill func(tmp string) error, place func(tmp *atomicfile.Dir) error) error {
	if err := atomicfile.MkdirAll(parent); err != nil {
		return err
	}
	tmp, err := atomicfile.CreateDir(parent)
	if err != nil {
		return err
	}
	dirs := tempDirsOf(ctx)
	dirs.add(tmp.Path)
	defer tmp.Remove()
	if err := fill(tmp.Path); err != nil {
		return tmp.Name(dir, err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	defer dirs.hold()() // a second signal must not interrupt the move
	if err := place(tmp); err != nil {
		return tmp.Name(dir, err)
	}
	return atomicfile.Sync(parent)
}

//go:build unix

package trainer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mambatrain/trainer/checkpoint"
)

// faultFS is the disk with a counter of operations. From a given operation on, some may fail, or the power is cut. It
// tracks what would survive a power cut: synced contents under names whose directory was synced.
type faultFS struct {
	checkpoint.Disk
	ops    int
	before func(op int, write bool) error // called before every operation
	log    []string

	ids      map[uint64]int // IDs by inode on the real disk; the number of a removed inode may be reused
	last     int
	contents map[int][]byte         // of files, when last synced
	names    map[int]map[string]int // in directories, when last synced
	locks    []io.Closer
}

// powerCut is the panic value that represents a power cut.
type powerCut struct{}

func newFaultFS(before func(op int, write bool) error) *faultFS {
	return &faultFS{before: before, ids: map[uint64]int{}, contents: map[int][]byte{}, names: map[int]map[string]int{}}
}

func (f *faultFS) op(write bool, what string, paths ...string) error {
	f.ops++
	f.log = append(f.log, fmt.Sprint(what, paths))
	if f.before == nil {
		return nil
	}
	if err := f.before(f.ops, write); err != nil {
		return &fs.PathError{Op: what, Path: paths[0], Err: err}
	}
	return nil
}

func (f *faultFS) MkdirAll(dir string) error {
	if err := f.op(true, "mkdir", dir); err != nil {
		return err
	}
	return f.Disk.MkdirAll(dir)
}

func (f *faultFS) Create(path string) (io.WriteCloser, error) {
	if err := f.op(true, "create", path); err != nil {
		return nil, err
	}
	file, err := f.Disk.Create(path)
	return &faultFile{file, f, path}, err
}

// faultFile is a new file on a faultFS.
type faultFile struct {
	io.WriteCloser
	fs   *faultFS
	path string
}

// Write fails halfway: a full disk or a power cut leaves a partial write.
func (w *faultFile) Write(data []byte) (int, error) {
	half := len(data) / 2
	if n, err := w.WriteCloser.Write(data[:half]); err != nil {
		return n, err
	}
	if err := w.fs.op(true, "write", w.path); err != nil {
		return half, err
	}
	n, err := w.WriteCloser.Write(data[half:])
	return half + n, err
}

func (w *faultFile) Close() error {
	err := w.fs.op(true, "close", w.path)
	return cmp.Or(err, w.WriteCloser.Close())
}

func (f *faultFS) Append(path string) (io.WriteCloser, error) {
	if err := f.op(true, "append", path); err != nil {
		return nil, err
	}
	return f.Disk.Append(path)
}

func (f *faultFS) Open(path string) (io.ReadCloser, error) {
	if err := f.op(false, "open", path); err != nil {
		return nil, err
	}
	return f.Disk.Open(path)
}

func (f *faultFS) ReadDir(dir string) ([]fs.DirEntry, error) {
	if err := f.op(false, "readdir", dir); err != nil {
		return nil, err
	}
	return f.Disk.ReadDir(dir)
}

func (f *faultFS) Rename(from, to string) error {
	if err := f.op(true, "rename", from, to); err != nil {
		return err
	}
	f.forget(to)
	return f.Disk.Rename(from, to)
}

func (f *faultFS) RemoveAll(path string) error {
	defer func() {
		if p := recover(); p != nil { // the power was cut halfway
			filepath.WalkDir(path, func(file string, d fs.DirEntry, err error) error {
				if err == nil && !d.IsDir() {
					os.Remove(file)
					return fs.SkipAll
				}
				return nil
			})
			panic(p)
		}
	}()
	if err := f.op(true, "remove", path); err != nil {
		return err
	}
	f.forget(path)
	return f.Disk.RemoveAll(path)
}

func (f *faultFS) Lock(path string) (io.Closer, error) {
	if err := f.op(true, "lock", path); err != nil {
		return nil, err
	}
	l, err := f.Disk.Lock(path)
	if err == nil {
		f.locks = append(f.locks, l)
	}
	return l, err
}

func (f *faultFS) Sync(path string) error {
	if err := f.op(true, "sync", path); err != nil {
		return err
	}
	id := f.id(path)
	if entries, err := os.ReadDir(path); err == nil {
		f.names[id] = map[string]int{}
		for _, e := range entries {
			f.names[id][e.Name()] = f.id(filepath.Join(path, e.Name()))
		}
		return nil
	}
	b, err := os.ReadFile(path)
	f.contents[id] = b
	return err
}

// syncAll makes durable everything an earlier process left.
func (f *faultFS) syncAll(root string) error {
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error { return cmp.Or(err, f.Sync(path)) })
	f.ops, f.log = 0, nil
	return err
}

// id assigns numbers to files and directories that have existed.
func (f *faultFS) id(path string) int {
	s, err := os.Stat(path)
	if err != nil {
		return 0
	}
	ino := s.Sys().(*syscall.Stat_t).Ino
	if f.ids[ino] == 0 {
		f.last++
		f.ids[ino] = f.last
	}
	return f.ids[ino]
}

// forget frees the IDs of the inodes below path.
func (f *faultFS) forget(path string) {
	filepath.WalkDir(path, func(p string, _ fs.DirEntry, err error) error {
		if s, err := os.Stat(p); err == nil {
			delete(f.ids, s.Sys().(*syscall.Stat_t).Ino)
		}
		return nil
	})
}

// survive writes to dir what a power cut would leave of root.
func (f *faultFS) survive(root, dir string) error { return f.rebuild(f.id(root), dir) }

func (f *faultFS) rebuild(id int, path string) error {
	names, isDir := f.names[id]
	if b, synced := f.contents[id]; synced && !isDir {
		return os.WriteFile(path, b, 0o666)
	}
	if err := os.MkdirAll(path, 0o777); err != nil {
		return err
	}
	for name, child := range names {
		if _, isDir := f.names[child]; !isDir && f.contents[child] == nil {
			// Never synced: the name exists, but the contents do not.
			if err := os.WriteFile(filepath.Join(path, name), nil, 0o666); err != nil {
				return err
			}
			continue
		}
		if err := f.rebuild(child, filepath.Join(path, name)); err != nil {
			return err
		}
	}
	return nil
}

func (f *faultFS) close() {
	for _, l := range f.locks {
		l.Close()
	}
}

// newSmallRun returns a run of 5 steps with 3 checkpoints, of which 1 is kept, and with a file in a subdirectory.
func newSmallRun() *run {
	r := newRun()
	r.NumTrainEpochs, r.SaveSteps, r.SaveTotalLimit = 1, 2, 1
	notes := filepath.Join("more", "notes.txt")
	r.task.Storage.Save = func(dir string) error {
		if err := os.MkdirAll(filepath.Join(dir, "more"), 0o777); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, notes), []byte("notes"), 0o666); err != nil {
			return err
		}
		return r.model.save(dir)
	}
	r.task.Storage.Load = func(dir string) error {
		if b, err := os.ReadFile(filepath.Join(dir, notes)); err != nil || string(b) != "notes" {
			return fmt.Errorf("%s: %q, %v", notes, b, err)
		}
		return r.model.load(dir)
	}
	return r
}

// lastSaved returns the step of the last checkpoint that the run reported as complete.
func (r *run) lastSaved() int {
	step := 0
	for _, e := range r.events {
		if s, ok := e.(SaveEvent); ok {
			step = s.Step
		}
	}
	return step
}

// resumedAt returns the step from which the run resumed: 0 if it started from the beginning, or the last step of a
// finished run.
func (r *run) resumedAt(t *testing.T, dir string) int {
	t.Helper()
	if r.must(t, dir, checkpoint.Resume).AlreadyFinished {
		return 5
	}
	if e, ok := r.events[0].(ResumeEvent); ok {
		return e.Step
	}
	return 0
}

// on starts a run on a file system and reports whether the power was cut.
func (r *run) on(f *faultFS, dir string, mode checkpoint.Mode) (res Result, err error, cut bool) {
	defer f.close()
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(powerCut); !ok {
				panic(p)
			}
			cut = true
		}
	}()
	out, err := checkpoint.Open(f, dir, mode)
	if err != nil {
		return Result{}, err, false
	}
	if r.back > 0 {
		if err := out.GoBack(r.back); err != nil {
			return Result{}, err, false
		}
	}
	r.task.Storage.Output = out
	t, err := New(r.Config, r.task)
	if err != nil {
		return Result{}, err, false
	}
	res, err = t.Run(context.Background())
	return res, err, false
}

// countOps returns the number of operations in an undisturbed run, and its results.
func countOps(t *testing.T) (int, map[string][]byte) {
	f, dir := newFaultFS(nil), t.TempDir()
	if _, err, _ := newSmallRun().on(f, dir, checkpoint.Fresh); err != nil {
		t.Fatal(err)
	}
	return f.ops, results(t, dir)
}

// TestPowerCutAtEveryOperation cuts the power before each operation. Whether everything done is left (the process was
// killed) or only what was synced (the machine lost power), the run must resume to the same result.
func TestPowerCutAtEveryOperation(t *testing.T) {
	ops, want := countOps(t)
	for n := 1; n <= ops+1; n++ { // the last one is after the end
		f, dir, left := newFaultFS(func(op int, _ bool) error {
			if op == n {
				panic(powerCut{})
			}
			return nil
		}), t.TempDir(), t.TempDir()
		first := newSmallRun()
		if _, err, cut := first.on(f, dir, checkpoint.Fresh); !cut && n <= ops {
			t.Fatalf("operation %d: the power was not cut, %v", n, err)
		}
		at := fmt.Sprintf("operation %d of %d, %s", n, ops, strings.ReplaceAll(f.log[min(n, ops)-1], dir, ""))
		if err := f.survive(dir, left); err != nil {
			t.Fatal(err)
		}
		for _, d := range []string{left, dir} {
			if from := newSmallRun().resumedAt(t, d); from < first.lastSaved() {
				t.Errorf("%s: resumed from step %d, step %d had been saved", at, from, first.lastSaved())
			}
			sameResults(t, at, results(t, d), want)
			if b, err := os.ReadFile(filepath.Join(d, "more", "notes.txt")); string(b) != "notes" {
				t.Errorf("%s: the result's notes: %q, %v", at, b, err)
			}
			if junk := leftovers(t, d); len(junk) > 0 {
				t.Errorf("%s: left over: %v", at, junk)
			}
		}
		if t.Failed() {
			return
		}
	}
}

// TestPowerCutWhileACheckpointIsReplaced cuts the power while a run completes the last checkpoint, which was written
// during an interrupted evaluation. The checkpoint must never be missing.
func TestPowerCutWhileACheckpointIsReplaced(t *testing.T) {
	straight := t.TempDir()
	newSmallRun().must(t, straight, checkpoint.Fresh)
	for n := 1; ; n++ {
		dir, left := t.TempDir(), t.TempDir()
		newSmallRun().stopAfter(t, dir, checkpoint.Fresh, isEval, 1)
		f := newFaultFS(nil)
		if err := f.syncAll(dir); err != nil {
			t.Fatal(err)
		}
		f.before = func(op int, _ bool) error {
			if op == n {
				panic(powerCut{})
			}
			return nil
		}
		if _, err, cut := newSmallRun().on(f, dir, checkpoint.Resume); !cut {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
		if err := f.survive(dir, left); err != nil {
			t.Fatal(err)
		}
		at := fmt.Sprintf("operation %d, %s", n, strings.ReplaceAll(f.log[n-1], dir, ""))
		for _, d := range []string{left, dir} {
			if from := newSmallRun().resumedAt(t, d); from < 5 {
				t.Fatalf("%s: resumed from step %d, want 5", at, from)
			}
			for _, name := range []string{"", "checkpoint-5"} {
				sameResults(t, at, results(t, filepath.Join(d, name)), results(t, filepath.Join(straight, name)))
			}
		}
	}
}

// TestPowerCutWhileARunIsReplaced cuts the power while a run replaces a finished one or goes back to one of its
// checkpoints. What is left must resume to the same result.
func TestPowerCutWhileARunIsReplaced(t *testing.T) {
	straight := t.TempDir()
	r := newSmallRun()
	r.SaveTotalLimit = 0
	r.must(t, straight, checkpoint.Fresh)
	for _, back := range []int{0, 2} {
		last := ""                                                                                      // operation before the cut
		for n, cut := 1, true; cut && !t.Failed() && !strings.Contains(last, ".tmp-checkpoint-"); n++ { // later, it is any other run
			dir, left := t.TempDir(), t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(straight)); err != nil {
				t.Fatal(err)
			}
			f := newFaultFS(nil)
			if err := f.syncAll(dir); err != nil {
				t.Fatal(err)
			}
			f.before = func(op int, _ bool) error {
				if op == n {
					panic(powerCut{})
				}
				return nil
			}
			r, mode, err := newSmallRun(), checkpoint.Overwrite, error(nil)
			if r.back = back; back > 0 {
				mode = checkpoint.Resume
			}
			if _, err, cut = r.on(f, dir, mode); err != nil {
				t.Fatal(err)
			}
			if err := f.survive(dir, left); err != nil {
				t.Fatal(err)
			}
			last = strings.ReplaceAll(f.log[len(f.log)-1], dir, "")
			at := fmt.Sprintf("back to %d, operation %d, %s", back, n, last)
			for _, d := range []string{left, dir} {
				newSmallRun().must(t, d, checkpoint.Resume)
				sameResults(t, at, results(t, d), results(t, straight))
			}
		}
	}
}

// TestDiskFailures makes operations fail: one, several in a row, or every write from some operation on. The run
// continues or stops with an error that names the cause, and can be finished afterward.
func TestDiskFailures(t *testing.T) {
	ops, want := countOps(t)
	for name, c := range map[string]struct {
		count int
		err   error
	}{"one": {1, syscall.EIO}, "full for a while": {8, syscall.ENOSPC}, "read-only from then on": {1 << 30, syscall.EROFS}} {
		for n := 1; n <= ops; n += min(c.count, 2) { // the longer failures overlap
			failed := 0
			f, dir := newFaultFS(func(op int, write bool) error {
				if op >= n && op < n+c.count && (write || c.count == 1) {
					failed++
					return c.err
				}
				return nil
			}), t.TempDir()
			r := newSmallRun()
			_, err, _ := r.on(f, dir, checkpoint.Fresh)
			at := fmt.Sprintf("%s: operation %d, %s", name, n, strings.ReplaceAll(f.log[min(n, len(f.log))-1], dir, ""))
			switch {
			case err != nil && (!errors.Is(err, c.err) || strings.Contains(err.Error(), "\n")):
				t.Errorf("%s: error %v", at, err)
			case err == nil && failed > 0 && c.count > 1<<20:
				t.Errorf("%s: the run is reported as finished", at)
			}
			newSmallRun().must(t, dir, checkpoint.Resume)
			sameResults(t, at, results(t, dir), want)
			if t.Failed() {
				return
			}
		}
	}
}

// TestFullDiskDoesNotEndRun fills the disk during one checkpoint.
func TestFullDiskDoesNotEndRun(t *testing.T) {
	r := newRun()
	save, calls := r.task.Storage.Save, 0
	r.task.Storage.Save = func(dir string) error {
		if calls++; calls == 2 {
			os.WriteFile(filepath.Join(dir, "half"), []byte("of a file"), 0o666)
			return fmt.Errorf("model.safetensors: %w", syscall.ENOSPC)
		}
		return save(dir)
	}
	dir := t.TempDir()
	r.must(t, dir, checkpoint.Fresh)
	var faults, saved []string
	for _, e := range r.events {
		switch e := e.(type) {
		case SaveFailureEvent:
			faults = append(faults, e.Err.Error())
		case SaveEvent:
			saved = append(saved, filepath.Base(e.Dir))
		}
	}
	if got, want := fmt.Sprint(faults), "[trainer: checkpoint of step 8: model.safetensors: no space left on device]"; got != want {
		t.Errorf("failures %v, want %v", got, want)
	}
	if got, want := fmt.Sprint(saved), "[checkpoint-4 checkpoint-12 checkpoint-14]"; got != want {
		t.Errorf("saved %v, want %v", got, want)
	}
	if junk := leftovers(t, dir); len(junk) > 0 {
		t.Errorf("left over: %v", junk)
	}
}

// An interrupted run whose old checkpoints cannot be removed is saved nevertheless.
func TestInterruptWithoutPruning(t *testing.T) {
	f, broken := newFaultFS(nil), false
	f.before = func(int, bool) error {
		if broken && strings.Contains(f.log[len(f.log)-1], "gone-checkpoint-2") {
			return syscall.EACCES
		}
		return nil
	}
	dir := t.TempDir()
	out, err := checkpoint.Open(f, dir, checkpoint.Fresh)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	ctx, cancel := context.WithCancel(t.Context())
	r := newSmallRun()
	r.task.Storage.Output = out
	failures := 0
	r.onEvent = func(e Event) {
		if s, ok := e.(StepEvent); ok && s.Step == 3 {
			broken = true
			cancel()
		}
		if _, ok := e.(PruneFailureEvent); ok {
			failures++
		}
	}
	tr, err := New(r.Config, r.task)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tr.Run(ctx)
	var stopped *StopError
	if !errors.As(err, &stopped) || stopped.Err != nil || stopped.Checkpoint != out.Path(3) || failures != 1 {
		t.Errorf("got %v and %d failures to remove a checkpoint, want %s and one", err, failures, out.Path(3))
	}
}

// TestDamagedCheckpointIsReportedAndSkipped damages the newest checkpoint in every way that a disk can.
func TestDamagedCheckpointIsReportedAndSkipped(t *testing.T) {
	straight := t.TempDir()
	newRun().must(t, straight, checkpoint.Fresh)
	want := results(t, straight)
	for what, damage := range map[string]func(dir string) error{
		"a byte of the weights has flipped": func(dir string) error { return flip(filepath.Join(dir, "model.safetensors")) },
		"a byte of the state has flipped":   func(dir string) error { return flip(filepath.Join(dir, checkpoint.StateFile)) },
		"the optimizer's file is too short": func(dir string) error { return os.Truncate(filepath.Join(dir, optimizerFile), 100) },
		"the optimizer's file is missing":   func(dir string) error { return os.Remove(filepath.Join(dir, optimizerFile)) },
		"the manifest is missing":           func(dir string) error { return os.Remove(filepath.Join(dir, "manifest.json")) },
		"the manifest is empty":             func(dir string) error { return os.Truncate(filepath.Join(dir, "manifest.json"), 0) },
		"the manifest lists nothing": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "manifest.json"), []byte("{}"), 0o666)
		},
	} {
		dir := t.TempDir()
		newRun().stopAfter(t, dir, checkpoint.Fresh, isStep, 9) // saved at 4, 8, and 9
		newest := filepath.Join(dir, "checkpoint-9")
		if err := damage(newest); err != nil {
			t.Fatal(err)
		}
		r := newRun()
		r.must(t, dir, checkpoint.Resume)
		sameResults(t, what, results(t, dir), want)
		resumed, ok := r.events[0].(ResumeEvent)
		if !ok || resumed.Step != 8 || len(resumed.Damaged) != 1 || !strings.Contains(resumed.Damaged[0].Error(), newest+": damaged: ") {
			t.Errorf("%s: first event %#v", what, r.events[0])
		}
	}
}

// TestDamagedCheckpointsDoNotDisplaceGoodOnes resumes from before damaged checkpoints, whose steps are higher than those
// of the first new ones. After each save, the new checkpoint and earlier ones must exist, up to the limit.
func TestDamagedCheckpointsDoNotDisplaceGoodOnes(t *testing.T) {
	for _, c := range []struct{ limit, saveSteps int }{{1, 1}, {1, 4}, {2, 1}, {2, 3}, {3, 1}} {
		dir := t.TempDir()
		newRun().stopAfter(t, dir, checkpoint.Fresh, isStep, 9) // saved at 4, 8, and 9
		for _, name := range []string{"checkpoint-8", "checkpoint-9"} {
			if err := flip(filepath.Join(dir, name, "model.safetensors")); err != nil {
				t.Fatal(err)
			}
		}
		r, good := newRun(), []int{4}
		r.SaveTotalLimit, r.SaveSteps = c.limit, c.saveSteps
		r.onEvent = func(e Event) {
			s, ok := e.(SaveEvent)
			if !ok {
				return
			}
			good = append(good, s.Step)
			for _, step := range good[max(0, len(good)-c.limit):] {
				if err := r.task.Storage.Output.Verify(step); err != nil {
					t.Errorf("limit %d: after the save of step %d: checkpoint %d: %v", c.limit, s.Step, step, err)
				}
			}
			if found, _ := filepath.Glob(filepath.Join(dir, "checkpoint-*")); len(found) != min(c.limit, len(good)) {
				t.Errorf("limit %d: after the save of step %d: %v", c.limit, s.Step, found)
			}
		}
		r.must(t, dir, checkpoint.Resume)
	}
}

func flip(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	b[len(b)-5] ^= 1
	return os.WriteFile(path, b, 0o666)
}

func TestOnlyDamagedCheckpoints(t *testing.T) {
	dir := t.TempDir()
	newRun().stopAfter(t, dir, checkpoint.Fresh, isStep, 2)
	if err := flip(filepath.Join(dir, "checkpoint-2", "model.safetensors")); err != nil {
		t.Fatal(err)
	}
	_, err := newRun().start(context.Background(), dir, checkpoint.Resume)
	if err == nil || !strings.Contains(err.Error(), "checkpoint-2: damaged: model.safetensors") || !strings.Contains(err.Error(), "--overwrite starts over") {
		t.Errorf("got %v", err)
	}
}

// lostData is a data source whose file vanishes.
type lostData struct {
	BatchSource
	until int
}

func (d *lostData) Batch(ctx context.Context, epoch, i int) (MicroBatch, error) {
	if d.until--; d.until < 0 {
		return MicroBatch{}, fs.ErrNotExist
	}
	return d.BatchSource.Batch(ctx, epoch, i)
}

func TestDataDisappears(t *testing.T) {
	dir := t.TempDir()
	r := newRun()
	r.task.Train = &lostData{r.task.Train, 11}
	_, err := r.start(context.Background(), dir, checkpoint.Fresh)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "step 6: micro-batch 1 of epoch 1") {
		t.Errorf("got %v", err)
	}
	straight := t.TempDir()
	newRun().must(t, straight, checkpoint.Fresh)
	newRun().must(t, dir, checkpoint.Resume)
	sameResults(t, "after the data came back", results(t, dir), results(t, straight))
}

// TestInterruptDuringSave interrupts the run while a checkpoint is being written.
func TestInterruptDuringSave(t *testing.T) {
	straight, dir := t.TempDir(), t.TempDir()
	newRun().must(t, straight, checkpoint.Fresh)
	ctx, cancel := context.WithCancel(context.Background())
	r := newRun()
	r.task.Storage.Save = func(dir string) error { cancel(); return r.model.save(dir) }
	_, err := r.start(ctx, dir, checkpoint.Fresh)
	var i *StopError
	if !errors.As(err, &i) || i.Step != 4 || i.Err != nil {
		t.Fatalf("got %v", err)
	}
	newRun().must(t, dir, checkpoint.Resume)
	sameResults(t, "interrupted in a save", results(t, dir), results(t, straight))
}

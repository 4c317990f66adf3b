package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"mambatrain/internal/atomicfile"
	"mambatrain/internal/fault"
	"mambatrain/internal/filelock"
)

// Names of the other files and directories that a run writes to its output directory.
const (
	JournalFile  = "log.jsonl"
	SamplesFile  = "samples.jsonl"
	LogsDir      = "logs"                 // TensorBoard event files, unless logging_dir names another directory
	EventsPrefix = "events.out.tfevents." // the prefix by which TensorBoard recognizes event files
	LockFile     = ".lock"                // locked by the training process
)

// Names of files that a program that starts a run in a separate process may create in the output directory before the
// run begins.
const (
	ProcessFile = "process.json" // identifies the process
	ConsoleFile = "console.log"  // the process's output
)

const (
	temporary        = ".tmp-" // prefix of directories that are being written and of files and directories that are being removed
	checkpointPrefix = "checkpoint-"
	gone             = "gone-"
	resultName       = "result"
)

// resultKeys are the files that readers require to recognize a directory as a model or an adapter.
var resultKeys = []string{"config.json", "adapter_config.json"}

// Mode determines how a run treats the existing contents of its output directory.
type Mode int

const (
	Fresh     Mode = iota // the directory must be new or empty
	Resume                // resume from the newest complete checkpoint, or start if there is none
	Overwrite             // start, and replace an earlier run
)

// Output is a locked output directory.
type Output struct {
	Dir string

	fs       FS
	lock     io.Closer
	unlocked error // why there is no lock
	finished *State
	newest   *Checkpoint
	damaged  []error
	replaces bool         // Begin removes an earlier run
	back     bool         // newest was chosen by GoBack, and there may be newer ones
	usable   map[int]bool // whether the checkpoint of a step is usable, if this process wrote or checked it
}

// Checkpoint is a verified checkpoint.
type Checkpoint struct {
	Dir   string
	Step  int
	State *State
}

// Open creates and locks an output directory and inspects its contents. It removes nothing that a run could still use;
// [Output.Begin] does. Errors that wrap [ErrNotEmpty] or filelock.ErrLocked are for the user to resolve. If the file
// system has no locks, [Output.Unlocked] returns an error.
func Open(f FS, dir string, mode Mode) (*Output, error) {
	o := &Output{Dir: dir, fs: f, usable: map[int]bool{}}
	err := o.makeAndLock()
	if errors.Is(err, filelock.ErrLocked) {
		err = fmt.Errorf("another run is writing there: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("checkpoint: output_dir: %s: %w", dir, err)
	}
	if err := o.prepare(mode); err != nil {
		o.lock.Close()
		return nil, err
	}
	return o, nil
}

// Begin removes what the run replaces: in Overwrite mode, whatever an earlier run wrote; after [Output.GoBack],
// whatever is newer than the selected checkpoint. It must be called when nothing can prevent the first step anymore, and
// before the run writes anything.
func (o *Output) Begin() error {
	switch {
	case o.replaces:
		return o.clear()
	case o.back:
		return o.dropNewer()
	}
	return nil
}

// Look inspects an output directory as [Open] does in Resume mode, but it neither creates, locks, nor changes it. The
// result must not be written to.
func Look(f FS, dir string) (*Output, error) {
	o := &Output{Dir: dir, fs: f, lock: io.NopCloser(nil), usable: map[int]bool{}}
	return o, o.inspect()
}

// makeAndLock creates the directory and locks it. It retries because a run that never began may remove the directory in
// between.
func (o *Output) makeAndLock() (err error) {
	const tries = 10
	for range tries {
		if err := o.fs.MkdirAll(o.Dir); err != nil {
			return err
		}
		if o.lock, err = o.fs.Lock(filepath.Join(o.Dir, LockFile)); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if filelock.IsUnsupported(err) {
		o.lock, o.unlocked, err = io.NopCloser(nil), err, nil
	}
	return err
}

// disregarded lists the files and directories that an empty output directory may contain. A new file system has a
// lost+found.
var disregarded = []string{LockFile, ProcessFile, ConsoleFile, "lost+found"}

// ErrNotEmpty reports that the output directory is not empty and that neither resuming nor overwriting was requested.
var ErrNotEmpty = errors.New("is not empty")

// CheckFresh reports an error unless a Fresh run may use dir. It lets callers check before doing expensive work.
func CheckFresh(f FS, dir string) error {
	entries, err := f.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("checkpoint: output_dir: %w", err)
	}
	for _, e := range entries {
		if !slices.Contains(disregarded, e.Name()) && !isLeftover(e.Name()) {
			return fmt.Errorf("checkpoint: output_dir: %s %w: --resume continues the run in it, --overwrite replaces it", dir, ErrNotEmpty)
		}
	}
	return nil
}

func (o *Output) prepare(mode Mode) error {
	if mode == Fresh {
		if err := CheckFresh(o.fs, o.Dir); err != nil {
			return err
		}
	}
	entries, err := o.fs.ReadDir(o.Dir)
	if err != nil {
		return fmt.Errorf("checkpoint: output_dir: %w", err)
	}
	for _, e := range entries {
		if isLeftover(e.Name()) {
			if mode != Fresh {
				if err := o.adopt(e.Name()); err != nil {
					return fmt.Errorf("checkpoint: output_dir: %w", err)
				}
			}
			if err := o.fs.RemoveAll(filepath.Join(o.Dir, e.Name())); err != nil {
				return fmt.Errorf("checkpoint: output_dir: %w", err)
			}
		}
	}
	switch mode {
	case Overwrite:
		o.replaces = true
	case Resume:
		return o.inspect()
	}
	return nil
}

// adopt renames a leftover to its final name if it is a complete checkpoint of a step that has none: the run was killed
// after it removed the old one.
func (o *Output) adopt(name string) error {
	step, ok := strings.CutPrefix(name, temporary)
	tmp, dir := filepath.Join(o.Dir, name), filepath.Join(o.Dir, step)
	if !ok || !strings.HasPrefix(step, checkpointPrefix) || verify(o.fs, tmp) != nil {
		return nil
	}
	if _, err := o.fs.ReadDir(dir); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := o.fs.Rename(tmp, dir); err != nil {
		return err
	}
	return o.fs.Sync(o.Dir)
}

// isLeftover reports whether a name in an output directory belongs to something that a killed run was writing or
// removing.
func isLeftover(name string) bool {
	rest, ok := strings.CutPrefix(name, temporary)
	return atomicfile.IsTemporary(name) || ok && slices.ContainsFunc([]string{checkpointPrefix, gone, resultName}, func(ours string) bool {
		return strings.HasPrefix(rest, ours)
	})
}

// clear removes what an earlier run wrote and nothing else, to limit the damage of a mistyped output_dir.
func (o *Output) clear() error {
	remove := []string{StateFile, JournalFile, SamplesFile}
	if st, err := o.readState(o.Dir); err == nil {
		for _, name := range st.Progress().Files {
			if filepath.IsLocal(name) {
				remove = append(remove, name)
			}
		}
	}
	steps, err := o.steps()
	if err != nil {
		return err
	}
	for _, step := range steps {
		remove = append(remove, checkpointName(step))
	}
	logs, _ := o.fs.ReadDir(filepath.Join(o.Dir, LogsDir)) // usually there are none
	for _, e := range logs {
		if strings.HasPrefix(e.Name(), EventsPrefix) {
			remove = append(remove, filepath.Join(LogsDir, e.Name()))
		}
	}
	for _, name := range remove {
		if err := o.remove(name); err != nil {
			return fmt.Errorf("checkpoint: output_dir: %w", err)
		}
	}
	return nil
}

// remove renames a file or directory, so that it disappears atomically, and then deletes it.
func (o *Output) remove(name string) error {
	tmp := filepath.Join(o.Dir, temporary+gone+strings.ReplaceAll(name, string(filepath.Separator), "-"))
	if err := o.fs.Rename(filepath.Join(o.Dir, name), tmp); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return o.fs.RemoveAll(tmp)
}

// inspect looks for a finished run and the newest usable checkpoint.
func (o *Output) inspect() error {
	if st, err := o.readState(o.Dir); err == nil && st.Progress().Finished {
		o.finished = st
	}
	steps, err := o.steps()
	if err != nil {
		return err
	}
	for _, step := range steps {
		dir := filepath.Join(o.Dir, checkpointName(step))
		c, err := o.open(dir, step)
		if err == nil {
			o.newest, o.usable[step] = c, true
			return nil
		}
		o.usable[step] = false
		o.damaged = append(o.damaged, fmt.Errorf("checkpoint: %s: damaged: %w", dir, err))
	}
	if len(o.damaged) > 0 && o.finished == nil {
		return fmt.Errorf("%w\ncheckpoint: %s: no usable checkpoint; --overwrite starts over", errors.Join(o.damaged...), o.Dir)
	}
	return nil
}

// GoBack selects the checkpoint of a step to resume from, which need not be the newest. Newer ones remain until
// [Output.Begin].
func (o *Output) GoBack(step int) error {
	c, err := o.open(o.Path(step), step)
	if err != nil {
		return fmt.Errorf("checkpoint: %s: damaged: %w", o.Path(step), err)
	}
	o.newest, o.finished, o.damaged, o.back = c, nil, nil, true
	o.usable[step] = true
	return nil
}

// dropNewer removes everything newer than the checkpoint selected by [Output.GoBack]: checkpoints, and the mark of a
// finished run. Each removal leaves a run that can be resumed.
func (o *Output) dropNewer() error {
	steps, err := o.steps()
	if err != nil {
		return err
	}
	remove := []string{StateFile}
	for _, step := range steps {
		if step > o.newest.Step {
			remove = append(remove, checkpointName(step))
			delete(o.usable, step)
		}
	}
	for _, name := range remove {
		if err := o.remove(name); err != nil {
			return fmt.Errorf("checkpoint: output_dir: %w", err)
		}
	}
	return nil
}

// StepOf returns the step of the checkpoint in outputDir that path names, either by its full path or by its name in
// outputDir. If path is elsewhere, the error is a [fault.ErrNotFound].
func StepOf(outputDir, path string) (int, error) {
	path = filepath.Clean(path)
	name := filepath.Base(path)
	step, err := strconv.Atoi(strings.TrimPrefix(name, checkpointPrefix))
	if err != nil || checkpointName(step) != name {
		return 0, fault.NotFound("%s is not a checkpoint: want a directory such as %s", path, filepath.Join(outputDir, checkpointName(100)))
	}
	inside := filepath.Join(outputDir, name)
	there, err := os.Stat(inside)
	if err != nil || !there.IsDir() {
		return 0, fault.NotFound("no such checkpoint: %s%s", inside, haveSteps(outputDir))
	}
	if given, err := os.Stat(path); path != name && (err != nil || !os.SameFile(given, there)) {
		return 0, fault.NotFound("%s is not in output_dir (%s)", path, outputDir)
	}
	return step, nil
}

// haveSteps returns text that lists the checkpoints in an output directory.
func haveSteps(dir string) string {
	steps, _ := Steps(dir) // none if the directory does not exist
	if len(steps) == 0 {
		return "; " + dir + " has no checkpoints"
	}
	names := make([]string, 0, len(steps))
	for _, step := range slices.Backward(steps) {
		names = append(names, strconv.Itoa(step))
	}
	return "; available steps: " + strings.Join(names, ", ")
}

// open verifies a checkpoint and reads its state.
func (o *Output) open(dir string, step int) (*Checkpoint, error) {
	if err := verify(o.fs, dir); err != nil {
		return nil, err
	}
	st, err := o.readState(dir)
	if err != nil {
		return nil, err
	}
	if st.GlobalStep != step {
		return nil, fmt.Errorf("%s: is from step %d, want %d", StateFile, st.GlobalStep, step)
	}
	return &Checkpoint{Dir: dir, Step: step, State: st}, nil
}

func (o *Output) readState(dir string) (*State, error) {
	b, err := readFile(o.fs, filepath.Join(dir, StateFile))
	if err != nil {
		return nil, err
	}
	return ParseState(b)
}

func (o *Output) writeState(dir string, st *State) error {
	b, err := st.encode()
	if err != nil {
		return err
	}
	return atomicfile.ReplaceFile(o.fs, filepath.Join(dir, StateFile), b)
}

// Finished returns the state of the completed run in the directory, or nil. It is set only in Resume mode.
func (o *Output) Finished() *State { return o.finished }

// Checkpoint returns the newest complete checkpoint or the selected one, or nil, and the faults of newer ones. It is
// set only in Resume mode.
func (o *Output) Checkpoint() (*Checkpoint, []error) { return o.newest, o.damaged }

// Path returns the directory of the checkpoint of a step.
func (o *Output) Path(step int) string { return filepath.Join(o.Dir, checkpointName(step)) }

// Has reports whether this process has written or verified a checkpoint of the step.
func (o *Output) Has(step int) bool { return o.usable[step] }

// Verify compares the checkpoint of a step with its manifest and reports everything that differs.
func (o *Output) Verify(step int) error { return verify(o.fs, o.Path(step)) }

// Unlocked returns why the directory could not be locked, or nil if it is. A file system without locks does not keep a
// run from using the directory, but then nothing keeps another one out.
func (o *Output) Unlocked() error { return o.unlocked }

// Close releases the lock.
func (o *Output) Close() error { return o.lock.Close() }

// Abandon removes the lock file and releases the lock, for a run that never began.
func (o *Output) Abandon() error {
	return errors.Join(o.fs.RemoveAll(filepath.Join(o.Dir, LockFile)), o.lock.Close())
}

func checkpointName(step int) string { return checkpointPrefix + strconv.Itoa(step) }

// steps returns the steps of the checkpoints, newest first.
func (o *Output) steps() ([]int, error) {
	entries, err := o.fs.ReadDir(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: output_dir: %w", err)
	}
	return StepsOf(entries), nil
}

// Steps returns the steps of the checkpoints in a directory, newest first, without verifying them.
func Steps(dir string) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	return StepsOf(entries), nil
}

// StepsOf returns the steps of the checkpoints among the entries of an output directory, newest first.
func StepsOf(entries []fs.DirEntry) (steps []int) {
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), checkpointPrefix)
		step, err := strconv.Atoi(digits)
		if ok && err == nil && e.IsDir() && checkpointName(step) == e.Name() {
			steps = append(steps, step)
		}
	}
	slices.SortFunc(steps, func(a, b int) int { return b - a })
	return steps
}

// Write writes the checkpoint of a step: the state and the files that fill creates in a directory. The write is atomic.
// A usable checkpoint of the same step is left unchanged, unless it was written during an interrupted evaluation that
// has since finished.
func (o *Output) Write(st *State, fill func(dir string) error) (string, error) {
	step := st.GlobalStep
	tmp, dir := filepath.Join(o.Dir, temporary+checkpointName(step)), o.Path(step)
	if o.usable[step] {
		there, err := o.readState(dir)
		if err != nil || there.Progress().EvalDue == st.Progress().EvalDue {
			return dir, err
		}
	}
	err := o.stage(tmp, dir, func(dir string) error {
		if err := fill(dir); err != nil {
			return err
		}
		return o.writeState(dir, st)
	})
	if err != nil {
		return "", err
	}
	if err := seal(o.fs, tmp); err != nil {
		o.fs.RemoveAll(tmp)
		return "", err
	}
	if err := o.remove(checkpointName(step)); err != nil {
		return "", err
	}
	if err := o.fs.Rename(tmp, dir); err != nil {
		o.fs.RemoveAll(tmp)
		return "", err
	}
	if err := o.fs.Sync(o.Dir); err != nil {
		return "", err
	}
	o.usable[step] = true
	return dir, nil
}

// stage fills a new directory tmp with files meant for dir, and removes it after an error.
func (o *Output) stage(tmp, dir string, fill func(dir string) error) error {
	err := o.fs.RemoveAll(tmp)
	if err == nil {
		err = o.fs.MkdirAll(tmp)
	}
	if err == nil {
		err = fill(tmp)
	}
	if err != nil {
		o.fs.RemoveAll(tmp)
	}
	return atomicfile.Name(dir, tmp, err)
}

// Prune removes the oldest checkpoints beyond the limit (0 means no limit), except those in keep. Damaged ones are
// removed as well and do not count: they are often newer than the step a run resumed from and must not displace usable
// ones.
func (o *Output) Prune(limit int, keep ...int) error {
	steps, err := o.steps()
	if err != nil || limit == 0 {
		return err
	}
	counted := 0
	for _, step := range steps {
		usable, known := o.usable[step]
		usable = usable || !known
		if usable {
			counted++
		}
		if usable && counted <= limit || slices.Contains(keep, step) {
			continue
		}
		if err := o.remove(checkpointName(step)); err != nil {
			return err
		}
	}
	return nil
}

// Publish writes the result of the run: the files that fill creates in a directory, then the state marked as finished.
// Each file is replaced atomically; the state comes last and marks the result as complete.
func (o *Output) Publish(st *State, fill func(dir string) error) error {
	files, err := o.moveIn(fill)
	if err != nil {
		return err
	}
	st.Progress().Finished, st.Progress().Files = true, files
	return o.writeState(o.Dir, st)
}

// moveIn moves the files that fill creates to the output directory one by one and returns their names. The key files of
// an earlier result are removed first and the new ones are moved last, so readers never see a mix of both.
func (o *Output) moveIn(fill func(dir string) error) ([]string, error) {
	tmp := filepath.Join(o.Dir, temporary+resultName)
	if err := o.stage(tmp, o.Dir, fill); err != nil {
		return nil, err
	}
	defer o.fs.RemoveAll(tmp)
	files, dirs, err := walk(o.fs, tmp, "")
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		if err := o.fs.Sync(filepath.Join(tmp, filepath.FromSlash(name))); err != nil {
			return nil, err
		}
	}
	for _, d := range dirs[1:] {
		if err := o.fs.MkdirAll(filepath.Join(o.Dir, filepath.FromSlash(d))); err != nil {
			return nil, err
		}
	}
	for i, name := range files {
		files[i] = filepath.FromSlash(name)
	}
	if err := o.retire(files); err != nil {
		return nil, err
	}
	var keys, others []string
	for _, name := range files {
		if slices.Contains(resultKeys, name) {
			keys = append(keys, name)
		} else {
			others = append(others, name)
		}
	}
	for _, names := range [][]string{others, keys} {
		for _, name := range names {
			if err := o.fs.Rename(filepath.Join(tmp, name), filepath.Join(o.Dir, name)); err != nil {
				return nil, err
			}
		}
		for _, d := range slices.Backward(dirs) {
			if err := o.fs.Sync(filepath.Join(o.Dir, filepath.FromSlash(d))); err != nil {
				return nil, err
			}
		}
	}
	return files, nil
}

// retire removes the state of an earlier result, the key files that will be replaced, and those of its files that are
// not among the new ones.
func (o *Output) retire(files []string) error {
	old := []string{StateFile}
	for _, key := range resultKeys {
		if slices.Contains(files, key) {
			old = append(old, key)
		}
	}
	if st, err := o.readState(o.Dir); err == nil {
		for _, name := range st.Progress().Files {
			if filepath.IsLocal(name) && !slices.Contains(files, name) && !slices.Contains(old, name) {
				old = append(old, name)
			}
		}
	}
	removed := false
	entries, err := o.fs.ReadDir(o.Dir)
	if err != nil {
		return err
	}
	for _, name := range old {
		there := slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == name })
		if !there && filepath.Base(name) == name {
			continue
		}
		if err := o.fs.RemoveAll(filepath.Join(o.Dir, name)); err != nil {
			return err
		}
		removed = true
	}
	if !removed {
		return nil
	}
	return o.fs.Sync(o.Dir)
}

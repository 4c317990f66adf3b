// Package jobs starts, stops, and resumes training runs as separate processes, which outlive the page and its server. The
// record of each process is in its run's directory, so that another server can find it.
package jobs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"mambatrain/internal/atomicfile"
	"mambatrain/internal/filelock"
	"mambatrain/internal/inputfile"
	"mambatrain/internal/pyjson"
	"mambatrain/trainer/checkpoint"
)

// Runner starts training runs. Its methods are safe for concurrent use.
type Runner struct {
	program string // the path of this program

	mu   sync.Mutex
	dirs []string // of known jobs
}

// New returns a runner of the program at a path. It finds the jobs that earlier runners started below the folders.
func New(program string, folders ...string) *Runner {
	r := &Runner{program: program}
	for _, f := range folders {
		r.dirs = append(r.dirs, find(f)...)
	}
	return r
}

const (
	maxJobs = 1000 // found per folder
	depth   = 8    // levels of folders searched
)

// find returns the directories below a folder that contain a job record. It does not follow symbolic links, except for the
// folder itself.
func find(folder string) (dirs []string) {
	root, err := filepath.Abs(folder)
	if err != nil {
		return nil
	}
	fs.WalkDir(os.DirFS(root), ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fs.SkipDir // deleted, or not readable
		case len(dirs) >= maxJobs:
			return fs.SkipAll
		case e.IsDir() && strings.Count(name, "/") >= depth:
			return fs.SkipDir
		case e.Name() == checkpoint.ProcessFile && e.Type().IsRegular():
			dirs = append(dirs, filepath.Join(root, filepath.FromSlash(path.Dir(name))))
		}
		return nil
	})
	return dirs
}

// record describes the process that was started for a run. It is stored in the run's directory.
type record struct {
	PID      int       `json:"pid"`
	Identity string    `json:"identity"` // of the process; differs between processes that reuse the PID
	Config   string    `json:"config"`   // path of the YAML file
	Started  time.Time `json:"started"`
	Stopping bool      `json:"stopping,omitempty"` // it has been told to stop
	ExitCode *int      `json:"exit_code,omitempty"`
}

func readRecord(dir string) (p record, err error) {
	err = pyjson.ReadFile(filepath.Join(dir, checkpoint.ProcessFile), inputfile.MaxConfig, &p)
	return p, err
}

func (p record) write(dir string) error {
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(dir, checkpoint.ProcessFile), append(b, '\n'))
}

// alive reports whether the recorded process is still running.
func (p record) alive() bool {
	if p.PID <= 0 || p.Identity == "" || p.ExitCode != nil {
		return false
	}
	id, ended, err := identity(p.PID)
	return err == nil && !ended && id == p.Identity
}

// Job is a training run started by a [Runner].
type Job struct {
	Dir      string `json:"dir"`
	Config   string `json:"config"`
	Running  bool   `json:"running"`
	Stopping bool   `json:"stopping"`
	ExitCode *int   `json:"exit_code"` // nil if it is running, or if it ended while no server was waiting for it
	Started  int64  `json:"started"`   // seconds since 1970
	Console  string `json:"console"`   // the end of its output
}

// List returns the known jobs, newest first.
func (r *Runner) List() []Job {
	r.mu.Lock()
	dirs := slices.Clone(r.dirs)
	r.mu.Unlock()
	list := []Job{}
	for _, dir := range dirs {
		if j, err := r.Job(dir); err == nil {
			list = append(list, j)
		}
	}
	slices.SortStableFunc(list, func(a, b Job) int { return int(b.Started - a.Started) })
	return list
}

// Knows reports whether dir is the directory of a known job.
func (r *Runner) Knows(dir string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.dirs, dir)
}

// Job returns the job in a directory. The error wraps [fs.ErrNotExist] if no job was started there.
func (r *Runner) Job(dir string) (Job, error) {
	p, err := readRecord(dir)
	if err != nil {
		return Job{}, err
	}
	running := p.alive()
	return Job{
		Dir: dir, Config: p.Config, Running: running, Stopping: running && p.Stopping, ExitCode: p.ExitCode,
		Started: p.Started.Unix(), Console: tail(filepath.Join(dir, checkpoint.ConsoleFile)),
	}, nil
}

// tail returns the end of a text file, from the start of a line.
func tail(path string) string {
	const limit = 4 << 10
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	from := max(0, info.Size()-limit)
	b, err := io.ReadAll(io.NewSectionReader(f, from, limit))
	if err != nil {
		return ""
	}
	text := strings.ToValidUTF8(string(b), "�")
	if _, lines, ok := strings.Cut(text, "\n"); ok && from > 0 {
		text = lines
	}
	return text
}

// Start describes a training run to start.
type Start struct {
	Dir    string // the run's output_dir
	Config string // path of the YAML file
	Args   []string
	Append bool // keep the output of earlier processes
}

// errRunning is wrapped by the error of a start in a directory where a run is in progress.
var errRunning = errors.New("a run is in progress there")

// Start starts a training run. It creates the directory and writes the output of the process to a file in it.
func (r *Runner) Start(s Start) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := checkIdle(s.Dir); err != nil {
		return fmt.Errorf("jobs: %s: %w", s.Dir, err)
	}
	if err := os.MkdirAll(s.Dir, 0o777); err != nil {
		return fmt.Errorf("jobs: %w", err)
	}
	how := os.O_CREATE | os.O_WRONLY | os.O_TRUNC
	if s.Append {
		how = os.O_CREATE | os.O_WRONLY | os.O_APPEND
	}
	console, err := os.OpenFile(filepath.Join(s.Dir, checkpoint.ConsoleFile), how, 0o666)
	if err != nil {
		return fmt.Errorf("jobs: %w", err)
	}
	defer console.Close()
	cmd := exec.Command(r.program, append([]string{"train", "-c", s.Config}, s.Args...)...)
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = console, console, detached()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("jobs: %w", err)
	}
	return r.follow(cmd, s)
}

// checkIdle returns an error if a process is working in the directory.
func checkIdle(dir string) error {
	if p, err := readRecord(dir); err == nil && p.alive() {
		return errRunning
	}
	f, err := os.Open(filepath.Join(dir, checkpoint.LockFile))
	if err != nil {
		return nil
	}
	defer f.Close()
	if held, err := filelock.Held(f); err == nil && held {
		return errRunning
	}
	return nil
}

// follow records a process and waits for it to exit.
func (r *Runner) follow(cmd *exec.Cmd, s Start) error {
	p := record{PID: cmd.Process.Pid, Config: s.Config, Started: time.Now().UTC()}
	var err error
	if p.Identity, _, err = identity(p.PID); err == nil {
		err = p.write(s.Dir)
	}
	if err != nil { // without a record, nobody could stop the process later
		cmd.Process.Kill()
		cmd.Wait()
		return fmt.Errorf("jobs: %s: %w", s.Dir, err)
	}
	if !slices.Contains(r.dirs, s.Dir) {
		r.dirs = append(r.dirs, s.Dir)
	}
	go func() {
		cmd.Wait()
		r.mu.Lock()
		defer r.mu.Unlock()
		if now, err := readRecord(s.Dir); err == nil && now.Identity == p.Identity && now.PID == p.PID {
			code := cmd.ProcessState.ExitCode()
			now.ExitCode = &code
			now.write(s.Dir) // if this fails, the exit is still detected
		}
	}()
	return nil
}

// errNotRunning is wrapped by the error of a stop where no job is running.
var errNotRunning = errors.New("no run that the studio started is in progress there; stop other runs with Ctrl-C where they were started")

// Stop tells the process of a job to finish its step, save, and exit. Further calls have no effect.
func (r *Runner) Stop(dir string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, err := readRecord(dir)
	if err != nil || !p.alive() {
		return fmt.Errorf("jobs: %s: %w", dir, errNotRunning)
	}
	if p.Stopping {
		return nil
	}
	process, err := os.FindProcess(p.PID)
	if err != nil {
		return fmt.Errorf("jobs: %s: %w", dir, errNotRunning)
	}
	defer process.Release()
	if !p.alive() { // check again, now that another process can no longer take over the PID
		return fmt.Errorf("jobs: %s: %w", dir, errNotRunning)
	}
	p.Stopping = true
	if err := p.write(dir); err != nil { // before the signal, because follow updates the record when the process exits
		return fmt.Errorf("jobs: %s: %w", dir, err)
	}
	if err := interrupt(process); err != nil {
		p.Stopping = false
		return errors.Join(fmt.Errorf("jobs: %s: %w", dir, err), p.write(dir))
	}
	return nil
}

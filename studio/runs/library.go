package runs

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"mambatrain/trainer/checkpoint"
)

const (
	maxRuns = 10_000  // runs listed
	maxDirs = 100_000 // directories visited per scan
	depth   = 8       // levels of folders searched
)

// Library lists the runs in a set of folders. It opens no file outside these folders, even through a symbolic link. Its
// methods are safe for concurrent use.
type Library struct {
	folders []*folder

	mu      sync.Mutex
	runs    map[string]*run // by id
	scanned time.Time
	took    time.Duration // duration of the last scan
	opened  []*run        // runs whose curves are in memory, in order of last use
}

// folder is a folder to search for runs. It may be created later.
type folder struct {
	path, name string
	root       *os.Root // nil if it does not exist yet
}

// Open returns a library of the runs in the folders. The folders need not exist yet.
func Open(folders ...string) (*Library, error) {
	l := &Library{runs: map[string]*run{}}
	taken := map[string]bool{}
	for _, p := range folders {
		full, err := filepath.Abs(p)
		if err != nil {
			return nil, fmt.Errorf("runs: folder %s: %w", p, err)
		}
		f := &folder{path: full, name: filepath.Base(full)}
		for n := 2; taken[f.name]; n++ {
			f.name = fmt.Sprintf("%s-%d", filepath.Base(full), n)
		}
		taken[f.name] = true
		if err := f.open(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("runs: folder %s: %w", p, err)
		}
		l.folders = append(l.folders, f)
	}
	return l, nil
}

func (f *folder) open() (err error) {
	if f.root == nil {
		f.root, err = os.OpenRoot(f.path)
	}
	return err
}

// Folders returns the folders that are searched for runs.
func (l *Library) Folders() (list []string) {
	for _, f := range l.folders {
		list = append(list, f.path)
	}
	return list
}

// Dir returns the directory of a run. The error wraps [ErrUnknown] if there is no such run.
func (l *Library) Dir(id string) (string, error) {
	r, err := l.find(id)
	if err != nil {
		return "", err
	}
	return filepath.Join(r.folder.path, filepath.FromSlash(r.path)), nil
}

// ErrUnknown is wrapped by the error for an id that does not belong to a run.
var ErrUnknown = errors.New("no such run")

// find returns the run with the given id. Ids are looked up and never used as paths.
func (l *Library) find(id string) (*run, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.runs[id] == nil {
		l.scan()
	}
	if r := l.runs[id]; r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("runs: %q: %w", id, ErrUnknown)
}

// List returns all runs, newest first.
func (l *Library) List() []Summary {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rescan()
	l.refresh(time.Now())
	list := make([]Summary, 0, len(l.runs))
	for _, r := range l.runs {
		list = append(list, r.summary)
	}
	slices.SortFunc(list, func(a, b Summary) int {
		return cmp.Or(cmp.Compare(b.Updated, a.Updated), cmp.Compare(a.ID, b.ID))
	})
	return list
}

// endedPerRefresh is how many ended runs are checked per refresh. If one of a thousand runs is resumed, it is noticed within
// half a minute, and a page that stays open all day costs next to nothing.
const endedPerRefresh = 32

// refresh updates the summaries of all new and running runs, and of the other runs that were checked least recently.
func (l *Library) refresh(now time.Time) {
	var rested []*run
	for _, r := range l.runs {
		if r.summary.State == "" || r.summary.State == Running {
			r.refresh(now)
		} else {
			rested = append(rested, r)
		}
	}
	if len(rested) > endedPerRefresh {
		slices.SortFunc(rested, func(a, b *run) int { return a.checked.Compare(b.checked) })
		rested = rested[:endedPerRefresh]
	}
	for _, r := range rested {
		r.refresh(now)
	}
}

// rescan scans if the last scan was long enough ago, relative to its duration.
func (l *Library) rescan() {
	const (
		pause = 3 * time.Second
		share = 500 // at most 1/share of the time is spent on scans
	)
	if time.Since(l.scanned) >= max(pause, share*l.took) {
		l.scan()
	}
}

// scan searches the folders for runs and forgets those that are gone.
func (l *Library) scan() {
	began := time.Now()
	s := scanner{known: l.runs, found: map[string]*run{}}
	for _, f := range l.folders {
		if f.open() == nil {
			s.visit(f, ".", 0)
		}
	}
	l.runs = s.found
	l.opened = slices.DeleteFunc(l.opened, func(r *run) bool { return l.runs[r.id] != r })
	l.scanned = time.Now()
	l.took = l.scanned.Sub(began)
}

type scanner struct {
	known, found map[string]*run
	dirs         int
}

// visit adds the run in a directory, or the runs below it. It does not follow symbolic links.
func (s *scanner) visit(f *folder, dir string, level int) {
	if s.dirs++; s.dirs > maxDirs || level > depth || len(s.found) >= maxRuns {
		return
	}
	entries, err := fs.ReadDir(f.root.FS(), dir)
	if err != nil {
		return // it may have been deleted, or may not be readable
	}
	if isRun(entries) {
		s.add(f, dir, entries)
		return
	}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			s.visit(f, path.Join(dir, e.Name()), level+1)
		}
	}
}

func isRun(entries []fs.DirEntry) bool {
	return len(checkpoint.StepsOf(entries)) > 0 || slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		return e.Name() == checkpoint.JournalFile || e.Name() == checkpoint.StateFile
	})
}

func (s *scanner) add(f *folder, dir string, entries []fs.DirEntry) {
	id := path.Join(f.name, dir)
	r := s.known[id]
	if r == nil {
		r = &run{id: id, folder: f, path: dir}
	}
	r.checkpoints = checkpoint.StepsOf(entries)
	s.found[id] = r
}

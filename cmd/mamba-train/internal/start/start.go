// Package start is the part of the studio that starts training runs: it provides the form's view of the configuration,
// estimates what a run will need, and manages the jobs. It checks a configuration with the same code as the command line.
package start

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"mambatrain/cmd/mamba-train/internal/config"
	"mambatrain/configs"
	"mambatrain/internal/atomicfile"
	"mambatrain/internal/fault"
	"mambatrain/internal/inputfile"
	"mambatrain/studio"
	"mambatrain/studio/jobs"
	"mambatrain/studio/runs"
	"mambatrain/trainer/checkpoint"
	"mambatrain/trainer/recipe"
)

// Handlers handle the requests of the form.
type Handlers struct {
	program string // the path of this program
	library *runs.Library
	runner  *jobs.Runner
	busy    chan struct{} // semaphore, full while a time is being estimated
}

// New returns handlers that start the program at a path, for runs in the library's folders.
func New(program string, library *runs.Library) *Handlers {
	return &Handlers{program, library, jobs.New(program, library.Folders()...), make(chan struct{}, 1)}
}

// AddTo registers the handlers with a server.
func (h *Handlers) AddTo(s *studio.Server) {
	for pattern, f := range map[string]http.HandlerFunc{
		"GET /api/schema":       h.schema,
		"GET /api/start/files":  h.files,
		"POST /api/start/open":  h.open,
		"POST /api/start/check": h.check,
		"POST /api/start/time":  h.time,
		"POST /api/start":       h.start,
		"GET /api/jobs":         h.jobs,
		"POST /api/jobs/stop":   h.stop,
		"POST /api/jobs/resume": h.resume,
	} {
		s.Handle(pattern, f)
	}
}

func (h *Handlers) schema(w http.ResponseWriter, _ *http.Request) {
	text, err := config.JSONSchema()
	if err != nil {
		studio.Answer(w, nil, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(text)
}

// form is sent by the page: a text for each key that is filled in, as after --set.
type form struct {
	Values map[string]string `json:"values"`
}

// problem is a fault as sent to the page.
type problem struct {
	Key     string `json:"key"`
	Problem string `json:"problem"`
}

// problems returns the faults of err.
func problems(err error) []problem {
	var list fault.List
	list.Include("", err)
	out := []problem{}
	for _, f := range list {
		out = append(out, problem{f.Path, f.Problem})
	}
	return out
}

// read composes the form's file and reads it as the command line would. c is nil if there are faults.
func (f form) read(path string) (text []byte, c *recipe.Config, faults fault.List) {
	text, err := config.Compose(f.Values)
	faults.Include("", err)
	c, err = config.Load(config.Source{File: path, Text: text})
	var loading fault.List
	loading.Include("", err)
	for _, more := range loading {
		if !explained(faults, more) {
			faults = append(faults, more)
		}
	}
	if len(faults) > 0 {
		return text, nil, faults
	}
	return text, c, nil
}

// explained reports whether faults already has a fault for the same key, which is then missing because its text could not
// be read.
func explained(faults fault.List, f fault.Fault) bool {
	for _, known := range faults {
		if known.Path == f.Path {
			return true
		}
	}
	return false
}

// opened is the response to a request to fill in the form.
type opened struct {
	Values map[string]string `json:"values"`
	Faults []problem         `json:"faults"`
}

// open returns the values of a file: one that was sent, one in the folders, a run's settings, or the starter.
func (h *Handlers) open(w http.ResponseWriter, r *http.Request) {
	var what struct {
		Text string `json:"text"`
		File string `json:"file"`
		Dir  string `json:"dir"` // directory of a run
	}
	if !studio.Read(w, r, &what) {
		return
	}
	text := []byte(what.Text)
	var err error
	switch {
	case what.Dir != "":
		text, err = h.settingsOf(what.Dir)
	case what.File == starter:
		text = configs.Starter
	case what.File != "":
		text, err = h.readInside(what.File)
	}
	if err != nil {
		studio.Answer(w, nil, err)
		return
	}
	values, err := config.Texts(text, "")
	faults := problems(err)
	if _, ok := values[distributed]; ok {
		faults = append(faults, problem{distributed, "a run from the form has one process and one shard: to keep these settings, start the run on the command line"})
	}
	studio.Answer(w, opened{values, faults}, nil)
}

// distributed is the section that the form does not have.
const distributed = "distributed"

// starter is the name of the built-in file for a first configuration.
const starter = "starter"

// settingsOf reads the configuration that a run has saved.
func (h *Handlers) settingsOf(dir string) ([]byte, error) {
	if !h.isRun(dir) {
		return nil, runs.ErrUnknown
	}
	return h.readInside(filepath.Join(dir, configFile))
}

// configFile is the name of the configuration in a run's output directory.
const configFile = "config.yaml"

// readInside reads a file in one of the folders.
func (h *Handlers) readInside(path string) ([]byte, error) {
	full, err := h.inside(path)
	if err != nil {
		return nil, err
	}
	return inputfile.Read(full, inputfile.MaxConfig)
}

// files lists the configurations in the folders.
func (h *Handlers) files(w http.ResponseWriter, _ *http.Request) {
	list := []string{starter}
	for _, folder := range h.library.Folders() {
		list = append(list, configurations(folder)...)
	}
	studio.Answer(w, map[string]any{"files": list, "folders": h.library.Folders()}, nil)
}

const (
	maxFiles = 500 // offered per folder
	depth    = 2   // levels of folders searched
)

// configurations lists the YAML files in a folder, except for those of runs.
func configurations(folder string) (list []string) {
	fs.WalkDir(os.DirFS(folder), ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fs.SkipDir // deleted, or not readable
		case len(list) >= maxFiles:
			return fs.SkipAll
		case e.IsDir() && strings.Count(name, "/") >= depth:
			return fs.SkipDir
		case e.Type().IsRegular() && isYAML(name) && e.Name() != configFile:
			list = append(list, filepath.Join(folder, filepath.FromSlash(name)))
		}
		return nil
	})
	return list
}

func isYAML(path string) bool {
	ext := filepath.Ext(path)
	return ext == ".yaml" || ext == ".yml"
}

// inside returns the absolute path of a file in one of the folders, checked after resolving symbolic links. The file need
// not exist.
func (h *Handlers) inside(path string) (string, error) {
	full, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	target, err := resolve(full)
	if err != nil {
		return "", err
	}
	for _, folder := range h.library.Folders() {
		if root, err := resolve(folder); err == nil {
			if rel, err := filepath.Rel(root, target); err == nil && filepath.IsLocal(rel) {
				return full, nil
			}
		}
	}
	return "", fmt.Errorf("%s is outside the folders that the studio serves: %s", path, strings.Join(h.library.Folders(), ", "))
}

// resolve resolves the symbolic links in a path, the end of which may not exist yet.
func resolve(path string) (string, error) {
	target, err := filepath.EvalSymlinks(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return target, err
	}
	if _, err := os.Lstat(path); err == nil {
		return "", fmt.Errorf("%s is a broken symbolic link", path)
	}
	dir, err := resolve(filepath.Dir(path))
	return filepath.Join(dir, filepath.Base(path)), err
}

// order is the page's request to start a run.
type order struct {
	form
	File      string `json:"file"`      // where to write the configuration
	Replace   bool   `json:"replace"`   // replace that file if it exists
	Overwrite bool   `json:"overwrite"` // overwrite the run in output_dir
}

// started is the response to an order.
type started struct {
	Dir    string    `json:"dir"`
	File   string    `json:"file"`
	Faults []problem `json:"faults"`
}

// start writes the configuration and starts the run. It does nothing if there is a fault.
func (h *Handlers) start(w http.ResponseWriter, r *http.Request) {
	var o order
	if !studio.Read(w, r, &o) {
		return
	}
	text, c, faults := o.read(o.File)
	if c != nil {
		faults = h.refuse(c, o)
	}
	if len(faults) > 0 {
		studio.Answer(w, started{Faults: problems(faults)}, nil)
		return
	}
	out, err := h.carryOut(o, text, c)
	if f := (fault.Fault{}); errors.As(err, &f) {
		out, err = started{Faults: problems(fault.List{f})}, nil
	}
	studio.Answer(w, out, err)
}

// refuse returns the reasons not to start a run from the page.
func (h *Handlers) refuse(c *recipe.Config, o order) (l fault.List) {
	for _, p := range []struct{ key, path string }{
		{"output_dir", c.OutputDir}, {"train.logging_dir", c.Train.LoggingDir}, {"data.cache", c.Data.Cache}, {"file", o.File},
	} {
		if p.path == "" && p.key != "file" {
			continue
		}
		if _, err := h.inside(p.path); err != nil {
			l.Add(p.key, "%v", err)
		}
	}
	l.Require(isYAML(o.File), "file", "must end in .yaml, got %q", o.File)
	l.Require(c.Distributed == nil, distributed, "start a run with several ranks on the command line, with mpirun")
	mode := checkpoint.Fresh
	if o.Overwrite {
		mode = checkpoint.Overwrite
	}
	if err := recipe.CheckOutput(c.OutputDir, recipe.Options{Mode: mode}); err != nil {
		l.Add("output_dir", "%v", err)
	}
	return l
}

// carryOut writes the configuration and starts the run.
func (h *Handlers) carryOut(o order, text []byte, c *recipe.Config) (started, error) {
	dir, err := filepath.Abs(c.OutputDir)
	if err != nil {
		return started{}, err
	}
	file, err := filepath.Abs(o.File)
	if err != nil {
		return started{}, err
	}
	if err := writeConfiguration(file, text, o.Replace); err != nil {
		return started{}, err
	}
	s := jobs.Start{Dir: dir, Config: file}
	if o.Overwrite {
		s.Args = []string{"--overwrite"}
	}
	return started{Dir: dir, File: file, Faults: []problem{}}, h.runner.Start(s)
}

// writeConfiguration writes a file. It overwrites an existing file only if replace is set or the text is the same.
func writeConfiguration(path string, text []byte, replace bool) error {
	text = append([]byte("# Written by mamba-train studio.\n"), text...)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	if replace {
		return atomicfile.WriteFile(path, text)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if errors.Is(err, fs.ErrExist) {
		if old, err := inputfile.Read(path, inputfile.MaxConfig); err == nil && string(old) == string(text) {
			return nil
		}
		return fault.Fault{Path: "file", Problem: path + " exists: choose another name, or choose to replace it"}
	}
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

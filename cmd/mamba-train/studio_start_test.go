package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"mambatrain/trainer/checkpoint"
)

// linkProgram links this test binary under the program's name, so that the program can start itself.
func linkProgram(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "mamba-train")
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	if os.Link(self, name) == nil {
		return name
	}
	b, err := os.ReadFile(self)
	if err == nil {
		err = os.WriteFile(name, b, 0o777)
	}
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// studioProcess is a studio running in a separate process.
type studioProcess struct {
	url   *url.URL
	token string
	cmd   *exec.Cmd
}

// startStudio starts the program as a studio in the working directory dir.
func startStudio(t *testing.T, dir, program string, args ...string) *studioProcess {
	t.Helper()
	cmd := exec.Command(program, append([]string{"studio", "--json", "--quiet"}, args...)...)
	cmd.Dir = dir
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &studioProcess{cmd: cmd}
	t.Cleanup(s.end)
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var printed struct{ URL string }
	decodeJSON(t, line, &printed)
	if s.url, err = url.Parse(printed.URL); err != nil {
		t.Fatal(err)
	}
	s.token = s.url.Query().Get("token")
	return s
}

// end stops the studio as Ctrl-C does.
func (s *studioProcess) end() {
	if s.cmd.ProcessState == nil {
		s.cmd.Process.Signal(os.Interrupt)
		s.cmd.Wait()
	}
}

// ask sends a POST request with JSON, or a GET request without it, and decodes the JSON response.
func (s *studioProcess) ask(t *testing.T, path string, question, answer any) {
	t.Helper()
	status, b := s.send(t, path, question)
	if status != http.StatusOK {
		t.Fatalf("%s: %d %s", path, status, b)
	}
	decodeJSON(t, b, answer)
}

func (s *studioProcess) send(t *testing.T, path string, question any) (status int, body []byte) {
	t.Helper()
	method, text := http.MethodGet, []byte(nil)
	if question != nil {
		method = http.MethodPost
		var err error
		if text, err = json.Marshal(question); err != nil {
			t.Fatal(err)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.url.Host+path, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.token)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, b
}

type jobAnswer struct {
	Dir      string
	Running  bool
	Stopping bool
	ExitCode *int `json:"exit_code"`
	Console  string
}

// job returns the only job.
func (s *studioProcess) job(t *testing.T) jobAnswer {
	t.Helper()
	var list struct{ Jobs []jobAnswer }
	s.ask(t, "/api/jobs", nil, &list)
	if len(list.Jobs) != 1 {
		t.Fatalf("%d jobs, want 1: %+v", len(list.Jobs), list)
	}
	return list.Jobs[0]
}

// until polls until ok returns true. A failed job ends the test.
func (s *studioProcess) until(t *testing.T, what string, ok func(jobAnswer) bool) {
	t.Helper()
	for {
		j := s.job(t)
		if ok(j) {
			return
		}
		if j.ExitCode != nil {
			t.Fatalf("waiting until %s: exit code %d\n%s", what, *j.ExitCode, j.Console)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// lastStep returns the last step in a run's journal.
func lastStep(t *testing.T, dir string) (step int) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, checkpoint.JournalFile))
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		var row struct{ Step int }
		if json.Unmarshal(line, &row) == nil {
			step = max(step, row.Step)
		}
	}
	return step
}

type faultAnswer struct{ Key, Problem string }

type startAnswer struct {
	Dir, File string
	Faults    []faultAnswer
}

// A run is started from the form's values, keeps running while the studio restarts, is stopped with all of its steps saved,
// and is resumed.
func TestStudioStartsStopsAndResumes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a run cannot be stopped from another process")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	tiny := tinyModel(t, root)
	t.Chdir(t.TempDir())
	program := linkProgram(t)
	s := startStudio(t, ".", program)
	values := map[string]string{
		"model": tiny, "output_dir": "runs/a", "data.train": filepath.Join(root, "configs/quickstart/quotes.parquet"), "data.dataset_text_field": "quote",
		"train.max_steps": "1000000", "train.logging_steps": "1", "train.save_steps": "0", "threads": "1", "lora": "{}",
	}
	order := map[string]any{"values": values, "file": "runs/a.yaml"}
	var started startAnswer
	s.ask(t, "/api/start", order, &started)
	dir, _ := filepath.Abs("runs/a")
	if len(started.Faults) > 0 || started.Dir != dir {
		t.Fatalf("%+v", started)
	}
	trains := func(from int) func(jobAnswer) bool {
		return func(jobAnswer) bool { return lastStep(t, dir) > from+1 }
	}
	s.until(t, "it trains", trains(0))

	s.end()
	step := lastStep(t, dir)
	s = startStudio(t, ".", program)
	s.until(t, "it trains without the studio", trains(step))
	if s.ask(t, "/api/start", order, &started); len(started.Faults) != 1 || started.Faults[0].Key != "output_dir" {
		t.Errorf("start over a run: %+v", started)
	}

	ended := func(j jobAnswer) bool { return !j.Running }
	s.ask(t, "/api/jobs/stop", map[string]string{"dir": dir}, new(any))
	s.until(t, "it has stopped", ended)
	step = lastStep(t, dir)
	if _, err := os.Stat(filepath.Join(dir, fmt.Sprintf("checkpoint-%d", step))); err != nil {
		t.Errorf("stopped after step %d: %v\n%s", step, err, s.job(t).Console)
	}

	s.ask(t, "/api/jobs/resume", map[string]string{"dir": dir}, new(any))
	s.until(t, "it trains again", trains(step))
	if status, b := s.send(t, "/api/jobs/resume", map[string]string{"dir": dir}); status != http.StatusConflict || !strings.Contains(string(b), "in progress") {
		t.Errorf("resumed twice: %d %s", status, b)
	}
	s.ask(t, "/api/jobs/stop", map[string]string{"dir": dir}, new(any))
	s.until(t, "it has stopped again", func(j jobAnswer) bool { return j.ExitCode != nil })
	const stopped = 143 // as after SIGTERM on the command line
	if code := *s.job(t).ExitCode; code != stopped {
		t.Errorf("exit code %d, want %d", code, stopped)
	}
	if c := s.job(t).Console; !strings.Contains(c, fmt.Sprintf("after step %d", step)) {
		t.Errorf("did not continue after step %d:\n%s", step, c)
	}
}

// The form reports the same faults as the command line, by key, and the same needs as info -c.
func TestStudioChecksTheForm(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	tiny := tinyModel(t, root)
	t.Chdir(t.TempDir())
	t.Setenv("HF_HOME", t.TempDir())
	s := startStudio(t, ".", linkProgram(t))
	type answer struct {
		YAML   string
		Faults []faultAnswer
		Needs  *struct {
			Memory int64 `json:"memory_bytes"`
			Rows   int
		}
		Unknown string
	}
	values := map[string]string{"model": tiny, "output_dir": "runs/a", "data.train": filepath.Join(root, "configs/quickstart/quotes.parquet"), "data.dataset_text_field": "quote", "lora": "{}", "train.max_steps": "3"}
	ask := func(path string, changes map[string]string, into any) {
		t.Helper()
		with := map[string]string{}
		for _, m := range []map[string]string{values, changes} {
			for k, v := range m {
				with[k] = v
			}
		}
		s.ask(t, path, map[string]any{"values": with}, into)
	}
	var right answer
	ask("/api/start/check", nil, &right)
	if len(right.Faults) > 0 || right.Needs == nil {
		t.Fatalf("%+v", right)
	}
	if err := os.WriteFile("form.yaml", []byte(right.YAML), 0o666); err != nil {
		t.Fatal(err)
	}
	var info runInfo
	decodeJSON(t, mambaTrain(t, "info", "--json", "-c", "form.yaml"), &info)
	if right.Needs.Memory != info.Memory || right.Needs.Rows != info.MaxTokens {
		t.Errorf("the page reports %+v, info -c %+v", *right.Needs, info)
	}
	var dry, page dryResult
	decodeJSON(t, mambaTrain(t, "train", "--json", "--quiet", "--dry-run", "-c", "form.yaml"), &dry)
	ask("/api/start/time", nil, &page)
	if page.Steps != 3 || page.Tokens != dry.Tokens || page.Memory != dry.Memory || page.Seconds <= 0 {
		t.Errorf("the page reports %+v, --dry-run %+v", page, dry)
	}

	absent := map[string]any{"values": map[string]string{"model": "state-spaces/mamba-130m-hf", "output_dir": "runs/a", "data.train": values["data.train"], "data.dataset_text_field": "quote"}}
	if status, b := s.send(t, "/api/start/time", absent); status != http.StatusConflict || !strings.Contains(string(b), "once the model and the data are on this machine") {
		t.Errorf("a model that does not exist: %d %s", status, b)
	}

	faulty := map[string]string{"train.learning_rate": "-1", "train.optim": "adamv", "seed": "x", "train.lr": "1", "lora.rank_pattern": "[1"}
	var wrong answer
	ask("/api/start/check", faulty, &wrong)
	got := map[string]string{}
	for _, f := range wrong.Faults {
		got[f.Key] = f.Problem
	}
	for key, want := range map[string]string{
		"train.learning_rate": "must be positive, got -1", "train.optim": "must be one of adamw, sgd, lion, adafactor, got", "seed": `want a whole number, got "x"`,
		"train.lr": "did you mean train.learning_rate?", "lora.rank_pattern": "did not find",
	} {
		if !strings.Contains(got[key], want) {
			t.Errorf("%s: got %q, want %q", key, got[key], want)
		}
	}
	if len(got) != len(faulty) {
		t.Errorf("got %v", got)
	}
	var missing answer
	if ask("/api/start/check", map[string]string{"model": "nowhere"}, &missing); missing.Needs != nil || !strings.Contains(missing.Unknown, "no such directory") {
		t.Errorf("%+v", missing)
	}
}

// What the form cannot show of a file is reported when the file is opened.
func TestStudioOpensAFile(t *testing.T) {
	t.Chdir(t.TempDir())
	s := startStudio(t, ".", linkProgram(t))
	var opened struct {
		Values map[string]string
		Faults []faultAnswer
	}
	s.ask(t, "/api/start/open", map[string]string{"text": "model: m\ndistributed: {shards: 8}\ntrain: {learning_rat: 1.0e-3}\n"}, &opened)
	var keys []string
	for _, f := range opened.Faults {
		keys = append(keys, f.Key)
	}
	slices.Sort(keys)
	if want := []string{"distributed", "train.learning_rat"}; opened.Values["model"] != "m" || !slices.Equal(keys, want) {
		t.Errorf("got %+v, want faults of %s", opened, want)
	}
}

// Nothing is written outside the folders or over an existing file, and with --read-only nothing is written at all.
func TestStudioWritesOnlyInItsFolders(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	tiny := tinyModel(t, root)
	t.Chdir(t.TempDir())
	outside := t.TempDir()
	if err := errors.Join(os.Mkdir("runs", 0o777), os.Symlink(outside, "runs/link"), os.WriteFile("runs/mine.yaml", []byte("seed: 1\n"), 0o666)); err != nil {
		t.Fatal(err)
	}
	program := linkProgram(t)
	s := startStudio(t, ".", program)
	start := func(file string, changes ...string) map[string]string {
		t.Helper()
		values := map[string]string{"model": tiny, "output_dir": "runs/a", "data.train": "missing.jsonl"}
		for i := 0; i < len(changes); i += 2 {
			values[changes[i]] = changes[i+1]
		}
		var a startAnswer
		s.ask(t, "/api/start", map[string]any{"values": values, "file": file}, &a)
		got := map[string]string{}
		for _, f := range a.Faults {
			got[f.Key] = f.Problem
		}
		return got
	}
	for _, c := range []struct {
		key     string
		file    string
		changes []string
	}{
		{"output_dir", "runs/a.yaml", []string{"output_dir", outside}},
		{"output_dir", "runs/a.yaml", []string{"output_dir", "runs/../elsewhere"}},
		{"output_dir", "runs/a.yaml", []string{"output_dir", "runs/link/a"}},
		{"train.logging_dir", "runs/a.yaml", []string{"train.logging_dir", outside}},
		{"data.cache", "runs/a.yaml", []string{"data.cache", outside}},
		{"distributed", "runs/a.yaml", []string{"distributed.library", "/tmp/evil.so"}},
		{"file", filepath.Join(outside, "a.yaml"), nil},
		{"file", "runs/link/a.yaml", nil},
		{"file", "runs/a.txt", nil},
		{"file", "", nil},
		{"file", "runs/mine.yaml", nil},
	} {
		if got := start(c.file, c.changes...); got[c.key] == "" || len(got) > 2 {
			t.Errorf("%s %v: got %v, want a fault of %s", c.file, c.changes, got, c.key)
		}
	}
	if b, err := os.ReadFile("runs/mine.yaml"); err != nil || string(b) != "seed: 1\n" {
		t.Errorf("the file became %q, %v", b, err)
	}
	for _, path := range []string{outside, "elsewhere", "runs/a", "runs/a.yaml"} {
		if list, _ := os.ReadDir(path); len(list) > 0 {
			t.Errorf("%s has %v", path, list)
		}
	}
	for _, dir := range []string{outside, "/", "runs", ".."} {
		for _, path := range []string{"/api/jobs/stop", "/api/jobs/resume", "/api/start/open"} {
			if status, b := s.send(t, path, map[string]string{"dir": dir}); status != http.StatusNotFound {
				t.Errorf("%s %s: %d %s", path, dir, status, b)
			}
		}
	}
	for _, file := range []string{"/etc/passwd", "runs/link/x.yaml", "../a.yaml"} {
		if status, _ := s.send(t, "/api/start/open", map[string]string{"file": file}); status == http.StatusOK {
			t.Errorf("%s can be read", file)
		}
	}
	var files struct{ Files []string }
	if s.ask(t, "/api/start/files", nil, &files); len(files.Files) != 2 || filepath.Base(files.Files[1]) != "mine.yaml" {
		t.Errorf("files: %v", files.Files)
	}
	var opened struct{ Values map[string]string }
	if s.ask(t, "/api/start/open", map[string]string{"file": "runs/mine.yaml"}, &opened); opened.Values["seed"] != "1" {
		t.Errorf("opened %v", opened.Values)
	}

	closed := startStudio(t, ".", program, "--read-only")
	for _, path := range []string{"/api/start", "/api/start/check", "/api/start/time", "/api/start/open", "/api/jobs/stop", "/api/jobs/resume"} {
		if status, _ := closed.send(t, path, map[string]string{"dir": "x"}); status != http.StatusForbidden {
			t.Errorf("--read-only: %s: %d", path, status)
		}
	}
	if status, _ := closed.send(t, "/api/jobs", nil); status != http.StatusNotFound {
		t.Errorf("--read-only: jobs: %d", status)
	}
}

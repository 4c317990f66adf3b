package runs_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"mambatrain/internal/filelock"
	"mambatrain/studio/runs"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, dir string) *runs.Library {
	t.Helper()
	l, err := runs.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// only returns the summary of the only run in a folder.
func only(t *testing.T, dir string) runs.Summary {
	t.Helper()
	list := open(t, dir).List()
	if len(list) != 1 {
		t.Fatalf("got %+v, want one run", list)
	}
	return list[0]
}

// points is a series as the page receives it.
type points struct{ Step, Tokens, Seconds, Value []*float64 }

func series(t *testing.T, c runs.Curves, name string) (p points) {
	t.Helper()
	b, err := json.Marshal(c.Series[name])
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const ended = `{"global_step":%d,"max_steps":100,"log_history":[],"stateful_callbacks":{"mamba_train":{"attributes":{"finished":%t}}}}`

func TestStates(t *testing.T) {
	dir := t.TempDir()
	run := filepath.Join(dir, "run")
	row := `{"step":50,"loss":2}` + "\n"
	write(t, filepath.Join(run, "log.jsonl"), row)
	lock, err := filelock.Try(filepath.Join(run, ".lock"))
	if err != nil {
		t.Fatal(err)
	}
	want := func(state runs.State) {
		t.Helper()
		if got := only(t, dir); got.State != state || got.Step != 50 {
			t.Errorf("got %+v, want %s", got, state)
		}
	}
	want(runs.Running)
	lock.Close()
	want(runs.Lost)
	write(t, filepath.Join(run, "checkpoint-40", "trainer_state.json"), fmt.Sprintf(ended, 40, false))
	want(runs.Lost)
	write(t, filepath.Join(run, "checkpoint-50", "trainer_state.json"), fmt.Sprintf(ended, 50, false))
	want(runs.Interrupted)
	write(t, filepath.Join(run, "trainer_state.json"), fmt.Sprintf(ended, 50, true))
	want(runs.Finished)
}

// Checking a lock does not keep a run that is just starting from taking it.
func TestLockStaysFree(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".lock")
	write(t, path, "")
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stop, done := make(chan bool), make(chan bool)
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				filelock.Held(f)
			}
			runtime.Gosched()
		}
	}()
	for range 200 {
		l, err := filelock.Try(path)
		if err != nil {
			t.Error(err)
			break
		}
		l.Close()
	}
	close(stop)
	<-done
}

// The output of transformers is read as a run as well, including numbers that JSON cannot represent.
func TestForeignRun(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "gpt", "checkpoint-20", "trainer_state.json"), `{
  "best_global_step": null, "best_metric": 1.5, "best_model_checkpoint": "gpt/checkpoint-10", "epoch": 0.5, "global_step": 20,
  "log_history": [
    {"epoch": 0.25, "grad_norm": NaN, "learning_rate": 1e-05, "loss": 3.5, "step": 10},
    {"eval_loss": 1.5, "eval_runtime": 1.0, "step": 10},
    {"epoch": 0.5, "grad_norm": 1.25, "loss": {"__float__": "Infinity"}, "step": 20, "note": "a \"text\" with ] and }"}
  ],
  "max_steps": 40, "stateful_callbacks": {"TrainerControl": {"args": {}}}, "trial_params": null
}`)
	s := only(t, dir)
	if s.Kind != "transformers" || s.Step != 20 || s.Steps != 40 || s.BestStep != 10 || s.EvalLoss == nil || *s.EvalLoss != 1.5 || s.Loss != nil || s.Problem != "" {
		t.Errorf("got %+v", s)
	}
	c, err := open(t, dir).Curves(s.ID)
	if err != nil {
		t.Fatal(err)
	}
	if loss := series(t, c, "loss"); len(loss.Value) != 2 || *loss.Value[0] != 3.5 || loss.Value[1] != nil || *loss.Step[1] != 20 || loss.Tokens[0] != nil {
		t.Errorf("loss: %+v", loss)
	}
	if norm := series(t, c, "grad_norm"); norm.Value[0] != nil || *norm.Value[1] != 1.25 {
		t.Errorf("grad_norm: %+v", norm)
	}
}

// Of several evaluation sets, the summary always shows the same one.
func TestSeveralEvaluationSets(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "run", "log.jsonl"), `{"step":1,"eval_short_loss":2,"eval_long_loss":3,"eval_runtime":1}`+"\n")
	for range 20 {
		if s := only(t, dir); s.EvalLoss == nil || *s.EvalLoss != 3 {
			t.Fatalf("got %+v, want an eval_loss of 3", s)
		}
	}
}

// The summary shows the last evaluation, however many rows follow it, in the journal or in the state.
func TestEarlierEvaluation(t *testing.T) {
	rows := func(n int) (list []string) {
		for i := range n {
			list = append(list, fmt.Sprintf(`{"epoch":0.125,"step":%d,"loss":2.125,"learning_rate":0.00012345,"num_tokens":%d}`, i+2, i+2))
		}
		return list
	}
	const evaluation = `{"step":1,"eval_loss":3}`
	for what, files := range map[string]map[string]string{
		"journal": {"log.jsonl": evaluation + "\n" + strings.Join(rows(100), "\n") + "\n"},
		"state":   {"trainer_state.json": fmt.Sprintf(`{"global_step":101,"log_history":[%s,%s],"max_steps":200}`, evaluation, strings.Join(rows(100), ","))},
		"both": {
			"log.jsonl":                         evaluation + "\n" + strings.Join(rows(2000), "\n") + "\n",
			"checkpoint-101/trainer_state.json": fmt.Sprintf(`{"global_step":101,"log_history":[%s,%s],"max_steps":200}`, evaluation, strings.Join(rows(100), ",")),
		},
	} {
		dir := t.TempDir()
		for name, text := range files {
			write(t, filepath.Join(dir, "run", name), text)
		}
		if s := only(t, dir); s.EvalLoss == nil || *s.EvalLoss != 3 || s.Step < 101 || s.Loss == nil {
			t.Errorf("%s: got %+v, want an eval_loss of 3", what, s)
		}
	}
}

// Every folder's runs have their own ids, even if a folder's name equals the one that another was given.
func TestFoldersWithTheSameName(t *testing.T) {
	dir := t.TempDir()
	var folders []string
	for _, name := range []string{"x/a", "x/a-2", "y/a", "z/a-2"} {
		folders = append(folders, filepath.Join(dir, filepath.FromSlash(name)))
		write(t, filepath.Join(dir, filepath.FromSlash(name), "log.jsonl"), `{"step":1,"loss":2}`+"\n")
	}
	l, err := runs.Open(folders...)
	if err != nil {
		t.Fatal(err)
	}
	paths := map[string]string{}
	for _, s := range l.List() {
		paths[s.ID] = s.Path
	}
	for i, id := range []string{"a", "a-2", "a-3", "a-2-2"} {
		if paths[id] != folders[i] {
			t.Errorf("%s is %q, want %q", id, paths[id], folders[i])
		}
	}
	if len(paths) != len(folders) {
		t.Errorf("got %v", paths)
	}
}

// An incomplete line is read once it is complete, lines that are not rows are skipped, and a replaced journal is read from
// the start.
func TestJournal(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "run", "log.jsonl")
	write(t, path, `{"step":10,"loss":4,"num_tokens":100,"tokens_per_second":50}`+"\nno row\n[1]\n"+`{"step":20,"lo`)
	l := open(t, dir)
	id := filepath.Base(dir) + "/run"
	check := func(steps ...float64) runs.Curves {
		t.Helper()
		c, err := l.Curves(id)
		if err != nil {
			t.Fatal(err)
		}
		loss := series(t, c, "loss")
		if len(loss.Step) != len(steps) {
			t.Fatalf("got %d rows, want %v", len(loss.Step), steps)
		}
		for i, s := range steps {
			if *loss.Step[i] != s {
				t.Errorf("row %d: step %g, want %g", i, *loss.Step[i], s)
			}
		}
		return c
	}
	check(10)
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString(`ss":3,"num_tokens":300,"tokens_per_second":100}` + "\n")
	f.Close()
	c := check(10, 20)
	if loss := series(t, c, "loss"); *loss.Tokens[1] != 300 || *loss.Seconds[1] != 4 {
		t.Errorf("second row: %g tokens after %g s, want 300 after 4", *loss.Tokens[1], *loss.Seconds[1])
	}
	write(t, path+".new", `{"step":5,"loss":1}`+"\n")
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	check(5)
}

// A damaged file is reported for its run and affects no other run.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	good := fmt.Sprintf(ended, 100, true)
	for name, text := range map[string]string{"empty": "", "cut": good[:40], "list": "[]", "deep": `{"a":` + string(make([]byte, 100)), "good": good} {
		write(t, filepath.Join(dir, name, "trainer_state.json"), text)
	}
	list := open(t, dir).List()
	if len(list) != 5 {
		t.Fatalf("got %d runs, want 5", len(list))
	}
	for _, s := range list {
		if (s.Problem == "") != (filepath.Base(s.ID) == "good") {
			t.Errorf("%s: problem %q, state %s", s.ID, s.Problem, s.State)
		}
	}
}

// The history of a million rows takes bounded memory, keeps its spikes, and ends with its last rows.
func TestMillionRows(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "run", "log.jsonl")
	write(t, path, "")
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	const n, spike = 1_000_000, 654_321
	w := bufio.NewWriter(f)
	for i := 1; i <= n; i++ {
		loss := 2.0
		if i == spike {
			loss = 99
		}
		fmt.Fprintf(w, "{\"loss\":%g,\"step\":%d}\n", loss+float64(i%7), i)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if s := only(t, dir); s.Step != n {
		t.Errorf("step %d, want %d", s.Step, n)
	}
	l := open(t, dir)
	before := heap()
	c, err := l.Curves(filepath.Base(dir) + "/run")
	if err != nil {
		t.Fatal(err)
	}
	if more := heap() - before; more > 4<<20 {
		t.Errorf("%d bytes are in use", more)
	}
	loss := series(t, c, "loss")
	if len(loss.Step) > 2000 || len(loss.Step) < 900 || *loss.Step[len(loss.Step)-1] < n-2000 {
		t.Errorf("%d points up to step %g", len(loss.Step), *loss.Step[len(loss.Step)-1])
	}
	highest := 0.0
	for i, v := range loss.Value {
		highest = max(highest, *v)
		if i > 0 && *loss.Step[i] < *loss.Step[i-1] {
			t.Fatalf("step %g after %g", *loss.Step[i], *loss.Step[i-1])
		}
	}
	if highest < 99 {
		t.Errorf("the spike is lost: highest %g", highest)
	}
	runtime.KeepAlive(l)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A thousand runs take little memory.
func TestThousandRuns(t *testing.T) {
	dir := t.TempDir()
	for i := range 1000 {
		write(t, filepath.Join(dir, fmt.Sprintf("run-%d", i), "log.jsonl"), fmt.Sprintf(`{"step":%d,"loss":2}`+"\n", i+1))
	}
	l := open(t, dir)
	before := heap()
	if n := len(l.List()); n != 1000 {
		t.Errorf("got %d runs", n)
	}
	if more := heap() - before; more > 8<<20 {
		t.Errorf("%d bytes are in use", more)
	}
	runtime.KeepAlive(l)
}

func TestSettings(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "run", "log.jsonl"), "")
	write(t, filepath.Join(dir, "run", "config.yaml"), "model: base\nseed: 42\ntrain:\n  learning_rate: 0.00005\n  sample_prompts: [A, b]\nlora:\n  r: 16\n")
	list, err := open(t, dir).Settings(filepath.Base(dir) + "/run")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]runs.Setting{}
	for _, s := range list {
		got[s.Key] = s
	}
	for key, differs := range map[string]bool{"model": true, "seed": false, "train.learning_rate": false, "train.sample_prompts": true, "lora.r": true} {
		if s, ok := got[key]; !ok || s.Differs != differs {
			t.Errorf("%s: %+v", key, s)
		}
	}
	if s := got["lora.r"]; s.Value != "16" || s.Default != "8" || got["train.sample_prompts"].Value != "[A, b]" {
		t.Errorf("got %+v", got)
	}
}

// FuzzState parses arbitrary bytes as a state.
func FuzzState(f *testing.F) {
	f.Add([]byte(fmt.Sprintf(ended, 3, true)))
	f.Add([]byte(`{"log_history":[{"step":1},[[]],"\"",null],"a":{"b":[}]}`))
	dir := f.TempDir()
	path := filepath.Join(dir, "run", "trainer_state.json")
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o666); err != nil {
			t.Fatal(err)
		}
		l := open(t, dir)
		l.List()
		l.Curves(filepath.Base(dir) + "/run")
	})
}

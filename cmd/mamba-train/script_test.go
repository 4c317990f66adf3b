package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"mambatrain/autograd/kernel"
	"mambatrain/data/hub/hubtest"
)

// beMain makes the test binary act as the program.
const beMain = "MAMBA_TRAIN_BE_MAIN"

func TestMain(m *testing.M) {
	peakTime, peakBytes = time.Millisecond, 1<<20
	if os.Getenv(beMain) != "" {
		os.Unsetenv(beMain)
		main()
	}
	if path := os.Getenv(beStuck); path != "" {
		stuck(path)
	}
	testscript.Main(m, map[string]func(){"mamba-train": main})
}

// Scripts run the program as a user would.
func TestScripts(t *testing.T) {
	t.Parallel()
	p := scriptParams(t)
	p.Dir = "testdata/script"
	testscript.Run(t, p)
}

// scriptParams gives each script a tiny model in $TINY, its tokenizer and data in $ROOT, and its own hub with a tiny
// version of the recipe's model and its dataset.
func scriptParams(t *testing.T) testscript.Params {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	tiny := tinyModel(t, root)
	hub := hubtest.New(t, map[string]hubtest.Repository{
		"models/state-spaces/mamba-130m-hf": repository(t, tiny),
		"datasets/Abirate/english_quotes":   {"data/train-00000-of-00001.parquet": readFile(t, filepath.Join(root, "configs/quickstart/quotes.parquet"))},
	})
	return testscript.Params{
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("ROOT", root)
			env.Setenv("TINY", tiny)
			env.Setenv("NO_COLOR", "1")
			env.Setenv("HF_ENDPOINT", hub.URL) // keeps scripts off the real hub
			env.Setenv("HF_HOME", filepath.Join(env.WorkDir, "hf"))
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name != "vector" {
				return false, fmt.Errorf("unknown condition %q", name)
			}
			return kernel.ISA() != "generic", nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"addtoken": addToken,
			"bytes":    writeBytes,
			"code":     runCode,
			"cutfile":  cutFile,
			"poison":   poison,
			"sameloss": sameLoss,
		},
	}
}

// repository reads the files in a directory.
func repository(t *testing.T, dir string) hubtest.Repository {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := hubtest.Repository{}
	for _, e := range entries {
		r[e.Name()] = readFile(t, filepath.Join(dir, e.Name()))
	}
	return r
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// tinyModel creates a model with a few thousand parameters and the quick start's tokenizer.
func tinyModel(t *testing.T, root string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tiny")
	config := writeFile(t, "config.json", `{"model_type":"mamba","vocab_size":1024,"hidden_size":16,"num_hidden_layers":2,"state_size":4}`)
	if code := run([]string{"init", "--quiet", "--config", config, "--output", dir, "--tokenizer", filepath.Join(root, "configs/quickstart/base")}); code != 0 {
		t.Fatal("init:", code)
	}
	return dir
}

// runCode runs the program and checks its exit code: code 2 train -c x.yaml. The output must never look like a stack trace.
func runCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N arguments…")
	}
	err := ts.Exec("mamba-train", args[1:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("mamba-train %s: exit code %s, want %s", strings.Join(args[1:], " "), got, args[0])
	}
	for _, trace := range []string{"goroutine ", "panic:", ".go:"} {
		if strings.Contains(ts.ReadFile("stderr"), trace) {
			ts.Fatalf("the message contains a stack trace")
		}
	}
}

// poison sets the last element of a safetensors file to NaN: poison FILE.
func poison(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: poison FILE")
	}
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_RDWR, 0)
	ts.Check(err)
	defer f.Close()
	info, err := f.Stat()
	ts.Check(err)
	_, err = f.WriteAt([]byte{0, 0, 0xc0, 0x7f}, info.Size()-4)
	ts.Check(err)
}

// addToken adds a special token to a tokenizer: addtoken tokenizer.json ID TOKEN.
func addToken(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: addtoken FILE ID TOKEN")
	}
	id, err := strconv.Atoi(args[1])
	ts.Check(err)
	var t map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &t))
	list, _ := t["added_tokens"].([]any)
	t["added_tokens"] = append(list, map[string]any{
		"id": id, "content": args[2], "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true,
	})
	b, err := json.Marshal(t)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o666))
}

// sameLoss compares the loss printed by eval with the last one of a run: sameloss stdout trainer_state.json KEY.
func sameLoss(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: sameloss FILE STATE KEY")
	}
	var got struct{ Loss float64 }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &got))
	var state struct {
		History []map[string]any `json:"log_history"`
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &state))
	for _, row := range slices.Backward(state.History) {
		if want, ok := row[args[2]].(float64); ok {
			const tolerance = 1e-5 // sums are computed in another order
			if math.Abs(got.Loss-want) > tolerance*want {
				ts.Fatalf("loss %v, the run has %v", got.Loss, want)
			}
			return
		}
	}
	ts.Fatalf("%s has no %s", args[1], args[2])
}

// writeBytes copies a file and replaces \xff by that byte, which scripts cannot contain: bytes FROM TO.
func writeBytes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: bytes FROM TO")
	}
	text := strings.ReplaceAll(ts.ReadFile(args[0]), `\xff`, "\xff")
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o666))
}

// cutFile truncates a file to a number of bytes: cutfile FILE half.
func cutFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: cutfile FILE")
	}
	path := ts.MkAbs(args[0])
	info, err := os.Stat(path)
	ts.Check(err)
	ts.Check(os.Truncate(path, info.Size()/2))
}

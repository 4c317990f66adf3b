package main

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// A signal ends a run after the step under way: the run is saved, says how to go on, and its exit code names the signal.
func TestSignalsSaveTheRun(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no signals to send")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	tiny := tinyModel(t, root)
	rows := writeFile(t, "q.jsonl", `{"text": "A stitch in time saves nine."}`)
	for signal, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		dir := filepath.Join(t.TempDir(), "run")
		config := writeFile(t, "c.yaml", "model: "+tiny+"\noutput_dir: "+dir+"\ndata: {train: "+rows+
			"}\ntrain: {max_steps: 1000000, logging_steps: 1, save_steps: 0}\nlora: {r: 2}\n")
		cmd := exec.Command(os.Args[0], "train", "-c", config)
		cmd.Env = append(os.Environ(), beMain+"=1")
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		sent, last := false, ""
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			last = lines.Text()
			if !sent && strings.HasPrefix(last, "step ") {
				sent = true
				if err := cmd.Process.Signal(signal); err != nil {
					t.Fatal(err)
				}
			}
		}
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != code {
			t.Errorf("%v: ended with %v, want exit code %d", signal, err, code)
		}
		if !strings.Contains(last, "--resume goes on") {
			t.Errorf("%v: the last line is %q", signal, last)
		}
		if found, _ := filepath.Glob(filepath.Join(dir, "checkpoint-*", "adapter_model.safetensors")); len(found) != 1 {
			t.Errorf("%v: checkpoints %v", signal, found)
		}
	}
}

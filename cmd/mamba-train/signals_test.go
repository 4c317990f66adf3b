package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"mambatrain/autograd/kernel"
	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/trainer/recipe"
)

// A signal ends a run after the current step. The run is saved and explains how to resume, and its exit code identifies the
// signal. This is also so if a Ctrl-C has ended the reader of the output.
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
	for what, c := range map[string]struct {
		signal syscall.Signal
		unread bool
		code   int
	}{
		"SIGINT":            {syscall.SIGINT, false, 130},
		"SIGTERM":           {syscall.SIGTERM, false, 143},
		"SIGINT, no reader": {syscall.SIGINT, true, 130},
	} {
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
			if sent || !strings.HasPrefix(last, "step ") {
				continue
			}
			sent = true
			if c.unread {
				stderr.Close()
			}
			if err := cmd.Process.Signal(c.signal); err != nil {
				t.Fatal(err)
			}
		}
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != c.code {
			t.Errorf("%s: ended with %v, want exit code %d", what, err, c.code)
		}
		if !c.unread && !strings.Contains(last, "--resume continues") {
			t.Errorf("%s: the last line is %q", what, last)
		}
		if found, _ := filepath.Glob(filepath.Join(dir, "checkpoint-*", "adapter_model.safetensors")); len(found) != 1 {
			t.Errorf("%s: checkpoints %v", what, found)
		}
	}
}

// A signal during a download has the same exit code and message as one during the work that follows.
func TestSignalWhileLoading(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no signals to send")
	}
	rows := writeFile(t, "q.jsonl", `{"text": "A stitch in time saves nine."}`)
	for _, args := range [][]string{
		{"eval", "--model", "o/m", "--data", rows}, {"generate", "--model", "o/m", "--prompt", "A"}, {"doctor", "--model", "o/m"},
		{"data", "tokenize", "--tokenizer", "o/m", "--data", rows, "--output", filepath.Join(t.TempDir(), "ids.jsonl")},
	} {
		t.Run(args[0], func(t *testing.T) {
			asked := make(chan struct{}, 1)
			hub := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				select {
				case asked <- struct{}{}:
				default:
				}
				<-r.Context().Done() // never answers
			}))
			defer hub.Close()
			cmd := exec.Command(os.Args[0], args...)
			cmd.Env = append(os.Environ(), beMain+"=1", "HF_ENDPOINT="+hub.URL, "HF_HOME="+t.TempDir(), "HF_HUB_CACHE=", "HUGGINGFACE_HUB_CACHE=", "HF_HUB_OFFLINE=", "TRANSFORMERS_OFFLINE=")
			var stderr strings.Builder
			cmd.Stderr = &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			var err error
			select {
			case err = <-ended:
			case <-asked:
				if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
				err = <-ended
			}
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 143 || !strings.Contains(stderr.String(), "stopped by signal: terminated") {
				t.Errorf("ended with %v, want exit code 143\n%s", err, stderr.String())
			}
		})
	}
}

// beStuck makes the test binary act as a command that writes its result to that path and never finishes.
const beStuck = "MAMBA_TRAIN_BE_STUCK"

func stuck(path string) {
	ctx, stop := cli.NotifyContext()
	defer stop()
	_ = cli.Stage(ctx, path, cli.Refuse, func(tmp string) error {
		if err := os.WriteFile(filepath.Join(tmp, "half"), []byte("a"), 0o666); err != nil {
			return err
		}
		os.Stdout.WriteString("writing\n")
		<-ctx.Done()
		os.Stdout.WriteString("asked\n")
		select {}
	})
}

// If the first signal has no effect, a second one ends the process and removes partial output.
func TestSecondSignalLeavesNothing(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no signals to send")
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), beStuck+"="+filepath.Join(dir, "out"))
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	for lines := bufio.NewScanner(stdout); lines.Scan(); { // sends one signal per line
		if lines.Text() == "asked" {
			time.Sleep(150 * time.Millisecond) // an earlier one would be taken for a copy of the first
		}
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 143 {
		t.Errorf("ended with %v, want exit code 143", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

// An interrupt while generate waits for a line ends the program, and the state is saved.
func TestInterruptBetweenLines(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no signals to send")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(t.TempDir(), "state.safetensors")
	cmd := exec.Command(os.Args[0], "generate", "--model", tinyModel(t, root), "--interactive", "-n", "1", "--state", state)
	cmd.Env = append(os.Environ(), beMain+"=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	if _, err := stdin.Write([]byte("The sea\n")); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(stdout); lines.Scan(); { // after the answer, the program waits for input
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 130 {
		t.Errorf("ended with %v, want exit code 130", err)
	}
	if _, err := os.Stat(state); err != nil {
		t.Error(err)
	}
}

// A lost device ends a run with one line that says how to continue.
func TestLostDevice(t *testing.T) {
	lost := fmt.Errorf("autograd: a GPU: vulkan: a GPU: wait: device lost: %w", kernel.ErrDeviceLost)
	err := (&app{}).explainStop(context.Background(), &recipe.Config{}, lost)
	if !errors.Is(err, kernel.ErrDeviceLost) || !strings.HasSuffix(err.Error(), "; the same command with --resume continues from the last checkpoint") || strings.Contains(err.Error(), "\n") {
		t.Errorf("the error is %v", err)
	}
}

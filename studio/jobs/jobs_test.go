package jobs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"mambatrain/internal/filelock"
	"mambatrain/trainer/checkpoint"
)

// beTraining makes the test binary act as a program that trains until it is told to stop.
const beTraining = "MAMBA_TRAIN_JOBS_TEST"

func TestMain(m *testing.M) {
	if os.Getenv(beTraining) != "" {
		train()
	}
	os.Exit(m.Run())
}

// train prints its arguments and exits on the first signal. With "slow" it exits only on a second one, with "fail" at once.
func train() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	fmt.Println(strings.Join(os.Args[1:], " "))
	if os.Getenv(beTraining) == "fail" {
		os.Exit(2)
	}
	fmt.Println(<-signals, "saving")
	if os.Getenv(beTraining) == "slow" {
		fmt.Println(<-signals, "killed")
		os.Exit(9)
	}
	os.Exit(143)
}

// wait waits until the job satisfies ok, however long that takes.
func wait(t *testing.T, r *Runner, dir string, ok func(Job) bool) Job {
	t.Helper()
	for {
		j, err := r.Job(dir)
		if err == nil && ok(j) {
			return j
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("%+v, %v", j, err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func saying(text string) func(Job) bool {
	return func(j Job) bool { return strings.Contains(j.Console, text) }
}

func ended(j Job) bool { return !j.Running && j.ExitCode != nil }

// A job outlives the runner that started it: another runner finds it and stops it.
func TestJob(t *testing.T) {
	t.Setenv(beTraining, "1")
	folder := t.TempDir()
	dir := filepath.Join(folder, "a", "b")
	first := New(os.Args[0], folder)
	start := Start{Dir: dir, Config: "b.yaml", Args: []string{"--overwrite"}}
	if err := first.Start(start); err != nil {
		t.Fatal(err)
	}
	if j := wait(t, first, dir, saying("overwrite")); !j.Running || j.Stopping || j.ExitCode != nil || j.Config != "b.yaml" || j.Console != "train -c b.yaml --overwrite\n" {
		t.Errorf("%+v", j)
	}
	if err := first.Start(start); !errors.Is(err, errRunning) {
		t.Errorf("second start: %v", err)
	}
	if runtime.GOOS != "windows" {
		link := filepath.Join(t.TempDir(), "link")
		if err := os.Symlink(folder, link); err != nil {
			t.Fatal(err)
		}
		if list := New(os.Args[0], link).List(); len(list) != 1 || list[0].Dir != filepath.Join(link, "a", "b") {
			t.Errorf("found %+v in a folder that is a link", list)
		}
	}
	second := New(os.Args[0], folder)
	if list := second.List(); len(list) != 1 || list[0].Dir != dir || !list[0].Running || !second.Knows(dir) {
		t.Fatalf("found %+v", list)
	}
	if err := second.Start(start); !errors.Is(err, errRunning) {
		t.Errorf("start by another runner: %v", err)
	}
	if err := second.Stop(dir); err != nil {
		t.Fatal(err)
	}
	if j := wait(t, second, dir, ended); *j.ExitCode != 143 || !strings.Contains(j.Console, "saving") {
		t.Errorf("%+v", j)
	}
	if err := first.Stop(dir); !errors.Is(err, errNotRunning) {
		t.Errorf("stop of a job that has ended: %v", err)
	}
	start.Args, start.Append = []string{"--resume"}, true
	if err := second.Start(start); err != nil {
		t.Fatal(err)
	}
	if j := wait(t, second, dir, saying("--resume")); !strings.Contains(j.Console, "saving") {
		t.Errorf("the earlier output is gone: %q", j.Console)
	}
	second.Stop(dir)
	wait(t, second, dir, ended)
	if len(second.List()) != 1 {
		t.Error("a job is listed twice")
	}
}

// A second stop does not kill a process that is saving, even after the server restarts.
func TestStop_twice(t *testing.T) {
	t.Setenv(beTraining, "slow")
	dir := t.TempDir()
	r := New(os.Args[0])
	if err := r.Start(Start{Dir: dir, Config: "c.yaml"}); err != nil {
		t.Fatal(err)
	}
	wait(t, r, dir, saying("c.yaml"))
	for _, runner := range []*Runner{r, r, New(os.Args[0], dir)} {
		if err := runner.Stop(dir); err != nil {
			t.Fatal(err)
		}
		if j := wait(t, r, dir, saying("saving")); !j.Stopping || !j.Running {
			t.Errorf("%+v", j)
		}
	}
	kill(t, dir)
	if j := wait(t, r, dir, ended); strings.Contains(j.Console, "killed") || j.Stopping {
		t.Errorf("%+v", j)
	}
}

func kill(t *testing.T, dir string) {
	t.Helper()
	p, err := readRecord(dir)
	if err != nil {
		t.Fatal(err)
	}
	process, err := os.FindProcess(p.PID)
	if err == nil {
		err = process.Kill()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A failed start leaves the exit code and the output.
func TestStart_fails(t *testing.T) {
	t.Setenv(beTraining, "fail")
	r, dir := New(os.Args[0]), t.TempDir()
	if err := r.Start(Start{Dir: dir, Config: "c.yaml"}); err != nil {
		t.Fatal(err)
	}
	if j := wait(t, r, dir, ended); *j.ExitCode != 2 || j.Console != "train -c c.yaml\n" {
		t.Errorf("%+v", j)
	}
	if err := checkpoint.CheckFresh(checkpoint.Disk{}, dir); err != nil {
		t.Errorf("it cannot be started again: %v", err)
	}
	if err := New(filepath.Join(dir, "missing")).Start(Start{Dir: dir, Config: "c.yaml"}); err == nil {
		t.Error("a program that is missing was started")
	}
}

// A record whose PID belongs to another process, that comes from another machine, or that is made up causes no signal.
func TestStop_otherProcess(t *testing.T) {
	t.Setenv(beTraining, "1")
	folder := t.TempDir()
	dir := filepath.Join(folder, "run")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	bystander := exec.Command(os.Args[0])
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	defer bystander.Wait()
	defer bystander.Process.Kill()
	for _, record := range []string{
		fmt.Sprintf(`{"pid":%d,"identity":"","config":"c"}`, bystander.Process.Pid),
		fmt.Sprintf(`{"pid":%d,"identity":"guess","config":"c"}`, bystander.Process.Pid),
		`{"pid":-1,"identity":""}`, `{"pid":0,"identity":""}`, `{"pid":1e30}`, `[`, ``,
	} {
		if err := os.WriteFile(filepath.Join(dir, checkpoint.ProcessFile), []byte(record), 0o666); err != nil {
			t.Fatal(err)
		}
		r := New(os.Args[0], folder)
		if err := r.Stop(dir); !errors.Is(err, errNotRunning) {
			t.Errorf("%s: %v", record, err)
		}
		if j, err := r.Job(dir); err == nil && j.Running {
			t.Errorf("%s: is mistaken for a running job", record)
		}
	}
}

// A start fails if another process is training in the directory.
func TestStart_locked(t *testing.T) {
	dir := t.TempDir()
	lock, err := filelock.Try(filepath.Join(dir, checkpoint.LockFile))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := New(os.Args[0]).Start(Start{Dir: dir, Config: "c"}); !errors.Is(err, errRunning) {
		t.Errorf("got %v", err)
	}
	if err := New(os.Args[0]).Stop(dir); !errors.Is(err, errNotRunning) {
		t.Errorf("got %v", err)
	}
}

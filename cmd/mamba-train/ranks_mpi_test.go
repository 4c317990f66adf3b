//go:build mpi && linux && (amd64 || arm64)

package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"mambatrain/internal/filelock"
	"mambatrain/trainer/checkpoint"
)

// launcherOf returns the launcher of an MPI implementation. If it is missing, the test is skipped, or fails if
// MAMBA_REQUIRE_MPI=1 is set.
func launcherOf(t *testing.T, family string) string {
	t.Helper()
	path, err := exec.LookPath("mpirun." + family)
	if err != nil && os.Getenv("MAMBA_REQUIRE_MPI") == "1" {
		t.Fatal(err)
	}
	if err != nil {
		t.Skip(err)
	}
	return path
}

// cluster is a training run to start on several ranks.
type cluster struct {
	dir, program, config string
}

func newCluster(t *testing.T, steps int) *cluster {
	t.Helper()
	c := &cluster{dir: t.TempDir()}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c.program = filepath.Join(c.dir, "mamba-train") // under this name, the test binary acts as the program
	if err := os.Symlink(self, c.program); err != nil {
		t.Fatal(err)
	}
	var rows strings.Builder
	for i := range 40 {
		ids := make([]string, 4+i%9)
		for j := range ids {
			ids[j] = strconv.Itoa((i*31 + j*j*7) % 1024)
		}
		fmt.Fprintf(&rows, "{\"input_ids\": [%s]}\n", strings.Join(ids, ", "))
	}
	write := func(name, text string) string {
		path := filepath.Join(c.dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	model := filepath.Join(c.dir, "model")
	shape := write("config.json", `{"model_type": "mamba", "vocab_size": 1024, "hidden_size": 64, "num_hidden_layers": 2, "state_size": 4}`)
	if out, err := exec.Command(c.program, "init", "--config", shape, "--output", model).CombinedOutput(); err != nil {
		t.Fatalf("init: %v\n%s", err, out)
	}
	c.config = write("run.yaml", fmt.Sprintf(`
model: %s
output_dir: %s
data: {train: %s}
train: {max_steps: %d, per_device_train_batch_size: 2, learning_rate: 1.0e-3, save_steps: 5}
distributed: {shards: 4, timeout: 10m, bucket_mb: 1}
`, model, filepath.Join(c.dir, "out"), write("rows.jsonl", rows.String()), steps))
	return c
}

// command returns a command that starts the run on the given number of ranks; 0 means without a launcher.
func (c *cluster) command(launcher string, ranks int, args ...string) *exec.Cmd {
	line := append([]string{c.program, "train", "-c", c.config}, args...)
	if ranks > 0 {
		line = append([]string{launcher, "-np", strconv.Itoa(ranks)}, line...)
	}
	if strings.HasSuffix(launcher, "openmpi") {
		line = append([]string{line[0], "--oversubscribe", "--bind-to", "none"}, line[1:]...)
	}
	if ranks == 0 {
		line = append([]string{c.program, "train", "-c", c.config}, args...)
	}
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = append(os.Environ(), "OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1")
	cmd.WaitDelay = time.Second
	return cmd
}

// finish waits for the command to exit and returns its exit code and output.
func finish(t *testing.T, cmd *exec.Cmd, limit time.Duration) (int, string) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return wait(t, cmd, limit), out.String()
}

func wait(t *testing.T, cmd *exec.Cmd, limit time.Duration) int {
	t.Helper()
	timer := time.AfterFunc(limit, func() { cmd.Process.Kill() })
	defer timer.Stop()
	began := time.Now()
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		t.Fatal(err)
	}
	if time.Since(began) >= limit {
		t.Errorf("%v: still running after %v", cmd.Args, limit)
	}
	return cmd.ProcessState.ExitCode()
}

func (c *cluster) weights(t *testing.T, out string) string {
	t.Helper()
	for _, name := range []string{"adapter_model.safetensors", "model.safetensors"} {
		if b, err := os.ReadFile(filepath.Join(c.dir, out, name)); err == nil {
			return fmt.Sprintf("%x", sha256.Sum256(b))
		}
	}
	t.Fatalf("%s has no weights", out)
	return ""
}

// long is a timeout that is sufficient even on a busy machine.
const long = 5 * time.Minute

// Runs on one, two, and four ranks, with Open MPI and MPICH, end with the same weights.
func TestMPIRanksHaveTheSameWeights(t *testing.T) {
	openmpi := launcherOf(t, "openmpi")
	mpich := launcherOf(t, "mpich")
	c := newCluster(t, 6)
	for _, mode := range []struct {
		name string
		sets []string
	}{
		{"full", nil},
		{"lora", []string{"--set", "lora.r=4", "--set", "lora.lora_dropout=0.1"}},
		{"sharded", []string{"--set", "distributed.shard_optimizer=true"}},
	} {
		want := ""
		for i, place := range []struct {
			launcher string
			ranks    int
		}{{"", 0}, {openmpi, 1}, {openmpi, 2}, {openmpi, 4}, {mpich, 2}} {
			out := fmt.Sprintf("%s-%d", mode.name, i)
			args := append([]string{"--set", "output_dir=" + filepath.Join(c.dir, out)}, mode.sets...)
			code, text := finish(t, c.command(place.launcher, place.ranks, args...), long)
			if code != 0 {
				t.Fatalf("%s, %s -np %d: exit code %d\n%s", mode.name, place.launcher, place.ranks, code, text)
			}
			got := c.weights(t, out)
			if want == "" {
				want = got
			}
			if got != want {
				t.Errorf("%s, %s -np %d: weights differ from those of one process", mode.name, place.launcher, place.ranks)
			}
		}
	}
}

// saves waits until the run has written a checkpoint.
func (c *cluster) saves(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(long); ; time.Sleep(20 * time.Millisecond) {
		found, _ := filepath.Glob(filepath.Join(c.dir, "out", "checkpoint-*"))
		if len(found) > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("no checkpoint was written")
		}
	}
}

// whole checks that the newest checkpoint can be resumed.
func (c *cluster) whole(t *testing.T) {
	t.Helper()
	out, err := checkpoint.Open(checkpoint.Disk{}, filepath.Join(c.dir, "out"), checkpoint.Resume)
	for errors.Is(err, filelock.ErrLocked) { // the lock is released when its process exits
		time.Sleep(time.Millisecond)
		out, err = checkpoint.Open(checkpoint.Disk{}, filepath.Join(c.dir, "out"), checkpoint.Resume)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if checkpoint, damaged := out.Checkpoint(); checkpoint == nil || len(damaged) > 0 {
		t.Errorf("checkpoint %v, damaged %v", checkpoint, damaged)
	}
}

// pids returns the process ID of each rank.
func (c *cluster) pids(t *testing.T, ranks int) []int {
	t.Helper()
	list := make([]int, ranks)
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		env, _ := os.ReadFile(filepath.Join(dir, "environ"))
		if !bytes.HasPrefix(line, []byte(c.program+"\x00")) {
			continue
		}
		for variable := range bytes.SplitSeq(env, []byte{0}) {
			for _, name := range []string{"OMPI_COMM_WORLD_RANK=", "PMI_RANK="} {
				if rank, ok := strings.CutPrefix(string(variable), name); ok {
					r, _ := strconv.Atoi(rank)
					list[r], _ = strconv.Atoi(filepath.Base(dir))
				}
			}
		}
	}
	for r, pid := range list {
		if pid == 0 {
			t.Fatalf("rank %d has no process", r)
		}
	}
	return list
}

// A run stopped by SIGUSR1 and resumed on more ranks reaches the weights of the uninterrupted run.
func TestMPIResumeOnMoreRanks(t *testing.T) {
	openmpi := launcherOf(t, "openmpi")
	c := newCluster(t, 60)
	straight := filepath.Join(c.dir, "straight")
	if code, text := finish(t, c.command("", 0, "--set", "output_dir="+straight), long); code != 0 {
		t.Fatalf("straight: exit code %d\n%s", code, text)
	}
	cmd := c.command(openmpi, 2, "--set", "distributed.shard_optimizer=true")
	var text bytes.Buffer
	cmd.Stderr = &text
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.saves(t)
	cmd.Process.Signal(syscall.SIGUSR1)
	if code := wait(t, cmd, long); code != 0 || !strings.Contains(text.String(), "--resume") {
		t.Fatalf("SIGUSR1: exit code %d, want 0 and how to resume, got\n%s", code, text.String())
	}
	if _, err := os.Stat(filepath.Join(c.dir, "out", "model.safetensors")); err == nil {
		t.Fatal("the run ended before the signal arrived")
	}
	if code, text := finish(t, c.command(openmpi, 4, "--resume"), long); code != 0 {
		t.Fatalf("4 ranks: exit code %d\n%s", code, text)
	}
	if c.weights(t, "out") != c.weights(t, "straight") {
		t.Error("stopped on 2 ranks and resumed on 4: weights differ from those of the uninterrupted run")
	}
}

func TestMPIKilledRank(t *testing.T) {
	for _, family := range []string{"openmpi", "mpich"} {
		launcher := launcherOf(t, family)
		c := newCluster(t, 100_000)
		cmd := c.command(launcher, 2)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		c.saves(t)
		syscall.Kill(c.pids(t, 2)[1], syscall.SIGKILL)
		if code := wait(t, cmd, long); code == 0 {
			t.Errorf("%s: exit code 0 after a rank was killed", family)
		}
		c.whole(t)
	}
}

// With the default settings, a suspended rank ends the job, because its heartbeat stops.
func TestMPIStoppedRank(t *testing.T) {
	for _, family := range []string{"openmpi", "mpich"} {
		t.Run(family, func(t *testing.T) {
			launcher := launcherOf(t, family)
			t.Parallel() // the test mostly waits
			c := newCluster(t, 1_000_000)
			cmd := c.command(launcher, 2, "--set", "distributed.timeout=10m")
			var text bytes.Buffer
			cmd.Stderr = &text
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			c.saves(t)
			stopped := c.pids(t, 2)[1]
			syscall.Kill(stopped, syscall.SIGSTOP)
			if code := wait(t, cmd, long); code != 75 || !strings.Contains(text.String(), "rank 1 on") || !strings.Contains(text.String(), "silent for 20s") {
				t.Errorf("exit code %d, want 75 and the reason, got\n%s", code, text.String())
			}
			syscall.Kill(stopped, syscall.SIGKILL)
			c.whole(t)
		})
	}
}

func TestMPIForeignLibrary(t *testing.T) {
	for family, library := range map[string]string{"openmpi": "libmpich.so.12", "mpich": "libmpi.so.40"} {
		launcher := launcherOf(t, family)
		c := newCluster(t, 1)
		code, text := finish(t, c.command(launcher, 2, "--set", "distributed.library="+library), long)
		if code != 69 || !strings.Contains(text, "do not belong together") {
			t.Errorf("%s with %s: exit code %d, want 69, got\n%s", family, library, code, text)
		}
	}
}

// If a rank's settings differ from rank 0's, the run ends before the first step and the reason is printed once.
func TestMPIRanksMustAgree(t *testing.T) {
	launcher := launcherOf(t, "mpich")
	c := newCluster(t, 1)
	cmd := exec.Command(launcher, "-np", "1", c.program, "train", "-c", c.config, ":",
		"-np", "1", "-env", "MAMBA_TRAIN_SEED", "7", c.program, "train", "-c", c.config)
	code, text := finish(t, cmd, long)
	if code != 2 || strings.Count(text, "seed: rank 0 42, rank 1 7") != 1 {
		t.Errorf("exit code %d, want 2 and the difference once, got\n%s", code, text)
	}
}

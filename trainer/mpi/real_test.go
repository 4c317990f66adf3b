//go:build mpi && linux && (amd64 || arm64)

package mpi

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mambatrain/trainer"
)

// These tests rerun the test binary under the installed launchers. Without one, they are skipped, or fail if
// MAMBA_REQUIRE_MPI=1 is set.

const programVariable = "MAMBA_MPI_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if p, ok := programs[os.Getenv(programVariable)]; ok {
		os.Exit(asRank(p))
	}
	os.Exit(m.Run())
}

// programs are the programs that a rank may run.
var programs = map[string]func(c trainer.Communicator) error{
	"sums":    printSums,
	"loop":    reduceForever,
	"signals": reduceUnderSignals,
	"abort":   abortOne,
	"wait":    killLauncherAndWait,
}

func asRank(program func(c trainer.Communicator) error) int {
	config := Default()
	config.Library = os.Getenv("MAMBA_MPI_TEST_LIBRARY")
	if d, err := time.ParseDuration(os.Getenv("MAMBA_MPI_TEST_TIMEOUT")); err == nil {
		config.Timeout = d
	}
	if d, err := time.ParseDuration(os.Getenv("MAMBA_MPI_TEST_SILENCE")); err == nil {
		config.Silence = d
	}
	c, err := Open(config)
	if err == nil {
		err = program(c)
	}
	if err == nil {
		err = c.Close()
	}
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, err)
	switch {
	case errors.As(err, new(*LostError)):
		return ExitLost
	case errors.As(err, new(*RefusedError)):
		return refusedCode
	}
	return 1
}

// refusedCode is the exit code that distinguishes a refusal from other failures.
const refusedCode = 69

const realElements = 1_100_001 // more than a bucket and not a multiple of any number of ranks

// printSums prints a checksum of the sum for each way of computing it.
func printSums(c trainer.Communicator) error {
	mc := c.(*Comm)
	all, parts := gradients(c.Rank(), realElements), gradients(c.Rank(), 100_001)
	if err := errors.Join(c.AllReduce(all), mc.ReduceScatter(parts), mc.AllGather(parts)); err != nil {
		return err
	}
	sum, largest, text := []float64{1, float64(c.Rank())}, []float64{float64(c.Rank())}, []byte{byte(c.Rank())}
	if err := errors.Join(c.AllReduceSum(sum), c.AllReduceMax(largest), c.Broadcast(text, c.Size()-1), c.Barrier()); err != nil {
		return err
	}
	n := float64(c.Size())
	if sum[0] != n || sum[1] != n*(n-1)/2 || largest[0] != n-1 || text[0] != byte(n-1) {
		return fmt.Errorf("got sums %v, largest %v, broadcast %v", sum, largest, text)
	}
	fmt.Printf("sum %s %s\n", checksum(all), checksum(parts))
	return nil
}

func checksum(x []float32) string {
	h := fnv.New64a()
	var b [4]byte
	for _, v := range x {
		bits := math.Float32bits(v)
		b = [4]byte{byte(bits), byte(bits >> 8), byte(bits >> 16), byte(bits >> 24)}
		h.Write(b[:])
	}
	return fmt.Sprintf("%016x", h.Sum64())
}

func reduceForever(c trainer.Communicator) error {
	fmt.Printf("pid %d %d\n", c.Rank(), os.Getpid())
	for x := make([]float32, 1<<18); ; {
		if err := c.AllReduce(x); err != nil {
			return err
		}
	}
}

func abortOne(c trainer.Communicator) error {
	if c.Rank() == 1 {
		c.Abort(3, "the disk is full")
	}
	return c.Barrier()
}

// killLauncherAndWait makes rank 0 kill a launcher that does not end by itself.
func killLauncherAndWait(c trainer.Communicator) error {
	if c.Rank() == 0 {
		killLauncher()
	}
	select {}
}

// reduceUnderSignals checks that the Go runtime's signal handlers work with the library's code on the stack: SIGUSR1
// arrives a thousand times per second, nil pointer dereferences are recovered, and the garbage collector runs.
func reduceUnderSignals(c trainer.Communicator) error {
	got := make(chan os.Signal, 1024)
	signal.Notify(got, syscall.SIGUSR1)
	var received atomic.Int64
	stop := make(chan struct{})
	go func() {
		for range got {
			received.Add(1)
		}
	}()
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				syscall.Kill(os.Getpid(), syscall.SIGUSR1)
				recoverFromNil()
				runtime.GC()
			}
		}
	}()
	for range 300 {
		x := make([]float32, 10_000)
		for i := range x {
			x[i] = float32(c.Rank() + 1)
		}
		if err := c.AllReduce(x); err != nil {
			return err
		}
		if want := float32(c.Size() * (c.Size() + 1) / 2); x[0] != want || x[len(x)-1] != want {
			return fmt.Errorf("sum is %v … %v, want %v", x[0], x[len(x)-1], want)
		}
	}
	close(stop)
	if received.Load() == 0 {
		return errors.New("no signal came through")
	}
	return nil
}

func recoverFromNil() {
	defer func() { recover() }()
	var p *int
	*p++
}

// launcher is an installed mpirun and its library.
type launcher struct{ name, path, library string }

func installed(t *testing.T) []launcher {
	t.Helper()
	var list []launcher
	for _, l := range []launcher{{"openmpi", "mpirun.openmpi", "libmpi.so.40"}, {"mpich", "mpirun.mpich", "libmpich.so.12"}} {
		if p, err := exec.LookPath(l.path); err == nil {
			list = append(list, launcher{l.name, p, l.library})
		}
	}
	if len(list) > 0 {
		return list
	}
	if os.Getenv("MAMBA_REQUIRE_MPI") == "1" {
		t.Fatal("neither mpirun.openmpi nor mpirun.mpich is installed")
	}
	t.Skip("neither mpirun.openmpi nor mpirun.mpich is installed")
	return nil
}

// command returns a command that runs a program on several ranks.
func (l launcher) command(ranks int, program string, env ...string) *exec.Cmd {
	args := []string{"-np", strconv.Itoa(ranks)}
	if l.name == "openmpi" {
		args = append(args, "--oversubscribe", "--bind-to", "none")
	}
	cmd := exec.Command(l.path, append(args, os.Args[0])...)
	cmd.Env = append(os.Environ(), "OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1", programVariable+"="+program)
	cmd.Env = append(cmd.Env, env...)
	cmd.WaitDelay = time.Second
	return cmd
}

// code waits for cmd to end by itself and returns its exit code.
func code(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	timer := time.AfterFunc(hangTimeout, func() { cmd.Process.Kill() })
	defer timer.Stop()
	began := time.Now()
	err := cmd.Wait()
	if time.Since(began) >= hangTimeout {
		t.Errorf("%v: still running after %v", cmd.Args, hangTimeout)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode()
}

// run runs a program that ends by itself and returns its exit code and all its output.
func (l launcher) run(t *testing.T, ranks int, program string, env ...string) (int, string) {
	t.Helper()
	cmd := l.command(ranks, program, env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return code(t, cmd), out.String()
}

// Every library and launcher gives the bits of the tree.
func TestRealSums(t *testing.T) {
	for _, l := range installed(t) {
		for _, ranks := range []int{2, 3, 4} {
			var all, parts [][]float32
			for r := range ranks {
				all, parts = append(all, gradients(r, realElements)), append(parts, gradients(r, 100_001))
			}
			want := fmt.Sprintf("sum %s %s\n", checksum(treeOf(all)), checksum(treeOf(parts)))
			rc, out := l.run(t, ranks, "sums")
			if rc != 0 || strings.Count(out, want) != ranks {
				t.Errorf("%s, %d ranks: exit code %d, want 0 and %d times %q, got\n%s", l.name, ranks, rc, ranks, want, out)
			}
		}
	}
}

func TestRealSignals(t *testing.T) {
	for _, l := range installed(t) {
		if rc, out := l.run(t, 2, "signals"); rc != 0 {
			t.Errorf("%s: exit code %d\n%s", l.name, rc, out)
		}
	}
}

func TestRealAbort(t *testing.T) {
	for _, l := range installed(t) {
		rc, out := l.run(t, 2, "abort")
		if rc != 3 || !strings.Contains(out, "the disk is full") {
			t.Errorf("%s: exit code %d, want 3 and the reason, got\n%s", l.name, rc, out)
		}
	}
}

func TestRealLauncherIsEnded(t *testing.T) {
	for _, l := range installed(t) {
		if rc, out := l.run(t, 2, "wait"); rc == 0 {
			t.Errorf("%s: exit code 0, got\n%s", l.name, out)
		}
	}
}

// A library that belongs to another launcher would run as many jobs with one rank each.
func TestRealForeignLibraryIsRefused(t *testing.T) {
	list := installed(t)
	if len(list) < 2 {
		t.Skip("needs two MPIs")
	}
	for i, l := range list {
		rc, out := l.run(t, 2, "sums", "MAMBA_MPI_TEST_LIBRARY="+list[1-i].library)
		if rc != refusedCode || !strings.Contains(out, "do not belong together") {
			t.Errorf("%s with %s: exit code %d, want 69, got\n%s", l.name, list[1-i].library, rc, out)
		}
	}
}

// loop starts ranks that reduce forever and returns their process IDs.
func (l launcher) loop(t *testing.T, ranks int, env ...string) (*exec.Cmd, []int, *bytes.Buffer) {
	t.Helper()
	cmd, stderr := l.command(ranks, "loop", env...), &bytes.Buffer{}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pids := make([]int, ranks)
	lines := bufio.NewScanner(out)
	for range ranks {
		var rank, pid int
		if !lines.Scan() {
			cmd.Wait()
			t.Fatalf("%s: the ranks did not start\n%s", l.name, stderr)
		}
		if _, err := fmt.Sscanf(lines.Text(), "pid %d %d", &rank, &pid); err != nil {
			t.Fatalf("%s: %q: %v", l.name, lines.Text(), err)
		}
		pids[rank] = pid
	}
	go io.Copy(io.Discard, out)
	time.Sleep(200 * time.Millisecond)
	return cmd, pids, stderr
}

func TestRealKilledRankEndsTheJob(t *testing.T) {
	for _, l := range installed(t) {
		cmd, pids, _ := l.loop(t, 2)
		syscall.Kill(pids[1], syscall.SIGKILL)
		if rc := code(t, cmd); rc == 0 {
			t.Errorf("%s: exit code 0 after a rank was killed", l.name)
		}
		waitFor(t, l.name+": the other rank has ended", func() bool { return !running(pids[0]) })
	}
}

// running reports whether the process is running and not just a zombie.
func running(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(b, []byte(") Z "))
}

func TestRealStoppedRankEndsTheJob(t *testing.T) {
	for _, l := range installed(t) {
		for limit, reason := range map[string]string{
			"MAMBA_MPI_TEST_TIMEOUT=1s": "did not finish within 1s",
			"MAMBA_MPI_TEST_SILENCE=2s": "rank 1 on " + hostName() + " has been silent for 2s",
		} {
			cmd, pids, stderr := l.loop(t, 2, limit)
			syscall.Kill(pids[1], syscall.SIGSTOP)
			rc := code(t, cmd)
			ended := rc == 75 || l.name == "mpich" && rc != 0 // MPICH's launcher may report how it ended the other rank
			if !ended || !strings.Contains(stderr.String(), reason) {
				t.Errorf("%s, %s: exit code %d, want 75 and the reason, got\n%s", l.name, limit, rc, stderr)
			}
			syscall.Kill(pids[1], syscall.SIGKILL)
		}
	}
}

// A scheduler may suspend a whole job for longer than a rank may be silent, and resume it one rank at a time.
func TestRealSuspendedJobContinues(t *testing.T) {
	for _, l := range installed(t) {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel() // it mostly waits
			cmd, pids, stderr := l.loop(t, 3, "MAMBA_MPI_TEST_SILENCE=3s")
			for _, signal := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGCONT} {
				for _, pid := range pids {
					syscall.Kill(pid, signal)
					time.Sleep(300 * time.Millisecond)
				}
				time.Sleep(4 * time.Second)
			}
			for rank, pid := range pids {
				if !running(pid) {
					t.Errorf("rank %d has ended: %s", rank, stderr)
				}
			}
			cmd.Process.Signal(syscall.SIGINT)
			code(t, cmd)
		})
	}
}

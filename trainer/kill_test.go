//go:build unix

package trainer

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"mambatrain/trainer/checkpoint"
)

// killEnv tells the test binary that it is the run to be killed: its value is the index of the configuration, and
// dirEnv is the output directory.
const (
	killEnv = "TRAINER_TEST_VICTIM"
	dirEnv  = "TRAINER_TEST_DIR"
)

// victims are configurations of sufficiently long runs.
var victims = []func() *run{
	func() *run { r := newRun(); r.SaveSteps, r.SaveTotalLimit, r.NumTrainEpochs = 1, 1, 12; return r },
	func() *run {
		r := newRun()
		r.SaveSteps, r.LoadBestModelAtEnd, r.EvalSteps, r.NumTrainEpochs = 3, true, 2, 12
		return r
	},
	func() *run {
		r := newRun()
		r.SaveSteps, r.Optim, r.SaveTotalLimit, r.NumTrainEpochs = 2, "adafactor", 2, 12
		return r
	},
	func() *run { r := newCarryRun(); r.SaveSteps, r.Optim, r.NumTrainEpochs = 1, "lion", 30; return r },
}

func init() {
	if os.Getenv(killEnv) != "" {
		beVictim()
	}
}

// beVictim runs in the process to be killed.
func beVictim() {
	i, _ := strconv.Atoi(os.Getenv(killEnv))
	out, err := checkpoint.Open(checkpoint.Disk{}, os.Getenv(dirEnv), checkpoint.Resume)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	r := victims[i]()
	r.task.Storage.Output = out
	t, err := New(r.Config, r.task)
	if err == nil {
		_, err = t.Run(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(4)
	}
	os.Exit(0)
}

// TestKilledProcesses kills real processes at random moments until one of them finishes, repeatedly. Each new process
// must resume by itself, and the result must be that of an uninterrupted run. TRAINER_TEST_KILLS sets the number of
// kills.
func TestKilledProcesses(t *testing.T) {
	kills, want := 12, 12
	if n, err := strconv.Atoi(os.Getenv("TRAINER_TEST_KILLS")); err == nil {
		kills, want = n, n
	}
	r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	var straight []map[string][]byte
	var took []time.Duration
	for i := range victims {
		dir, began := t.TempDir(), time.Now()
		if err := victim(i, dir).Run(); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(began))
		straight = append(straight, results(t, dir))
	}
	for round := 0; kills > 0; round++ {
		i, dir := round%len(victims), filepath.Join(t.TempDir(), "run")
		for { // until a run finishes before it is killed, or all kills have been made
			c := victim(i, dir)
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			if kills > 0 {
				timer := time.AfterFunc(time.Duration(r.Int64N(int64(took[i]))), func() { c.Process.Kill() })
				defer timer.Stop()
			}
			err := c.Wait()
			if err == nil {
				break
			}
			if c.ProcessState.Exited() {
				t.Fatalf("configuration %d: a resumed run failed: %v\n%s", i, err, c.Stderr)
			}
			kills--
		}
		sameResults(t, fmt.Sprintf("configuration %d", i), results(t, dir), straight[i])
	}
	t.Logf("%d kills", want-kills)
}

func victim(i int, dir string) *exec.Cmd {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), fmt.Sprintf("%s=%d", killEnv, i), dirEnv+"="+dir)
	c.Stderr = &bytes.Buffer{}
	return c
}

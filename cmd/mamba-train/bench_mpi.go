package main

import (
	"fmt"
	"strings"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/cmd/mamba-train/internal/config"
	"mambatrain/internal/format"
	"mambatrain/trainer/mpi"
)

// allReduceBytes are the message sizes: a stop flag, an adapter's gradient, an intermediate size, and a small model's
// gradient.
var allReduceBytes = []int{4, 4 << 20, 64 << 20, 512 << 20}

// allReduceResult is the output of bench --mode allreduce --json.
type allReduceResult struct {
	Mode      string       `json:"mode"`
	Ranks     int          `json:"ranks"`
	Library   string       `json:"library"`
	AllReduce []mpi.Timing `json:"allreduce"`
	PeakRSS   int64        `json:"peak_rss_bytes"`
}

// benchAllReduce measures sums over ranks, computed as a training step sums gradients.
func (a *app) benchAllReduce(repetitions int) error {
	c, err := config.Load(config.Source{Uses: config.InSection("distributed")})
	if err != nil {
		return err
	}
	comm, err := a.join(c.Distributed, a.threads)
	if err != nil {
		return err
	}
	all, ok := comm.(*mpi.Comm)
	if !ok {
		return cli.Misusef("--mode allreduce needs several ranks: mpirun -n 2 --bind-to none mamba-train bench --mode allreduce (requires a build with -tags mpi)")
	}
	list, err := mpi.Measure(comm, repetitions, allReduceBytes...)
	if err != nil {
		comm.Abort(cli.ExitCode(err), cli.Message(err))
	}
	r := allReduceResult{"allreduce", comm.Size(), all.Version(), list, peakRSS()}
	if err := comm.Close(); err != nil || comm.Rank() > 0 {
		return err
	}
	return a.Result(r, r.text())
}

func (r allReduceResult) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s\n", format.Counted(r.Ranks, "rank"), r.Library)
	for _, t := range r.AllReduce {
		fmt.Fprintf(&b, "%10v  %10.3f ms", format.Bytes(t.Bytes), 1000*t.Seconds)
		if t.Bytes > 1024 {
			fmt.Fprintf(&b, "  %8.2f GB/s", float64(t.Bytes)/t.Seconds/1e9)
		}
		b.WriteString("\n")
	}
	return b.String()
}

package main

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/cmd/mamba-train/internal/config"
	"mambatrain/internal/format"
	"mambatrain/internal/spelling"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/trainer"
	"mambatrain/trainer/recipe"
)

type benchFlags struct {
	preset        string
	mode          string
	tokens        int
	documents     int
	steps         int
	checkpointing bool
	segment       int
	store         string
}

// benchModes lists what bench can measure.
var benchModes = []string{"lora", "full", "forward", "prefill", "decode", "allreduce"}

func (a *app) benchCommand() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure speed and memory use against the machine's peak",
		Long: `Measure speed and memory use on random weights of a published size, along with the machine's own peak.

  lora     a training step of the model page's recipe: r 8 on x_proj, embeddings, in_proj, out_proj, with the optimizer
  full     a training step of all weights
  forward  the loss of a batch
  prefill  a prompt, up to the logits of the next token
  decode   one token at a time
  allreduce  sums across ranks (mpi build, under mpirun)

Under mpirun, lora and full measure a data-parallel step: each rank computes its part of the documents.

Efficiency is useful work divided by peak. Work is 2·m·n·k operations for each matrix product that the mode needs;
lookups, the scan, the convolution, norms, the loss, and recomputation by gradient checkpointing are not counted. Peak is
an arithmetic-only loop of the same instruction on the same threads, measured between steps. For decode, efficiency is
the rate at which weights are read, divided by the rate of a read-only sweep over the same amount of memory.
The first step is not counted unless --steps is 1. Times are the median of the others.`,
		Example: `  mamba-train bench --mode lora --tokens 192 --documents 4
  mamba-train bench --preset 370m --mode forward --precision bf16 --json
  mamba-train bench --mode decode --tokens 32
  mpirun -np 2 --bind-to none mamba-train bench --mode lora --tokens 1024 --documents 4`,
		Args: cli.NoArguments,
		RunE: func(*cobra.Command, []string) error { return a.bench(f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.preset, "preset", "130m", "published model: "+strings.Join(mamba.Presets(), ", "))
	fl.StringVar(&f.mode, "mode", "lora", strings.Join(benchModes, ", "))
	fl.IntVar(&f.tokens, "tokens", 512, "tokens per step, over all documents; for decode, tokens to generate")
	fl.IntVar(&f.documents, "documents", 1, "number of documents that the tokens are divided into")
	fl.IntVar(&f.steps, "steps", 5, "number of steps to measure")
	fl.BoolVar(&f.checkpointing, "gradient-checkpointing", false, "recompute activations in the backward pass")
	fl.IntVar(&f.segment, "segment-tokens", 0, "compute gradients in segments of this many tokens; 0 = all at once")
	fl.StringVar(&f.store, "segment-store", trainer.Default().SegmentStore, "where to keep the states between segments: memory or disk")
	a.precisionFlag(cmd)
	a.deviceFlag(cmd)
	return cmd
}

// benchResult is the output of bench --json.
type benchResult struct {
	Mode            string  `json:"mode"`
	Preset          string  `json:"preset"`
	Precision       string  `json:"precision"`
	Tokens          int     `json:"tokens"`
	Documents       int     `json:"documents"`
	Steps           int     `json:"steps"`
	TokensPerSecond float64 `json:"tokens_per_second"`
	StepSeconds     float64 `json:"step_seconds"`
	GFLOPS          float64 `json:"gflops,omitempty"`
	PeakGFLOPS      float64 `json:"peak_gflops,omitempty"`
	BytesPerSecond  float64 `json:"bytes_per_second,omitempty"`
	PeakBytes       float64 `json:"peak_bytes_per_second,omitempty"`
	Efficiency      float64 `json:"efficiency"`
	SerialShare     float64 `json:"serial_share"` // share of each step's time
	PeakRSS         int64   `json:"peak_rss_bytes"`
	Kernels         string  `json:"kernels"`
	Device          string  `json:"device,omitempty"` // device that ran the steps, if not the CPU
	Threads         int     `json:"threads"`          // per rank
	Ranks           int     `json:"ranks"`
	Parameters      int     `json:"parameters"`
	Trainable       int     `json:"trainable"`
	Checkpointing   bool    `json:"gradient_checkpointing"`
	SegmentTokens   int     `json:"segment_tokens,omitempty"`
}

func (f benchFlags) check() error {
	switch {
	case !slices.Contains(benchModes, f.mode):
		return cli.Misusef("--mode must be one of %s, got %q%s", strings.Join(benchModes, ", "), f.mode, spelling.DidYouMean(f.mode, benchModes))
	case f.documents < 1 || f.tokens < 2*f.documents:
		return cli.Misusef("--tokens %d is too few for --documents %d: each document needs at least two tokens", f.tokens, f.documents)
	case f.mode == "decode" && f.tokens%f.documents != 0:
		return cli.Misusef("--tokens %d cannot be divided evenly among --documents %d, each of which generates the same number", f.tokens, f.documents)
	case f.segment < 0:
		return cli.Misusef("--segment-tokens must be at least 0, got %d", f.segment)
	case f.segment > 0 && !f.trains():
		return cli.Misusef("--segment-tokens requires --mode lora or full, got %q", f.mode)
	case f.checkpointing && !f.trains():
		return cli.Misusef("--gradient-checkpointing requires --mode lora or full, got %q", f.mode)
	case !slices.Contains([]string{"memory", "disk"}, f.store):
		return cli.Misusef("--segment-store must be memory or disk, got %q", f.store)
	case f.store == "disk" && f.segment == 0:
		return cli.Misusef("--segment-store disk has no effect without --segment-tokens")
	case f.steps < 1:
		return cli.Misusef("--steps must be at least 1, got %d", f.steps)
	}
	return nil
}

// trains reports whether the mode measures training steps.
func (f benchFlags) trains() bool { return f.mode == "lora" || f.mode == "full" }

func (a *app) bench(f benchFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	ctx, stop := cli.NotifyContext()
	defer stop()
	if a.precision == mamba.Stored { // there is no file that could decide
		a.precision = mamba.Float32
	}
	if f.mode == "full" && a.precision != mamba.Float32 {
		return cli.Misusef("--precision %s applies to frozen weights, but --mode full freezes none", a.precision)
	}
	if f.mode == "allreduce" {
		return a.benchAllReduce(f.steps)
	}
	if err := a.openBenchDevice(f.mode); err != nil {
		return err
	}
	comm, err := a.joinBench(f.mode)
	if err != nil {
		return err
	}
	b, err := newBenchmark(a, f, comm)
	if err != nil {
		return a.leave(ctx, comm, err)
	}
	run := map[string]func(context.Context) error{
		"lora": b.train, "full": b.train, "forward": b.forward, "prefill": b.prefill, "decode": b.decode,
	}[f.mode]
	if err := a.leave(ctx, comm, run(ctx)); err != nil || comm.Rank() > 0 {
		return err
	}
	r := b.result()
	return a.Result(r, r.text())
}

// openBenchDevice opens the device for modes that use one.
func (a *app) openBenchDevice(mode string) error {
	if a.device != recipe.DeviceCPU && mode == "decode" {
		return cli.Misusef("--device applies only to --mode lora, full, forward, and prefill: decoding runs on the CPU")
	}
	return a.openDevice(a.device)
}

// joinBench joins the ranks in modes that run on all ranks.
func (a *app) joinBench(mode string) (trainer.Communicator, error) {
	if mode != "lora" && mode != "full" {
		return trainer.SingleProcess{}, nil
	}
	c, err := config.Load(config.Source{Uses: config.InSection("distributed")})
	if err != nil {
		return nil, err
	}
	return a.join(c.Distributed, a.threads)
}

// benchmark is a model with random weights and its measurements. tokens and documents are those of this rank.
type benchmark struct {
	benchFlags
	comm      trainer.Communicator
	wait      *cli.Wait
	precision mamba.Precision
	device    string // runs the steps; "" is the CPU
	warn      func(error)
	model     *mamba.Model
	work      float64 // floating-point operations per step
	times     []time.Duration
	serial    []float64     // share of each step's time spent outside parallel sections
	split     time.Duration // kernel.Parallel at the start of the step
	peaks     []float64     // FLOP/s or bytes/s, measured between steps
	bytes     float64       // weights read per step, only for decode
	rss       int64
	trainable int
}

// benchSeed seeds the weights and tokens. It does not affect the speed.
const benchSeed = 1

func newBenchmark(a *app, f benchFlags, comm trainer.Communicator) (*benchmark, error) {
	if ranks := comm.Size(); f.documents%ranks != 0 || f.tokens%ranks != 0 {
		return nil, cli.Misusef("--tokens %d and --documents %d cannot be divided evenly among %d ranks", f.tokens, f.documents, ranks)
	}
	f.tokens, f.documents = f.tokens/comm.Size(), f.documents/comm.Size()
	c, err := mamba.Preset(f.preset)
	if err != nil {
		return nil, cli.Misuse(err)
	}
	if err := f.checkMemory(c, a.precision); err != nil {
		return nil, err
	}
	a.Detail("initializing random weights")
	wait := a.Wait("initializing random weights")
	collectEarly()
	// Frozen weights are stored in the same form as in a training run.
	o := mamba.LoadOptions{Precision: a.precision, Packed: f.mode != "full"}
	m, err := recipe.NewModel(c, mamba.InitMambaSSM, benchSeed, o)
	if err != nil {
		return nil, err
	}
	debug.FreeOSMemory()
	m.Checkpointing = f.checkpointing
	return &benchmark{benchFlags: f, comm: comm, wait: wait, precision: a.precision, model: m, warn: a.warnOf}, nil
}

// checkMemory returns an error if the benchmark does not fit in memory.
func (f benchFlags) checkMemory(sizes mamba.Config, precision mamba.Precision) error {
	c := recipe.Default()
	c.Precision, c.GradientCheckpointing, c.MaxTokens = string(precision), f.checkpointing, f.tokens
	c.Train.SegmentTokens, c.Train.SegmentStore = f.segment, f.store
	var need recipe.Memory
	switch f.mode {
	case "lora", "full":
		if f.mode == "lora" {
			c.LoRA = recipe.DefaultLoRA()
		}
		e, err := c.Estimate(sizes)
		if err != nil {
			return err
		}
		need = e.Memory
	case "forward":
		var err error
		if need, err = c.ForwardMemory(sizes, f.tokens); err != nil {
			return err
		}
	default: // tokens are processed in chunks
		var err error
		if need, err = c.ForwardMemory(sizes, 1); err != nil {
			return err
		}
		m, err := recipe.Outline(sizes, mamba.LoadOptions{})
		if err != nil {
			return err
		}
		need.Activations = m.GenerateMemory(f.documents, mamba.GenerateOptions{}) + 8*int64(f.tokens)
	}
	return c.Check(need, "try fewer --tokens or --documents, --gradient-checkpointing, or a smaller --preset")
}

// batch returns documents of random tokens.
func (b *benchmark) batch() ag.Batch {
	r := rand.New(rand.NewPCG(benchSeed, benchSeed))
	var batch ag.Batch
	for t := range b.tokens {
		if t*b.documents%b.tokens < b.documents && len(batch.Starts) < b.documents {
			batch.Starts = append(batch.Starts, t)
		}
		batch.Tokens = append(batch.Tokens, r.IntN(b.model.Config.VocabSize))
	}
	batch.Labels = batch.Tokens
	return batch
}

// sameBatch is a dataset that gives every rank the same micro-batch.
type sameBatch struct {
	batch ag.Batch
	ranks int
}

func (f sameBatch) Batches(int) (int, error) { return f.ranks, nil }

func (f sameBatch) Batch(context.Context, int, int) (trainer.MicroBatch, error) {
	return trainer.MicroBatch{Batch: f.batch}, nil
}

// train measures the steps of a real training run.
func (b *benchmark) train(ctx context.Context) error {
	params, ratio := b.model.Params(), 1.0
	if b.mode == "lora" {
		adapted, err := recipe.NewAdapter(b.model, lora.Default(), benchSeed)
		if err != nil {
			return err
		}
		params = append(params, adapted.Params()...)
	} else if err := trainer.SelectTrainable(params, nil); err != nil {
		return err
	}
	batch := b.batch()
	b.count(recipe.WorkOf(b.model, b.tokens, batch.Counted()).Total(), params)
	o := ag.Options{Rows: b.tokens}
	if b.segment > 0 {
		o.Rows, o.Segments = min(b.segment, b.tokens), true
		if b.store == "disk" {
			f, err := recipe.OpenSegmentFile("")
			if err != nil {
				return err
			}
			defer f.Close()
			o.SegmentStore = f
		}
	}
	program, device, err := recipe.Compile(b.model.Loss, o, b.warn)
	if err != nil {
		return err
	}
	b.device = device
	s := trainer.Default()
	s.MaxSteps, s.LoggingSteps, s.SaveSteps, s.LearningRate, s.SegmentTokens = b.uncounted()+b.steps, 0, 0, 2e-3, b.segment
	t, err := trainer.New(s, trainer.Task{
		Params: params, Program: program, Rows: o.Rows, Train: sameBatch{batch, b.comm.Size()}, LoRAPlusRatio: ratio,
		Ranks: trainer.Ranks{Comm: b.comm, Overlap: recipe.SpareCore(b.comm)},
		Observer: func(e trainer.Event) {
			switch e := e.(type) {
			case trainer.StepProgressEvent:
				b.showProgress(e)
			case trainer.StepEvent:
				b.add(e.Time)
				b.measurePeak()
				b.split = kernel.Parallel()
			}
		},
	})
	if err != nil {
		return err
	}
	b.split = kernel.Parallel()
	_, err = t.Run(ctx)
	return err
}

// forward measures computing the loss of a batch without gradients.
func (b *benchmark) forward(ctx context.Context) error {
	batch := b.batch()
	b.count(recipe.WorkOf(b.model, b.tokens, batch.Counted()).Forward, b.model.Params())
	program, device, err := recipe.Compile(b.model.Loss, ag.Options{Rows: b.tokens}, b.warn)
	if err != nil {
		return err
	}
	b.device = device
	return b.repeat(ctx, func() error {
		_, err := program.Eval(ctx, batch)
		return err
	})
}

// prefill measures computing the next-token logits of prompts.
func (b *benchmark) prefill(ctx context.Context) error {
	batch := b.batch()
	b.count(recipe.WorkOf(b.model, b.tokens, b.documents).Forward, b.model.Params())
	prompts := make([][]int, b.documents)
	for i, from := range batch.Starts {
		prompts[i] = batch.Tokens[from:batch.End(i)]
	}
	d, feeder := b.model.NewDecoder(0), recipe.DeviceFeeder(b.model, b.warn)
	first, last := make([][]int, b.documents), prompts // tokens processed by the device, and then by d
	if feeder != nil {
		b.device, last = kernel.CurrentDevice().Name(), make([][]int, b.documents)
		for i, ids := range prompts {
			n := len(ids) - 1
			first[i], last[i] = ids[:n], ids[n:]
		}
	}
	return b.repeat(ctx, func() error {
		state := b.model.NewState(b.documents)
		if feeder != nil {
			if err := feeder.Feed(ctx, state, first); err != nil {
				return err
			}
		}
		_, err := d.Next(ctx, state, last)
		return err
	})
}

// uncounted returns the number of warm-up steps. If there is only one step, it is measured without a warm-up.
func (f benchFlags) uncounted() int {
	if f.steps == 1 {
		return 0
	}
	return 1
}

// repeat runs and measures the steps.
func (b *benchmark) repeat(ctx context.Context, step func() error) error {
	for range b.uncounted() + b.steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		began := time.Now()
		b.split = kernel.Parallel()
		if err := step(); err != nil {
			return err
		}
		b.add(time.Since(began))
		b.measurePeak()
	}
	return nil
}

// decode measures generating single tokens. Each step generates several tokens in sequence, for all documents at once.
// Memory bandwidth is measured between steps.
func (b *benchmark) decode(ctx context.Context) error {
	b.count(0, b.model.Params())
	b.bytes = bytesPerToken(b.model)
	d, state := b.model.NewDecoder(0), b.model.NewState(b.documents)
	next := make([][]int, b.documents)
	for i := range next {
		next[i] = []int{i + 1}
	}
	perStep := b.tokens / b.documents
	for i := range b.uncounted() + b.steps {
		began := time.Now()
		b.split = kernel.Parallel()
		for range perStep {
			if _, err := d.Next(ctx, state, next); err != nil {
				return err
			}
		}
		b.add(time.Since(began))
		if i == 0 {
			b.rss = peakRSS() // before the bandwidth measurement, whose buffer must not count
		}
		b.peaks = append(b.peaks, kernel.PeakBandwidth(int(b.bytes), sweepTime))
		runtime.GC()
	}
	b.bytes *= float64(perStep)
	return nil
}

// bytesPerToken returns the bytes of weights that are read to generate a token, without the token's row of the embedding
// table.
func bytesPerToken(m *mamba.Model) (bytes float64) {
	for _, p := range m.Params() {
		if p != m.Embeddings.Weight || m.Tied() {
			bytes += float64(p.Bytes())
		}
	}
	return bytes
}

// Duration of the peak measurements between steps.
const (
	sweepTime = 300 * time.Millisecond
	burstTime = 100 * time.Millisecond
)

func (b *benchmark) add(t time.Duration) {
	b.times = append(b.times, t)
	b.showStep()
	b.serial = append(b.serial, max(0, 1-(kernel.Parallel()-b.split).Seconds()/t.Seconds()))
}

// showStep shows which step is being measured.
func (b *benchmark) showStep() {
	b.wait.Show("measuring, step %d of %d", min(len(b.times)+1, b.uncounted()+b.steps), b.uncounted()+b.steps)
}

// showProgress shows how much of the step is done and, after an interrupt, when it takes effect.
func (b *benchmark) showProgress(e trainer.StepProgressEvent) {
	text := fmt.Sprintf("measuring, step %d of %d, %s done", e.Step, e.Steps, format.Percent(e.Share))
	if e.Stopping {
		text += "; stopping when it is complete, or at once on a second interrupt"
	}
	b.wait.Show("%s", text)
}

func (b *benchmark) measurePeak() {
	format := kernel.Float32
	if b.precision == mamba.BF16 {
		format = kernel.BFloat16
	}
	b.peaks = append(b.peaks, kernel.PeakFLOPS(format, burstTime))
}

func (b *benchmark) count(work float64, params []*ag.Param) {
	b.showStep()
	b.work = work
	for _, p := range params {
		if p.Trainable() {
			b.trainable += p.Size()
		}
	}
}

func median[T time.Duration | float64](v []T) T {
	v = slices.Clone(v)
	slices.Sort(v)
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}

func (b *benchmark) result() benchResult {
	const giga = 1e9
	ranks := b.comm.Size()
	seconds, work, peak := median(b.times[b.uncounted():]).Seconds(), b.work*float64(ranks), median(b.peaks)*float64(ranks)
	r := benchResult{
		Mode: b.mode, Preset: b.preset, Precision: string(b.precision), Tokens: b.tokens * ranks, Documents: b.documents * ranks, Steps: b.steps, Ranks: ranks,
		TokensPerSecond: float64(b.tokens*ranks) / seconds, StepSeconds: seconds, PeakRSS: b.rss, Kernels: kernel.ISA(), Device: b.device,
		Threads: kernel.Threads(), Trainable: b.trainable, Checkpointing: b.checkpointing, SegmentTokens: b.segment, SerialShare: median(b.serial[b.uncounted():]),
	}
	for _, p := range b.model.Params() {
		r.Parameters += p.Size()
	}
	if r.PeakRSS == 0 {
		r.PeakRSS = peakRSS()
	}
	if b.mode == "decode" {
		r.BytesPerSecond, r.PeakBytes = b.bytes/seconds, peak
		r.Efficiency = r.BytesPerSecond / peak
		return r
	}
	r.GFLOPS, r.PeakGFLOPS = work/seconds/giga, peak/giga
	if b.device != "" { // the peak was measured on the CPU
		r.PeakGFLOPS = 0
		return r
	}
	r.Efficiency = r.GFLOPS / r.PeakGFLOPS
	return r
}

func (r benchResult) text() string {
	on := cmp.Or(r.Device, r.Kernels+" kernels")
	text := fmt.Sprintf("%s, %s, %s, %s in %s, %s, ", r.Mode, r.Preset, r.Precision, format.Counted(r.Tokens, "token"), format.Counted(r.Documents, "document"), on)
	if r.Ranks > 1 {
		text += fmt.Sprintf("%s with %s each\n", format.Counted(r.Ranks, "rank"), format.Counted(r.Threads, "thread"))
	} else {
		text += format.Counted(r.Threads, "thread") + "\n"
	}
	text += fmt.Sprintf("%.1f tokens/s, %.4f s per step (median of %d)\n", r.TokensPerSecond, r.StepSeconds, r.Steps)
	if r.Device != "" {
		text += fmt.Sprintf("%.1f GFLOP/s of matrix products\n", r.GFLOPS)
		return text + fmt.Sprintf("peak host memory %v", format.Bytes(r.PeakRSS))
	}
	if r.Mode == "decode" {
		text += fmt.Sprintf("%.2f GB/s of weights, %s of the %.2f GB/s that the machine can read\n", r.BytesPerSecond/1e9, format.Percent(r.Efficiency), r.PeakBytes/1e9)
	} else {
		text += fmt.Sprintf("%.1f GFLOP/s of matrix products, %s of the machine's peak of %.1f\n", r.GFLOPS, format.Percent(r.Efficiency), r.PeakGFLOPS)
	}
	text += fmt.Sprintf("%s of a step is serial: 64 threads could be at most %.0f times as fast as one\n", format.Percent(r.SerialShare), amdahl(r.SerialShare, 64))
	return text + fmt.Sprintf("peak memory %v", format.Bytes(r.PeakRSS))
}

// amdahl returns the maximum speedup of work with the given serial share on a number of threads (Amdahl 1967).
func amdahl(serial float64, threads int) float64 {
	return 1 / (serial + (1-serial)/float64(threads))
}

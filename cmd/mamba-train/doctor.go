package main

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/cpu"

	"mambatrain/autograd/kernel"
	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/internal/fault"
	"mambatrain/internal/format"
	"mambatrain/nn/weights"
	"mambatrain/trainer/recipe"
)

func (a *app) doctorCommand() *cobra.Command {
	model, device := "", ""
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check the machine, the kernels, and a model directory",
		Example: `  mamba-train doctor
  mamba-train doctor --model models/mamba-130m-hf`,
		Args: cli.NoArguments,
		RunE: func(*cobra.Command, []string) error { return a.doctor(model, device) },
	}
	cmd.Flags().StringVarP(&model, "model", "m", "", "model directory or Hugging Face id to check as well")
	cmd.Flags().StringVar(&device, "device", "", "list the machine's GPUs and run every kernel on one of them; =NAME selects it by part of its name")
	cmd.Flags().Lookup("device").NoOptDefVal = recipe.DeviceVulkan
	return cmd
}

// doctorResult is the output of doctor --json.
type doctorResult struct {
	versionInfo
	Features  []string      `json:"cpu_features"`
	Cores     [2]int        `json:"performance_and_efficiency_cores"` // 0 if all cores are alike, or if unknown
	Caches    [2]int        `json:"l1_and_l2_bytes"`                  // 0 if unknown
	Memory    int64         `json:"memory_bytes"`
	GFLOPS    float64       `json:"peak_gflops"`
	GFLOPS16  float64       `json:"peak_gflops_bf16"`
	Bandwidth float64       `json:"peak_bytes_per_second"`
	Kernels   []kernelCheck `json:"kernel_checks"`
	Model     *modelCheck   `json:"model,omitempty"`
	Device    *deviceReport `json:"device,omitempty"`
}

type kernelCheck struct {
	Name       string     `json:"name"`
	OK         bool       `json:"ok"`
	Difference cli.Finite `json:"difference"` // largest, relative to the largest value
	Rate       float64    `json:"rate"`
	Unit       string     `json:"unit"`
}

type modelCheck struct {
	Dir       string `json:"dir"`
	Tensors   int    `json:"tensors"`
	Bytes     int64  `json:"bytes"`
	Tokenizer bool   `json:"tokenizer"`
}

func (a *app) doctor(model, device string) error {
	ctx, stop := cli.NotifyContext()
	defer stop()
	r := doctorResult{versionInfo: buildVersion(), Features: cpuFeatures(), Memory: recipe.MachineMemory()}
	p := kernel.ReadProcessor()
	r.Cores, r.Caches = [2]int{p.Performance, p.Efficiency}, [2]int{p.L1, p.L2}
	errs := r.addKernels(kernel.SelfTest(peakTime, peakBytes))
	if model != "" {
		dir, err := a.modelDirectory(ctx, model)
		if err != nil {
			return cli.WithSignal(ctx, err)
		}
		if r.Model, err = checkModel(ctx, dir); err != nil {
			errs = append(errs, err)
		}
	}
	if device != "" {
		var err error
		if r.Device, err = checkDevice(device); err != nil {
			errs = append(errs, err)
		}
	}
	if err := a.Result(r, r.text()); err != nil {
		return err
	}
	if err := fault.Join(errs...); err != nil {
		return cli.WithSignal(ctx, err)
	}
	a.Say("all checks passed")
	return nil
}

// How long the machine's peaks are measured, and on a buffer that is far larger than the caches. Tests, which do not read
// the figures, change both.
var (
	peakTime  = 50 * time.Millisecond
	peakBytes = 256 << 20
)

// addKernels adds the result of the kernels' self-test and returns the failures.
func (r *doctorResult) addKernels(report kernel.Report) (errs []error) {
	r.GFLOPS, r.GFLOPS16, r.Bandwidth = report.FLOPS/1e9, report.FLOPSBF16/1e9, report.Bandwidth
	for _, c := range report.Checks {
		if r.Kernels = append(r.Kernels, kernelCheck{c.Name, c.OK, cli.Finite(c.Difference), c.Rate, c.Unit}); !c.OK {
			errs = append(errs, fmt.Errorf("the %s kernel differs from its reference loop by %.2g; set MAMBA_TRAIN_KERNELS=generic to avoid it", c.Name, c.Difference))
		}
	}
	return errs
}

// checkModel loads everything in a model directory.
func checkModel(ctx context.Context, dir string) (*modelCheck, error) {
	t, err := weights.Open(dir)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	c := &modelCheck{Dir: dir, Tensors: len(t.Names()), Bytes: t.Bytes()}
	collectEarly()
	m, err := recipe.LoadModel(ctx, dir, "", recipe.LoadOptions{})
	if err != nil {
		return c, err
	}
	if c.Tokenizer = m.Tokenizer != nil; c.Tokenizer {
		if err := recipe.CheckVocabulary(m.Tokenizer, m.Config.VocabSize); err != nil {
			return c, fmt.Errorf("model %s: %w", dir, err)
		}
	}
	notFinite, err := t.NotFinite(ctx)
	if err == nil && len(notFinite) > 0 {
		err = fmt.Errorf("model %s: %s", dir, recipe.NotFinite(notFinite, c.Tensors))
	}
	return c, err
}

// cpuFeatures lists the CPU features that the kernels use.
func cpuFeatures() []string {
	list := []string{}
	for _, f := range []struct {
		name string
		has  bool
	}{
		{"avx2", cpu.X86.HasAVX2}, {"fma", cpu.X86.HasFMA}, {"avx512f", cpu.X86.HasAVX512F}, {"avx512bw", cpu.X86.HasAVX512BW},
		{"avx512vl", cpu.X86.HasAVX512VL}, {"avx512bf16", cpu.X86.HasAVX512BF16}, {"asimd", cpu.ARM64.HasASIMD},
		{"dotprod", cpu.ARM64.HasASIMDDP}, {"i8mm", cpu.ARM64.HasI8MM}, {"sve", cpu.ARM64.HasSVE},
	} {
		if f.has {
			list = append(list, f.name)
		}
	}
	return list
}

func (r doctorResult) text() string {
	labels := len("matrix product")
	for _, k := range r.Kernels {
		labels = max(labels, len(k.Name))
	}
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "%-*s  "+format+"\n", append([]any{labels, label}, args...)...)
	}
	line("machine", "%s/%s, %s, %v of memory", runtime.GOOS, runtime.GOARCH, format.Counted(r.CPUs, "CPU"), format.Bytes(r.Memory))
	if r.Cores[1] > 0 {
		line("cores", "%d performance, %d efficiency", r.Cores[0], r.Cores[1])
	}
	if r.Caches[1] > 0 {
		line("caches", "%v and %v per core", format.Bytes(int64(r.Caches[0])), format.Bytes(int64(r.Caches[1])))
	}
	line("features", "%s", strings.Join(r.Features, " "))
	line("kernels", "%s on %s", r.versionInfo.Kernels, format.Counted(r.Threads, "thread"))
	line("peak", "%.0f GFLOP/s in float32, %.0f in bfloat16, %.1f GB/s memory bandwidth", r.GFLOPS, r.GFLOPS16, r.Bandwidth/1e9)
	for _, k := range r.Kernels {
		verdict := "ok"
		if !k.OK {
			verdict = "WRONG"
		}
		line(k.Name, "%s, difference %.1e, %.0f %s", verdict, float64(k.Difference), k.Rate, k.Unit)
	}
	if m := r.Model; m != nil {
		line("model", "%s: %s, %v, %s tokenizer", m.Dir, format.Counted(m.Tensors, "tensor"), format.Bytes(m.Bytes), map[bool]string{true: "with", false: "without a"}[m.Tokenizer])
	}
	if r.Device != nil {
		r.Device.text(line)
	}
	return b.String()
}

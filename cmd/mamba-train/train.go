package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"mambatrain/autograd/kernel"
	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/cmd/mamba-train/internal/config"
	"mambatrain/configs"
	"mambatrain/internal/format"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/nn/weights"
	"mambatrain/trainer"
	"mambatrain/trainer/checkpoint"
	"mambatrain/trainer/recipe"
)

type trainFlags struct {
	config           string
	sets             []string
	resume           []string
	overwrite        bool
	printConfig, dry bool
}

// resumeNewest is the value of --resume without an argument.
const resumeNewest = "newest"

func (a *app) trainCommand() *cobra.Command {
	var f trainFlags
	cmd := &cobra.Command{
		Use:   "train",
		Short: "Train or fine-tune a model",
		Long: `Train or fine-tune a model as configured in a YAML file. train --print-config prints one to start from;
with --verbose, it lists all keys with their defaults. Precedence: defaults < file < environment (MAMBA_TRAIN_TRAIN_LEARNING_RATE) < --set train.learning_rate=1e-3 < --threads, --precision, --device.`,
		Example: `  mamba-train train -c configs/quickstart.yaml
  mamba-train train --print-config > run.yaml
  mamba-train train -c configs/quickstart.yaml --set train.num_train_epochs=1 --set output_dir=runs/short
  mamba-train train -c configs/quickstart.yaml --resume
  mamba-train train -c configs/quickstart.yaml --resume=runs/quickstart/checkpoint-500
  mamba-train train -c configs/english-quotes.yaml --dry-run`,
		Args: cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.train(cmd, f) },
	}
	fl := cmd.Flags()
	fl.StringVarP(&f.config, "config", "c", "", "YAML file with the run's settings")
	fl.StringArrayVar(&f.sets, "set", nil, "set one configuration key, such as train.learning_rate=1e-3; may be repeated")
	fl.StringArrayVar(&f.resume, "resume", nil, "resume from the newest checkpoint; =DIR/checkpoint-100 resumes from that one; =force ignores changed settings")
	fl.Lookup("resume").NoOptDefVal = resumeNewest
	fl.BoolVar(&f.overwrite, "overwrite", false, "replace the run in output_dir")
	fl.BoolVar(&f.printConfig, "print-config", false, "print the effective configuration; without -c, print one to start from, with every key if --verbose is set")
	fl.BoolVar(&f.dry, "dry-run", false, "do everything except the training steps: print the header with memory and time estimates")
	a.precisionFlag(cmd)
	a.deviceFlag(cmd)
	cmd.MarkFlagsMutuallyExclusive("resume", "overwrite")
	return cmd
}

func (a *app) train(cmd *cobra.Command, f trainFlags) error {
	if f.printConfig && a.JSON {
		return cli.Misusef("--print-config prints YAML and cannot be used with --json")
	}
	if f.config == "" {
		if !f.printConfig {
			return cli.Misusef("--config is required\nmamba-train train --print-config prints one to start from")
		}
		if len(f.sets) == 0 {
			return a.printStarter()
		}
	}
	c, err := config.Load(config.Source{File: f.config, Sets: f.sets, Flags: commonFlags(cmd)})
	if err != nil {
		return err
	}
	if f.printConfig {
		text, err := c.YAML()
		if err == nil {
			_, err = a.Out.Write(text)
		}
		return err
	}
	how, err := f.resumption(c.OutputDir)
	if err != nil {
		return err
	}
	a.setThreads(c.Threads)
	if err := a.openDevice(c.Device); err != nil {
		return err
	}
	comm, err := a.join(c.Distributed, c.Threads)
	if err != nil {
		return err
	}
	ctx, stop := trainingContext(comm)
	defer stop()
	return a.leave(ctx, comm, a.runTraining(ctx, c, comm, how, f.dry))
}

// printStarter prints a configuration to start from, or one with every key.
func (a *app) printStarter() error {
	text := configs.Starter
	if a.Verbose {
		text = configs.Reference
	}
	_, err := a.Out.Write(text)
	return err
}

// resumption is how --resume and --overwrite treat an earlier run in the output directory.
type resumption struct {
	mode  checkpoint.Mode
	force bool // even if settings have changed
	step  *int // of the checkpoint; nil: the newest
}

func (f trainFlags) resumption(outputDir string) (r resumption, err error) {
	if f.overwrite {
		r.mode = checkpoint.Overwrite
	}
	for _, value := range f.resume {
		r.mode = checkpoint.Resume
		switch {
		case value == resumeNewest, filepath.Clean(value) == filepath.Clean(outputDir):
		case value == "force":
			r.force = true
		default:
			step, err := checkpoint.StepOf(outputDir, value)
			if err != nil {
				return r, fmt.Errorf("--resume: %w", err)
			}
			r.step = &step
		}
	}
	return r, nil
}

// runTraining runs training from a configuration to the final output.
func (a *app) runTraining(ctx context.Context, c *recipe.Config, comm trainer.Communicator, how resumption, dry bool) error {
	o := recipe.Options{
		Mode: how.mode, Force: how.force, Step: how.step, Comm: comm, Hub: a.hub(), Version: buildVersion().identity(),
		Warn: a.warnOf,
	}
	if dry && comm.Rank() > 0 {
		return nil
	}
	if err := recipe.CheckOutput(c.OutputDir, o); dry && err != nil {
		a.warnOf(err)
	} else if err != nil {
		return err
	}
	p := newProgress(a)
	o.Observer = p.observe
	collectEarly()
	a.Wait("reading the model and the data")
	defer a.EndWait()
	run, err := recipe.Prepare(ctx, *c, o)
	if err != nil {
		return err
	}
	defer run.Close()
	if dry {
		return a.dryRun(ctx, run)
	}
	p.run, p.resume = run, how.mode == checkpoint.Resume
	result, err := run.Train(ctx)
	p.end()
	if err != nil {
		return a.explainStop(ctx, c, err)
	}
	if comm.Rank() > 0 {
		return nil
	}
	return a.reportRun(run, result)
}

// explainStop adds instructions for resuming to the error of an interrupted run.
func (a *app) explainStop(ctx context.Context, c *recipe.Config, err error) error {
	var i *trainer.StopError
	if errors.Is(err, kernel.ErrDeviceLost) {
		return fmt.Errorf("%w; the same command with --resume continues from the last checkpoint", err)
	}
	if !errors.As(err, &i) {
		return err
	}
	var cause any = context.Cause(ctx)
	if cause == nil {
		cause = "stopped by another rank"
	}
	if i.Err != nil {
		return fmt.Errorf("%v after step %d, and the checkpoint could not be written: %w", cause, i.Step, i.Err)
	}
	return rewordedError{fmt.Sprintf("%v after step %d; saved in %s, the same command with --resume continues", cause, i.Step, c.OutputDir), err}
}

// rewordedError replaces the message of an error.
type rewordedError struct {
	text string
	error
}

func (e rewordedError) Error() string { return e.text }
func (e rewordedError) Unwrap() error { return e.error }

// trainResult is the output of train --json.
type trainResult struct {
	OutputDir       string      `json:"output_dir"`
	Steps           int         `json:"steps"`
	TrainLoss       cli.Finite  `json:"train_loss"`
	EvalLoss        *cli.Finite `json:"eval_loss"` // on the first set, for the weights in the output directory
	Tokens          int         `json:"tokens"`
	TokensPerSecond float64     `json:"tokens_per_second"`
	PeakRSS         int64       `json:"peak_rss_bytes"`
	WeightsStep     int         `json:"weights_step"`
	BestStep        int         `json:"best_global_step,omitempty"` // same as in trainer_state.json
	BestMetric      *cli.Finite `json:"best_metric,omitempty"`
}

func (a *app) reportRun(run *recipe.Run, r trainer.Result) error {
	c := run.Config
	out := trainResult{
		OutputDir: c.OutputDir, Steps: r.Steps, TrainLoss: cli.Finite(r.TrainLoss), Tokens: r.Tokens,
		TokensPerSecond: r.TokensPerSecond, PeakRSS: peakRSS(), WeightsStep: r.WeightsStep,
	}
	if best := r.State.BestMetric; best != nil {
		metric := cli.Finite(*best)
		out.BestStep, out.BestMetric = *r.State.BestGlobalStep, &metric
	}
	if sets := c.Data.EvalNames(); len(sets) > 0 {
		if loss, ok := r.Eval[trainer.EvalSet{Name: sets[0]}.Key("loss")]; ok {
			eval := cli.Finite(loss)
			out.EvalLoss = &eval
		}
	}
	switch {
	case r.AlreadyFinished:
		a.Say("%s is already finished: %s, train loss %.4f; nothing to do", c.OutputDir, format.Counted(r.Steps, "step"), r.TrainLoss)
	default:
		a.Say("done: %s, train loss %.4f, %.1f tokens/s, peak memory %v", format.Counted(r.Steps, "step"), r.TrainLoss, r.TokensPerSecond, format.Bytes(out.PeakRSS))
		if r.StopReason != "" {
			a.Say("stopped early: %s", r.StopReason)
		}
		a.Say("wrote %s: %s", c.OutputDir, resultFiles(run))
	}
	if out.WeightsStep != out.Steps && out.BestMetric != nil {
		a.Say("the weights are from step %d, which had the best %s: %.4f", out.WeightsStep, c.Train.MetricForBestModel, *out.BestMetric)
	}
	a.reportReaders(run)
	a.Suggest(nextCommand(run)...)
	return a.Result(out, "")
}

// reportReaders prints which programs cannot load the adapter as it is.
func (a *app) reportReaders(run *recipe.Run) {
	if run.Adapter == nil {
		return
	}
	readers, err := recipe.Readers(run.Config.OutputDir, run.Model.Config)
	if err != nil {
		a.Warn("%v", err)
		return
	}
	var refused []string
	for _, v := range readers {
		if v.Support != lora.Works {
			name, _, _ := strings.Cut(v.Reader, " (")
			refused = append(refused, name)
		}
	}
	why := fmt.Sprintf("(mamba-train info --adapter %s explains why)", cli.Quote(run.Config.OutputDir))
	switch {
	case run.Adapter.Config.InitialState:
		a.Say("only mamba-train can use this adapter, and it cannot be merged %s", why)
	case len(refused) > 0:
		a.Say("before the adapter is merged, these programs cannot use it or use only part of it: %s %s", strings.Join(refused, ", "), why)
	}
}

// resultFiles lists the most important output files.
func resultFiles(run *recipe.Run) string {
	if run.Adapter != nil {
		return strings.Join([]string{lora.WeightsFile, lora.ConfigFile, checkpoint.StateFile, "loss.svg"}, ", ")
	}
	return strings.Join([]string{weights.ModelFile, mamba.ConfigFile, checkpoint.StateFile, "loss.svg"}, ", ")
}

// nextCommand returns the command to suggest after training.
func nextCommand(run *recipe.Run) []string {
	dir := run.Config.OutputDir
	switch {
	case run.Adapter != nil && run.Config.Data.Messages != "":
		return []string{"generate", "--adapter", dir, "--chat"}
	case run.Adapter != nil && run.Adapter.Config.InitialState: // which merge refuses
		return []string{"generate", "--adapter", dir, "--prompt", "TEXT"}
	case run.Adapter != nil:
		return []string{"merge", "--adapter", dir, "--output", strings.TrimRight(dir, "/") + "-merged"}
	case run.Config.Data.Messages != "":
		return []string{"generate", "--model", dir, "--chat"}
	case run.Tokenizer != nil:
		return []string{"generate", "--model", dir, "--prompt", "TEXT"}
	}
	return []string{"generate", "--model", dir, "--prompt-ids", "1,2,3"}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"mambatrain/trainer"
	"mambatrain/trainer/checkpoint"
)

type trainFlags struct {
	config           string
	sets             []string
	resume           string
	overwrite        bool
	printConfig, dry bool
}

func (a *app) trainCommand() *cobra.Command {
	var f trainFlags
	cmd := &cobra.Command{
		Use:   "train",
		Short: "Train or fine-tune a model",
		Long: `Train or fine-tune a model as a YAML file says. configs/reference.yaml lists all keys with their defaults.
Precedence: defaults < file < environment (MAMBA_TRAIN_TRAIN_LEARNING_RATE) < --set train.learning_rate=1e-3.`,
		Example: `  mamba-train train -c configs/quickstart.yaml
  mamba-train train -c configs/quickstart.yaml --set train.num_train_epochs=1 --set output_dir=runs/short
  mamba-train train -c configs/quickstart.yaml --resume
  mamba-train train -c configs/english-quotes.yaml --dry-run`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.train(cmd, f) },
	}
	fl := cmd.Flags()
	fl.StringVarP(&f.config, "config", "c", "", "YAML file with the run's settings")
	fl.StringArrayVar(&f.sets, "set", nil, "set one key: train.learning_rate=1e-3; may be repeated")
	fl.StringVar(&f.resume, "resume", "", "continue from the newest checkpoint; =force although settings have changed")
	fl.Lookup("resume").NoOptDefVal = "same"
	fl.BoolVar(&f.overwrite, "overwrite", false, "replace the run that output_dir holds")
	fl.BoolVar(&f.printConfig, "print-config", false, "print the effective configuration and do nothing else")
	fl.BoolVar(&f.dry, "dry-run", false, "do everything but the steps: header, memory and time estimate")
	a.precisionFlag(cmd)
	needFlags(cmd, "config")
	cmd.MarkFlagsMutuallyExclusive("resume", "overwrite")
	return cmd
}

func (a *app) train(cmd *cobra.Command, f trainFlags) error {
	for _, name := range []string{"threads", "precision"} {
		if fl := cmd.Flag(name); fl.Changed {
			f.sets = append(f.sets, name+"="+fl.Value.String())
		}
	}
	c, err := loadConfig(configSource{file: f.config, sets: f.sets})
	if err != nil {
		return err
	}
	if f.printConfig {
		text, err := c.yaml()
		if err == nil {
			_, err = a.out.Write(text)
		}
		return err
	}
	mode, err := f.mode()
	if err != nil {
		return err
	}
	a.setThreads(c.Threads)
	comm, err := a.join(c.Distributed, c.Threads)
	if err != nil {
		return err
	}
	ctx, stop := trainingContext(comm)
	defer stop()
	return a.leave(ctx, comm, a.runTraining(ctx, c, comm, mode, f))
}

func (f trainFlags) mode() (checkpoint.Mode, error) {
	switch {
	case f.overwrite:
		return checkpoint.Overwrite, nil
	case f.resume == "":
		return checkpoint.Fresh, nil
	case f.resume == "same", f.resume == "force":
		return checkpoint.Resume, nil
	}
	return 0, misusef("--resume takes no value or force, got %q", f.resume)
}

// runTraining is a training run from the configuration to the result.
func (a *app) runTraining(ctx context.Context, c *Config, comm trainer.Communicator, mode checkpoint.Mode, f trainFlags) (err error) {
	if mode == checkpoint.Fresh && !f.dry && comm.Rank() == 0 {
		if err := misuse(checkpoint.CheckFresh(checkpoint.Disk{}, c.OutputDir)); err != nil {
			return err
		}
	}
	if f.dry && comm.Rank() > 0 {
		return nil
	}
	j, err := prepare(ctx, a, c)
	if err != nil {
		return err
	}
	defer j.close()
	j.comm = comm
	if f.dry {
		return j.dryRun(ctx)
	}
	if err := j.open(mode); err != nil {
		return err
	}
	if j.rows, err = trainer.FromRank(comm, 0, j.rows); err != nil { // machines may differ in memory
		return err
	}
	if err := j.compile(); err != nil {
		return err
	}
	task, err := j.task()
	if err != nil {
		return err
	}
	task.Force = f.resume == "force"
	if j.trainer, err = trainer.New(c.Train, task); err != nil {
		return err
	}
	result, err := j.trainer.Run(ctx)
	j.progress.end()
	if err != nil {
		return a.explainStop(ctx, c, err)
	}
	if comm.Rank() > 0 {
		return nil
	}
	return a.reportRun(c, j, result)
}

// explainStop says how an interrupted run goes on.
func (a *app) explainStop(ctx context.Context, c *Config, err error) error {
	var i *trainer.Interrupted
	if !errors.As(err, &i) {
		return err
	}
	var cause any = context.Cause(ctx)
	if cause == nil {
		cause = "stopped on another rank"
	}
	if i.Err != nil {
		return fmt.Errorf("%v after step %d, and the checkpoint could not be written: %w", cause, i.Step, i.Err)
	}
	return explained{fmt.Sprintf("%v after step %d; saved in %s, the same command with --resume goes on", cause, i.Step, c.OutputDir), err}
}

// explained is an error in other words.
type explained struct {
	text string
	error
}

func (e explained) Error() string { return e.text }
func (e explained) Unwrap() error { return e.error }

// trainResult is what train prints with --json.
type trainResult struct {
	OutputDir       string  `json:"output_dir"`
	Steps           int     `json:"steps"`
	TrainLoss       finite  `json:"train_loss"`
	EvalLoss        *finite `json:"eval_loss"` // of the first set
	Tokens          int     `json:"tokens"`
	TokensPerSecond float64 `json:"tokens_per_second"`
	PeakRSS         int64   `json:"peak_rss_bytes"`
}

func (a *app) reportRun(c *Config, j *job, r trainer.Result) error {
	out := trainResult{
		OutputDir: c.OutputDir, Steps: r.Steps, TrainLoss: finite(r.TrainLoss), Tokens: r.Tokens,
		TokensPerSecond: r.TokensPerSecond, PeakRSS: peakRSS(),
	}
	if sets := c.Data.evalNames(); len(sets) > 0 {
		if loss, ok := r.Eval[trainer.EvalSet{Name: sets[0]}.Key("loss")]; ok {
			eval := finite(loss)
			out.EvalLoss = &eval
		}
	}
	switch {
	case r.AlreadyFinished:
		a.say("%s is finished: %d steps, train loss %.4f; nothing to do", c.OutputDir, r.Steps, r.TrainLoss)
	default:
		a.say("done: %s, train loss %.4f, %.1f tokens/s, peak memory %v", counted(r.Steps, "step"), r.TrainLoss, r.TokensPerSecond, byteSize(out.PeakRSS))
		if r.StopReason != "" {
			a.say("stopped early: %s", r.StopReason)
		}
		a.say("wrote %s: %s", c.OutputDir, j.resultFiles())
	}
	a.say("next: %s", j.nextCommand())
	return a.result(out, "")
}

// now is the clock of runs.
var now = time.Now

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/internal/atomicfile"
	"mambatrain/internal/chart"
	"mambatrain/internal/inputfile"
	"mambatrain/studio"
	"mambatrain/studio/runs"
	"mambatrain/trainer/checkpoint"
	"mambatrain/trainer/plot"
	"mambatrain/trainer/recipe"
)

func (a *app) plotCommand() *cobra.Command {
	output := ""
	cmd := &cobra.Command{
		Use:   "plot RUN…",
		Short: "Plot loss, learning rate, and gradient norm of one or more runs",
		Long: `Plot loss, learning rate, and gradient norm of one or more runs. An output that ends in .html is a report: a single file
with the studio's page, which shows curves, samples, settings, and model cards and opens without a server.`,
		Example: `  mamba-train plot runs/quickstart
  mamba-train plot runs/a runs/b --output compare.png
  mamba-train plot runs/a runs/b --output report.html
  mamba-train plot runs/a/checkpoint-500/trainer_state.json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cli.Misusef("name the output directory of at least one run (%s --help)", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(_ *cobra.Command, runs []string) error { return a.plot(runs, output) },
	}
	cmd.Flags().StringVarP(&output, "output", "o", "loss.svg", "plot or report to write: .svg, .png, or .html")
	return cmd
}

func (a *app) plot(dirs []string, output string) error {
	if strings.EqualFold(filepath.Ext(output), ".html") {
		return a.report(dirs, output)
	}
	format, err := chart.FormatOf(output)
	if err != nil {
		return cli.Misusef("--output: %v; for a report, use .html", err)
	}
	names, err := distinctNames(dirs)
	if err != nil {
		return err
	}
	histories := make([]plot.History, len(dirs))
	for i, run := range dirs {
		if histories[i], err = history(run); err != nil {
			return err
		}
		if err := a.checkDrawable(run, histories[i]); err != nil {
			return err
		}
		histories[i].Name = names[i]
	}
	err = atomicfile.WriteOutput(output, func(w io.Writer) error { return plot.Write(w, format, histories...) })
	if err != nil {
		return err
	}
	return a.Result(map[string]any{"output": output, "runs": len(dirs)}, "wrote "+output)
}

// report writes the studio's page with the given runs embedded.
func (a *app) report(dirs []string, output string) error {
	for i, dir := range dirs {
		if err := cli.Exists("run", dir); err != nil {
			return err
		}
		if filepath.Base(dir) == checkpoint.StateFile {
			dirs[i] = filepath.Dir(dir)
		}
	}
	library, err := runs.Open(dirs...)
	if err != nil {
		return err
	}
	n := len(library.List())
	if n == 0 {
		return cli.Misusef("no run found in %s", strings.Join(dirs, ", "))
	}
	if err := atomicfile.WriteOutput(output, func(w io.Writer) error { return studio.WriteReport(w, library) }); err != nil {
		return err
	}
	return a.Result(map[string]any{"output": output, "runs": n}, "wrote "+output)
}

// history reads a run: a trainer_state.json, or an output directory that has one, possibly in a checkpoint.
func history(run string) (plot.History, error) {
	if err := cli.Exists("run", run); err != nil {
		return plot.History{}, err
	}
	path, err := stateFile(run)
	if err != nil {
		return plot.History{}, err
	}
	b, err := inputfile.Read(path, maxState)
	if err != nil {
		return plot.History{}, err
	}
	state, err := checkpoint.ParseState(b)
	if err != nil && path == run {
		return plot.History{}, fmt.Errorf("%s: want a trainer_state.json or the directory of a run: %w", path, err)
	}
	if err != nil {
		return plot.History{}, fmt.Errorf("%s: %w", path, err)
	}
	if len(state.LogHistory) == 0 {
		return plot.History{}, fmt.Errorf("%s: log_history has no rows, so there is nothing to plot", path)
	}
	dir := run
	if path == run {
		dir = filepath.Dir(run)
	}
	return recipe.History(dir, "", state), nil
}

// checkDrawable returns an error if there is nothing to plot. If the run was too short to be logged, it prints only a
// warning.
func (a *app) checkDrawable(run string, h plot.History) error {
	if !h.Empty() {
		return nil
	}
	if slices.ContainsFunc(h.Rows, func(r checkpoint.Row) bool { _, ended := r["train_loss"]; return ended }) {
		a.Warn("%s: the run is shorter than train.logging_steps, so there is nothing to plot", run)
		return nil
	}
	return fmt.Errorf("%s: no row of log_history has a step and a number for loss, learning_rate, or grad_norm, so there is nothing to plot", run)
}

// maxState is enough for a trainer_state.json with millions of rows.
const maxState = 1 << 30

// stateFile returns run itself if it is a file. In a directory, it returns the final state or, without one, that of the newest
// checkpoint.
func stateFile(run string) (string, error) {
	if info, err := os.Stat(run); err == nil && !info.IsDir() {
		return run, nil
	}
	dirs := []string{run}
	steps, err := checkpoint.Steps(run)
	if err != nil {
		return "", err
	}
	for _, step := range steps {
		dirs = append(dirs, filepath.Join(run, fmt.Sprintf("checkpoint-%d", step)))
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, checkpoint.StateFile)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", cli.Misusef("run %s: no %s in it or in its checkpoints", run, checkpoint.StateFile)
}

// distinctNames names runs by their folders, with as many parent folders as needed to tell them apart. A run given twice is
// numbered.
func distinctNames(runs []string) ([]string, error) {
	folders := make([][]string, len(runs))
	for i, run := range runs {
		path, err := filepath.Abs(run)
		if err != nil {
			return nil, err
		}
		if filepath.Base(path) == checkpoint.StateFile {
			path = filepath.Dir(path)
		}
		folders[i] = strings.Split(filepath.ToSlash(path), "/")
	}
	names, given := make([]string, len(runs)), map[string]int{}
	for i, parts := range folders {
		n := 1
		for _, other := range folders {
			if !slices.Equal(parts, other) {
				n = max(n, commonTail(parts, other)+1)
			}
		}
		names[i] = strings.Join(parts[len(parts)-min(n, len(parts)):], "/")
		given[names[i]]++
		if k := given[names[i]]; k > 1 {
			names[i] += fmt.Sprintf(" (%d)", k)
		}
	}
	return names, nil
}

// commonTail returns the number of trailing elements that two lists have in common.
func commonTail(a, b []string) (n int) {
	for n < min(len(a), len(b)) && a[len(a)-1-n] == b[len(b)-1-n] {
		n++
	}
	return n
}

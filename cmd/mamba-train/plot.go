package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/internal/atomicfile"
	"mambatrain/internal/inputfile"
	"mambatrain/trainer/checkpoint"
	"mambatrain/trainer/plot"
)

func (a *app) plotCommand() *cobra.Command {
	output := ""
	cmd := &cobra.Command{
		Use:   "plot RUN…",
		Short: "Draw loss, learning rate and gradient norm of one or several runs",
		Example: `  mamba-train plot runs/quickstart
  mamba-train plot runs/a runs/b --output compare.png`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cli.Misusef("name the output directory of at least one run (%s --help)", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(_ *cobra.Command, runs []string) error { return a.plot(runs, output) },
	}
	cmd.Flags().StringVarP(&output, "output", "o", "loss.svg", "file to write: .svg or .png")
	return cmd
}

func (a *app) plot(runs []string, output string) error {
	format := strings.TrimPrefix(filepath.Ext(output), ".")
	if format != "svg" && format != "png" {
		return cli.Misusef("--output must end in .svg or .png, got %q", output)
	}
	var histories []plot.History
	for _, dir := range runs {
		rows, err := history(dir)
		if err != nil {
			return err
		}
		histories = append(histories, plot.History{Name: filepath.Base(filepath.Clean(dir)), Rows: rows})
	}
	err := atomicfile.WriteOutput(output, func(w io.Writer) error { return plot.Write(w, format, histories...) })
	if err != nil {
		return err
	}
	return a.Result(map[string]any{"output": output, "runs": len(runs)}, "wrote "+output)
}

// history reads the rows of a run: of its result, or of its newest checkpoint.
func history(dir string) ([]checkpoint.Row, error) {
	if err := cli.Exists("run", dir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, checkpoint.StateFile)
	b, err := inputfile.Read(path, inputfile.MaxTokenizer)
	if errors.Is(err, fs.ErrNotExist) {
		var newest fs.FileInfo
		found, _ := filepath.Glob(filepath.Join(dir, "checkpoint-*", checkpoint.StateFile))
		for _, f := range found {
			if info, err := os.Stat(f); err == nil && (newest == nil || info.ModTime().After(newest.ModTime())) {
				newest, path = info, f
			}
		}
		b, err = inputfile.Read(path, inputfile.MaxTokenizer)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, cli.Misusef("run %s: no %s in it or in a checkpoint", dir, checkpoint.StateFile)
	}
	if err != nil {
		return nil, err
	}
	state, err := checkpoint.ParseState(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return state.LogHistory, nil
}

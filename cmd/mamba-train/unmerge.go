package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/internal/format"
)

func (a *app) unmergeCommand() *cobra.Command {
	var f convertFlags
	cmd := &cobra.Command{
		Use:   "unmerge",
		Short: "Undo a merge: restore the base model's weights",
		Long: `Undo a merge. Every tensor of the merged model is first checked against the base model and the adapters; then the
base's weights are restored bit for bit. A model that has changed since the merge is refused, with the names of the tensors.`,
		Example: "  mamba-train unmerge --model runs/quickstart-merged --adapter runs/quickstart --output runs/base-again",
		Args:    cli.NoArguments,
		RunE:    func(*cobra.Command, []string) error { return a.unmerge(f) },
	}
	cmd.Flags().StringVarP(&f.model, "model", "m", "", "merged model directory")
	addAdapters(cmd, &f.adapters)
	cmd.Flags().StringVar(&f.base, "base", "", "base model; default: the adapter's")
	cmd.Flags().StringVarP(&f.output, "output", "o", "", "model directory to write")
	addShardFlag(cmd, &f.shard)
	cmd.Flags().BoolVar(&f.force, "force", false, "replace existing files")
	cli.RequireFlags(cmd, "model", "adapter", "output")
	return cmd
}

func (a *app) unmerge(f convertFlags) error {
	shard, err := shardBytes(f.shard)
	if err != nil {
		return err
	}
	ctx, stop := cli.NotifyContext()
	defer stop()
	dir, err := a.modelDirectory(ctx, f.model)
	if err != nil {
		return cli.WithSignal(ctx, err)
	}
	collectEarly()
	m, err := a.openMerge(ctx, f.base, f.adapters)
	if err != nil {
		return cli.WithSignal(ctx, err)
	}
	defer m.Close()
	if err := cli.CheckOutput(f.output, cli.Policy(f.force), append(m.Inputs(), dir)...); err != nil {
		return err
	}
	a.Wait("writing %s", f.output)
	n := 0
	err = cli.Stage(ctx, f.output, cli.Policy(f.force), func(tmp string) (err error) {
		n, err = m.Undo(ctx, dir, tmp, shard)
		return err
	})
	if err != nil {
		return cli.WithSignal(ctx, err)
	}
	return a.Result(weightsResult{f.output, n}, fmt.Sprintf("wrote %s: %s, identical to %s", f.output, format.Counted(n, "tensor"), m.Base))
}

package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/cmd/mamba-train/internal/start"
	"mambatrain/studio"
	"mambatrain/studio/models"
	"mambatrain/studio/runs"
)

type studioFlags struct {
	dirs     []string
	listen   string
	readOnly bool
}

func (a *app) studioCommand() *cobra.Command {
	f := studioFlags{dirs: []string{"runs"}}
	cmd := &cobra.Command{
		Use:   "studio",
		Short: "Serve a local page to view and start runs and try their models",
		Long: `Serve a local page that shows the runs in the given folders, during and after training, starts, stops, and resumes runs,
and lets you try the trained models. Open the address that is printed: it contains a token, which is required for access.
Only this machine can reach the server, unless --listen gives another address.`,
		Example: `  mamba-train studio
  mamba-train studio --dir runs --dir ../old-runs --read-only
  mamba-train studio --listen 127.0.0.1:8765 --json`,
		Args: cli.NoArguments,
		RunE: func(*cobra.Command, []string) error { return a.studio(f) },
	}
	cmd.Flags().StringArrayVar(&f.dirs, "dir", f.dirs, "folder to show and start runs in; may be repeated, and need not exist yet")
	cmd.Flags().StringVar(&f.listen, "listen", "127.0.0.1:0", "address to listen on; port 0 = any free port")
	cmd.Flags().BoolVar(&f.readOnly, "read-only", false, "only show runs: do not start, stop, or try anything")
	return cmd
}

func (a *app) studio(f studioFlags) error {
	library, err := runs.Open(f.dirs...)
	if err != nil {
		return err
	}
	s := studio.New(studio.Options{Library: library, ReadOnly: f.readOnly, Data: studioData(append([]string{"."}, f.dirs...))})
	if !f.readOnly {
		program, err := os.Executable()
		if err != nil {
			return err
		}
		start.New(program, library).AddTo(s)
		models.New(library).AddTo(s)
	}
	l, url, err := s.Listen(f.listen)
	if err != nil {
		return cli.Misuse(fmt.Errorf("--listen: %w", err))
	}
	defer l.Close()
	if !s.Local() {
		a.Warn("other machines can reach the page, and its token is sent unencrypted: prefer ssh -L to a local address")
	}
	if err := a.Result(map[string]string{"url": url}, url); err != nil {
		return err
	}
	a.Say("open this address in a browser; Ctrl-C stops the server, and runs continue")
	ctx, stop := cli.NotifyContext()
	defer stop()
	return s.Serve(ctx, l)
}

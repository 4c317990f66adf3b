package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"mambatrain/autograd/kernel"
	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/internal/format"
)

type versionInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	Kernels  string `json:"kernels"`
	Threads  int    `json:"threads"`
	CPUs     int    `json:"cpus"`
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version, build, and kernels in use",
		Example: "  mamba-train version --json",
		Args:    cli.NoArguments,
		RunE: func(*cobra.Command, []string) error {
			v := buildVersion()
			text := fmt.Sprintf("mamba-train %s\nbuilt with   %s for %s\nkernels      %s, %s", v.Version, v.Go, v.Platform, v.Kernels, format.Counted(v.Threads, "thread"))
			if v.Revision != "" {
				text += "\nrevision     " + v.Revision
			}
			return a.Result(v, text)
		},
	}
}

// identity returns the parts of the version that must be the same on all ranks of a run.
func (v versionInfo) identity() string {
	return fmt.Sprintf("%s %s (%s, %s)", v.Version, v.Revision, v.Go, v.Platform)
}

func buildVersion() versionInfo {
	v := versionInfo{
		Version: "devel", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Kernels: kernel.ISA(), Threads: kernel.Threads(), CPUs: runtime.NumCPU(),
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if m := info.Main.Version; m != "" && m != "(devel)" {
		v.Version = m
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

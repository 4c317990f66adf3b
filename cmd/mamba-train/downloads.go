package main

import (
	"time"

	"github.com/schollz/progressbar/v3"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/data"
	"mambatrain/data/hub"
	"mambatrain/internal/format"
	"mambatrain/trainer/recipe"
)

// hub returns the client for the hub named by the environment. It shows the progress of downloads.
func (a *app) hub() *hub.Client {
	h := hub.New()
	h.Progress = func(file string, done, total int64) { a.downloads.report(a, file, done, total) }
	return h
}

// dataConfig returns the data section, with the hub client that resolves names.
func (a *app) dataConfig(c *recipe.Config) data.Config {
	o := c.Data.Config
	o.Hub = a.hub()
	o.Warn = a.warnOf
	return o
}

// warnOf prints a warning from a package.
func (a *app) warnOf(err error) { a.Warn("%v", err) }

// downloads shows the progress of downloads: a bar per file on a terminal, otherwise a line per file.
type downloads struct {
	file string
	bar  *progressbar.ProgressBar
}

func (d *downloads) report(a *app, file string, done, total int64) {
	if a.Quiet {
		return
	}
	if file != d.file {
		d.end()
		d.file = file
		a.PauseWait(true) // for the bar
		if !cli.IsTerminal(a.Err) {
			a.PauseWait(false)
			a.Say("downloading %s (%v)", file, format.Bytes(max(0, total)))
			return
		}
		d.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(a.Err), progressbar.OptionShowBytes(true),
			progressbar.OptionSetDescription(file), progressbar.OptionClearOnFinish(), progressbar.OptionUseANSICodes(true), progressbar.OptionThrottle(100*time.Millisecond))
	}
	if d.bar != nil {
		d.bar.Set64(done)
	}
	if done == total {
		d.end()
		a.PauseWait(false)
	}
}

// end removes the bar, even if a download was aborted.
func (d *downloads) end() {
	if d.bar != nil {
		d.bar.Clear()
		d.bar = nil
	}
}

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

// hub returns the hub that the environment names; it shows how downloads get on.
func (a *app) hub() *hub.Client {
	h := hub.New()
	h.Progress = func(file string, done, total int64) { a.downloads.report(a, file, done, total) }
	return h
}

// dataConfig returns the data section, with the hub to look up names in.
func (a *app) dataConfig(c *recipe.Config) data.Config {
	o := c.Data.Config
	o.Hub = a.hub()
	o.Warn = a.warnOf
	return o
}

// warnOf prints what a package warns of.
func (a *app) warnOf(err error) { a.Warn("%v", err) }

// downloads shows how downloads get on: a bar for each file on a terminal, a line for each elsewhere.
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
		if !cli.IsTerminal(a.Err) {
			a.Say("fetching %s (%v)", file, format.Bytes(max(0, total)))
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
	}
}

// end takes the bar away, also that of a download that was broken off.
func (d *downloads) end() {
	if d.bar != nil {
		d.bar.Clear()
		d.bar = nil
	}
}

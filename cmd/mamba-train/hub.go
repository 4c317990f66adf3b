package main

import (
	"context"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"

	"mambatrain/data"
	"mambatrain/data/hub"
	"mambatrain/mamba"
	"mambatrain/mamba/torchfile"
	"mambatrain/nn/weights"
)

// resolveModel finds a model's directory: a path, or a Hugging Face id that is in the local cache or is fetched.
func (a *app) resolveModel(ctx context.Context, name string) (string, error) {
	if _, err := os.Stat(name); err == nil {
		return name, nil
	}
	if !hub.IsID(name) || !strings.Contains(name, "/") {
		return "", misusef("model %s: no such directory", name)
	}
	dir, err := a.hub().Fetch(ctx, hub.Request{Kind: hub.Model, ID: name, Want: isModelFile, Enough: isWholeModel, Choose: preferSafetensors})
	if err != nil {
		return "", fmt.Errorf("no directory %s; %w", name, err)
	}
	return dir, nil
}

// isModelFile says which files of a repository are fetched.
func isModelFile(name string) bool {
	if path.Dir(name) != "." {
		return false
	}
	return slices.Contains(tokenizerFiles, name) || name == mamba.ConfigFile || name == mamba.GenerationConfigFile ||
		isTorchFile(name) || strings.HasSuffix(name, ".safetensors") || name == weights.IndexFile
}

func isTorchFile(name string) bool {
	shard, _ := path.Match("pytorch_model-*-of-*.bin", name)
	return shard || name == torchfile.ModelFile || name == torchfile.IndexFile
}

// isWholeModel says whether the cache holds what a model needs, so that nobody has to ask the hub.
func isWholeModel(names []string) bool {
	has := func(name string) bool { return slices.Contains(names, name) }
	shards := slices.ContainsFunc(names, func(n string) bool { return strings.Contains(n, "-of-") }) && hub.AllShards(names)
	complete := has(weights.ModelFile) || has(torchfile.ModelFile) || (has(weights.IndexFile) || has(torchfile.IndexFile)) && shards
	return complete && has(mamba.ConfigFile)
}

// preferSafetensors leaves torch's files out where the same weights come as safetensors.
func preferSafetensors(names []string) []string {
	if !slices.Contains(names, weights.ModelFile) && !slices.Contains(names, weights.IndexFile) {
		return names
	}
	return slices.DeleteFunc(names, isTorchFile)
}

// hub returns the hub that the environment names; it shows how downloads get on.
func (a *app) hub() *hub.Client {
	h := hub.New()
	h.Progress = func(file string, done, total int64) { a.downloads.report(a, file, done, total) }
	return h
}

// dataOptions are the options of a data section, for data that the hub may have.
func (a *app) dataOptions(c *Config) data.Config {
	o := c.Data.Config
	o.Hub = a.hub()
	return o
}

// downloads shows how downloads get on: a bar for each file on a terminal, a line for each elsewhere.
type downloads struct {
	file string
	bar  *progressbar.ProgressBar
}

func (d *downloads) report(a *app, file string, done, total int64) {
	if a.quiet {
		return
	}
	if file != d.file {
		d.end()
		d.file = file
		if !isTerminal(a.err) {
			a.say("fetching %s (%v)", file, byteSize(max(0, total)))
			return
		}
		d.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(a.err), progressbar.OptionShowBytes(true),
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

// cachedModel returns the directory of a model that is in the local cache; nothing is fetched.
func cachedModel(id string) (string, bool) {
	if !hub.IsID(id) || !strings.Contains(id, "/") {
		return "", false
	}
	h := hub.New()
	h.Offline = true
	dir, err := h.Fetch(context.Background(), hub.Request{
		Kind: hub.Model, ID: id, Want: func(name string) bool { return name == mamba.ConfigFile },
	})
	return dir, err == nil
}

package main

import (
	"github.com/spf13/cobra"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/cmd/mamba-train/internal/config"
	"mambatrain/mamba"
)

// completions registers shell completion for all flags whose value is a word from a list.
func completions(root *cobra.Command) {
	var keys []string
	for _, k := range config.Keys() {
		keys = append(keys, k.Path+"=")
	}
	words := map[string][]string{
		"precision": mamba.Precisions(),
		"device":    {"cpu", "auto", "vulkan"},
		"dtype":     {"float32", "bfloat16", "float16"},
		"preset":    mamba.Presets(),
		"mode":      benchModes,
		"init":      {"mamba_ssm", "hf"},
		"type":      mamba.GGUFTypes(),
		"resume":    {"force"},
		"set":       keys,

		"truncation":    {"keep_start", "split", "error"},
		"encoding":      {"utf-8", "latin-1", "windows-1252", "utf-16"},
		"segment-store": {"memory", "disk"},
	}
	formats := map[string][]string{"export": {"hf", "gguf"}, "graph": {"svg", "dot"}} // other --format flags are input formats
	for _, cmd := range root.Commands() {
		completions(cmd)
		words["format"] = formats[cmd.Name()]
		if words["format"] == nil {
			words["format"] = []string{"auto", "parquet", "arrow", "jsonl", "json", "csv", "text"}
		}
		for flag, values := range words {
			if cmd.Flags().Lookup(flag) != nil {
				cli.Complete(cmd, flag, values...)
			}
		}
		if cmd.Flags().Lookup("config") != nil && cmd.Name() != "init" {
			if err := cmd.MarkFlagFilename("config", "yaml", "yml"); err != nil {
				panic(err)
			}
		}
	}
}

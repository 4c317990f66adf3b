package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// hubID is the form of a Hugging Face id: owner/name.
var hubID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$`)

// resolveModel finds a model's directory: a path, or a Hugging Face id that is in the local cache.
func resolveModel(name string) (string, error) {
	if _, err := os.Stat(name); err == nil {
		return name, nil
	}
	if !hubID.MatchString(name) {
		return "", misusef("model %s: no such directory", name)
	}
	if dir, ok := cachedSnapshot("models", name); ok {
		return dir, nil
	}
	return "", misusef("model %s: no such directory, and not in the Hugging Face cache %s; download it there (hf download %s) or name a directory", name, hubCache(), name)
}

// cachedSnapshot returns the directory that holds the main revision of a repository in the local cache.
func cachedSnapshot(kind, id string) (string, bool) {
	repo := filepath.Join(hubCache(), kind+"--"+strings.ReplaceAll(id, "/", "--"))
	commit, err := os.ReadFile(filepath.Join(repo, "refs", "main"))
	if err != nil {
		return "", false
	}
	dir := filepath.Join(repo, "snapshots", strings.TrimSpace(string(commit)))
	info, err := os.Stat(dir)
	return dir, err == nil && info.IsDir()
}

// hubCache is where the Hugging Face libraries keep what they download.
func hubCache() string {
	if dir := os.Getenv("HF_HUB_CACHE"); dir != "" {
		return dir
	}
	if dir := os.Getenv("HF_HOME"); dir != "" {
		return filepath.Join(dir, "hub")
	}
	base := os.Getenv("XDG_CACHE_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			home = "."
		}
		base = filepath.Join(home, ".cache")
	}
	return filepath.Join(base, "huggingface", "hub")
}

package hub

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mambatrain/internal/homepath"
)

// New returns a client configured by the environment, with the variables and rules of huggingface_hub: HF_ENDPOINT;
// HF_TOKEN or HF_TOKEN_PATH; HF_HOME, HF_HUB_CACHE, or the older HUGGINGFACE_HUB_CACHE, XDG_CACHE_HOME; HF_HUB_OFFLINE.
func New() *Client {
	cacheHome := directory("XDG_CACHE_HOME")
	if cacheHome == "" {
		cacheHome = homepath.Expand("~/.cache")
	}
	home := cmp.Or(directory("HF_HOME"), filepath.Join(cacheHome, "huggingface"))
	h := &Client{
		Endpoint: strings.TrimRight(cmp.Or(os.Getenv("HF_ENDPOINT"), "https://huggingface.co"), "/"),
		Token:    strings.TrimSpace(cmp.Or(os.Getenv("HF_TOKEN"), os.Getenv("HUGGING_FACE_HUB_TOKEN"))),
		Cache:    cmp.Or(directory("HF_HUB_CACHE"), directory("HUGGINGFACE_HUB_CACHE"), filepath.Join(home, "hub")),
	}
	if h.Token == "" {
		raw, _ := os.ReadFile(cmp.Or(directory("HF_TOKEN_PATH"), filepath.Join(home, "token")))
		h.Token = strings.TrimSpace(string(raw))
	}
	offline := strings.ToLower(cmp.Or(os.Getenv("HF_HUB_OFFLINE"), os.Getenv("TRANSFORMERS_OFFLINE")))
	h.Offline = slices.Contains([]string{"1", "on", "yes", "true"}, offline)
	return h
}

// directory returns the path in an environment variable, with ~ and variables expanded.
func directory(variable string) string { return homepath.Expand(os.Getenv(variable)) }

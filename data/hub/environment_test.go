package hub

import (
	"os"
	"path/filepath"
	"testing"
)

func TestNew(t *testing.T) {
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "secret"), []byte(" from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		environment map[string]string
		cache       string
		token       string
		offline     bool
	}{
		{nil, home + "/.cache/huggingface/hub", "", false},
		{map[string]string{"XDG_CACHE_HOME": "/xdg"}, "/xdg/huggingface/hub", "", false},
		{map[string]string{"HF_HOME": "~/hf"}, home + "/hf/hub", "", false},
		{map[string]string{"HF_HOME": "$HOME/hf"}, home + "/hf/hub", "", false},
		{map[string]string{"HF_HUB_CACHE": "~/c", "HUGGINGFACE_HUB_CACHE": "/old"}, home + "/c", "", false},
		{map[string]string{"HUGGINGFACE_HUB_CACHE": "~/old", "HF_HOME": "/hf"}, home + "/old", "", false},
		{map[string]string{"HF_HOME": "/hf", "HF_TOKEN_PATH": "~/secret"}, "/hf/hub", "from-file", false},
		{map[string]string{"HF_HOME": "/hf", "HUGGING_FACE_HUB_TOKEN": "older"}, "/hf/hub", "older", false},
		{map[string]string{"HF_HOME": "/hf", "TRANSFORMERS_OFFLINE": "1"}, "/hf/hub", "", true},
	} {
		for _, name := range []string{
			"HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "HF_TOKEN", "HF_TOKEN_PATH",
			"HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE",
		} {
			t.Setenv(name, c.environment[name])
		}
		t.Setenv("HOME", home)
		if h := New(); h.Cache != filepath.FromSlash(c.cache) || h.Token != c.token || h.Offline != c.offline {
			t.Errorf("%v: cache %s, token %q, offline %v", c.environment, h.Cache, h.Token, h.Offline)
		}
	}
}

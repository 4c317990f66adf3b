package recipe

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mambatrain/data/hub"
	"mambatrain/data/hub/hubtest"
	"mambatrain/lora"
	"mambatrain/mamba"
)

// TestModelFiles checks that one of the forms of a model in a repository is fetched and that it is complete.
func TestModelFiles(t *testing.T) {
	for _, c := range []struct{ files, want []string }{
		{[]string{"config.json", "model.safetensors", "pytorch_model.bin", "onnx/model.onnx", "README.md"}, []string{"config.json", "model.safetensors"}},
		{[]string{"config.json", "pytorch_model.bin"}, []string{"config.json", "pytorch_model.bin"}},
		{
			[]string{"config.json", "consolidated.safetensors", "params.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "tokenizer.json"},
			[]string{"config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "tokenizer.json"},
		},
		{[]string{"consolidated.safetensors", "params.json", "tokenizer.model.v3"}, []string{"consolidated.safetensors", "params.json"}},
	} {
		fetched := preferSafetensors(slices.DeleteFunc(slices.Clone(c.files), func(name string) bool { return !isModelFile(name) }))
		if !slices.Equal(fetched, c.want) || !isWholeModel(fetched) {
			t.Errorf("of %v fetched %v, whole: %v, want %v", c.files, fetched, isWholeModel(fetched), c.want)
		}
	}
}

// TestAdapterFiles checks that everything an adapter is loaded from is fetched.
func TestAdapterFiles(t *testing.T) {
	want := []string{"adapter_config.json", "adapter_model.safetensors", "initial_state.safetensors", "tokenizer.json"}
	files := hubtest.Repository{"adapter_model.bin": nil, "loss.svg": nil}
	for _, name := range want {
		files[name] = []byte("{}")
	}
	server := hubtest.New(t, map[string]hubtest.Repository{"models/o/adapter": files})
	dir, err := resolveAdapter(t.Context(), &hub.Client{Endpoint: server.URL, Cache: t.TempDir()}, "o/adapter")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if !slices.Equal(names, want) {
		t.Errorf("fetched %v, want %v", names, want)
	}
}

// TestGGUFFiles checks that a repository's only GGUF file is the model, that several must be distinguished, and that
// other weights take precedence.
func TestGGUFFiles(t *testing.T) {
	repository := hubtest.Repository{
		"a-Q4_K_M.gguf": []byte("a"), "b-Q8_0.gguf": []byte("b"), "s-00001-of-00002.gguf": []byte("1"), "s-00002-of-00002.gguf": []byte("2"),
		"tokenizer.json": []byte("{}"), "config.json": []byte("{}"), "README.md": nil,
	}
	one := hubtest.Repository{"a-Q4_K_M.gguf": []byte("a"), "README.md": nil}
	both := hubtest.Repository{"config.json": []byte("{}"), "model.safetensors": []byte("w"), "a.gguf": []byte("a"), "b.gguf": []byte("b")}
	server := hubtest.New(t, map[string]hubtest.Repository{"models/o/several": repository, "models/o/one": one, "models/o/both": both})
	client := &hub.Client{Endpoint: server.URL, Cache: t.TempDir()}
	for _, c := range []struct {
		name  string
		files []string // contents of the cache afterward
		err   string
	}{
		{"o/several", nil, "choose one of them: o/several:a-Q4_K_M.gguf, o/several:b-Q8_0.gguf, o/several:s-00001-of-00002.gguf"},
		{"o/several:c.gguf", nil, "o/several"},
		{"o/several:b-Q8_0.gguf", []string{"b-Q8_0.gguf", "tokenizer.json"}, ""},
		{"o/several:s-00002-of-00002.gguf", []string{"b-Q8_0.gguf", "s-00001-of-00002.gguf", "s-00002-of-00002.gguf", "tokenizer.json"}, ""},
		{"o/several", nil, "choose one of them: o/several:a-Q4_K_M.gguf"},
		{"o/one", []string{"a-Q4_K_M.gguf"}, ""},
		{"o/both", []string{"config.json", "model.safetensors"}, ""},
	} {
		path, err := resolveModel(t.Context(), client, c.name)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: got %v, want an error with %q", c.name, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		dir := path
		if mamba.IsGGUF(path) {
			dir = filepath.Dir(path)
		}
		if _, file, _ := strings.Cut(c.name, ":"); !strings.HasSuffix(path, file) {
			t.Errorf("%s: is %s", c.name, path)
		}
		var names []string
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			names = append(names, e.Name())
		}
		if !slices.Equal(names, c.files) {
			t.Errorf("%s: fetched %v, want %v", c.name, names, c.files)
		}
	}
	server.Close()
	for _, client.Offline = range []bool{false, true} {
		for _, name := range []string{"o/one", "o/several:b-Q8_0.gguf"} {
			if path, err := resolveModel(t.Context(), client, name); err != nil || !mamba.IsGGUF(path) {
				t.Errorf("offline %v: %s is %s, %v", client.Offline, name, path, err)
			}
		}
	}
}

// TestCachedInPart checks that the files of a tokenizer that Python has not cached are fetched, and that the others can
// be used if the hub cannot be reached.
func TestCachedInPart(t *testing.T) {
	files := hubtest.Repository{"config.json": []byte("{}"), "model.safetensors": []byte("w"), "tokenizer.json": []byte("{}"), "tokenizer_config.json": []byte("{}")}
	for _, c := range []struct {
		cached  []string
		missing string
		resolve func(context.Context, *hub.Client, string) (string, error)
	}{
		{[]string{"config.json", "model.safetensors"}, "tokenizer.json", resolveModel},
		{[]string{"tokenizer.json"}, "tokenizer_config.json", resolveTokenizer},
	} {
		for _, reachable := range []bool{true, false} {
			server := hubtest.New(t, map[string]hubtest.Repository{"models/o/m": files})
			client := &hub.Client{Endpoint: server.URL, Cache: t.TempDir()}
			want := func(name string) bool { return slices.Contains(c.cached, name) }
			if _, err := client.Fetch(t.Context(), hub.Request{Kind: hub.Model, ID: "o/m", Want: want}); err != nil {
				t.Fatal(err)
			}
			if !reachable {
				server.Close()
			}
			dir, err := c.resolve(t.Context(), client, "o/m")
			if err != nil || !has(dir, c.cached[0]) || has(dir, c.missing) != reachable {
				t.Errorf("reachable %v: has %s: %v, %v", reachable, c.missing, has(dir, c.missing), err)
			}
		}
	}
}

// TestFindBase_revision checks that the base of an adapter is looked up at the revision that the adapter names.
func TestFindBase_revision(t *testing.T) {
	client := &hub.Client{Cache: t.TempDir(), Offline: true}
	repository := filepath.Join(client.Cache, "models--o--base")
	for revision, commit := range map[string]string{"main": "1111", "v2": "2222"} {
		for name, content := range map[string]string{
			"refs/" + revision: commit, "snapshots/" + commit + "/config.json": "{}", "snapshots/" + commit + "/model.safetensors": "",
		} {
			path := filepath.Join(repository, filepath.FromSlash(name))
			if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	for revision, want := range map[string]string{"": "1111", "v2": "2222"} {
		dir, err := findBase(t.Context(), client, &lora.Directory{BaseModel: "o/base", Revision: revision})
		if err != nil || filepath.Base(dir) != want {
			t.Errorf("revision %q: got %s, want %s: %v", revision, dir, want, err)
		}
	}
	if _, err := findBase(t.Context(), client, &lora.Directory{BaseModel: "o/base", Revision: "../../x"}); err == nil || !strings.Contains(err.Error(), "is not a revision") {
		t.Errorf("got %v, want an error", err)
	}
}

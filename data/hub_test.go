package data

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeHub serves one data set, org/quotes, and one model, org/model, as Hugging Face does: large files by a redirect to
// another host.
type fakeHub struct {
	*httptest.Server
	content *httptest.Server
	files   map[string][]byte
	large   map[string]bool
	token   string // wanted, "" = none

	mu       sync.Mutex
	requests []string
	break1   map[string]int // the next answer for a file breaks off after so many bytes
	damage   map[string]bool
	leaked   bool // the token was sent to the host of the content
}

const fakeCommit = "0123456789abcdef0123456789abcdef01234567"

func newFakeHub(t testing.TB, files map[string][]byte) *fakeHub {
	h := &fakeHub{files: files, large: map[string]bool{}, break1: map[string]int{}, damage: map[string]bool{}}
	h.Server = httptest.NewServer(http.HandlerFunc(h.serve))
	h.content = httptest.NewServer(http.HandlerFunc(h.serveContent))
	t.Cleanup(h.Close)
	t.Cleanup(h.content.Close)
	wait := downloadWait
	downloadWait = time.Millisecond
	t.Cleanup(func() { downloadWait = wait })
	return h
}

// client returns a Hub with an empty cache of its own.
func (h *fakeHub) client(t testing.TB) *Hub {
	return &Hub{Endpoint: h.URL, Token: h.token, Cache: t.TempDir(), Client: http.DefaultClient}
}

func (h *fakeHub) serve(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	h.requests = append(h.requests, r.URL.Path)
	h.mu.Unlock()
	if h.token != "" && r.Header.Get("Authorization") != "Bearer "+h.token {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	for _, kind := range []string{"datasets/org/quotes", "models/org/model"} {
		if r.URL.Path == "/api/"+kind+"/revision/main" {
			h.list(w)
			return
		}
		name, ok := strings.CutPrefix(r.URL.Path, "/"+strings.TrimPrefix(kind, "models/")+"/resolve/"+fakeCommit+"/")
		if ok && h.files[name] != nil {
			if h.large[name] {
				http.Redirect(w, r, strings.Replace(h.content.URL, "127.0.0.1", "localhost", 1)+"/"+name, http.StatusFound)
				return
			}
			h.send(w, r, name)
			return
		}
	}
	w.WriteHeader(http.StatusNotFound)
}

func (h *fakeHub) serveContent(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "" {
		h.leaked = true
	}
	h.send(w, r, strings.TrimPrefix(r.URL.Path, "/"))
}

func (h *fakeHub) send(w http.ResponseWriter, r *http.Request, name string) {
	h.mu.Lock()
	limit, broken := h.break1[name]
	delete(h.break1, name)
	content := h.files[name]
	if h.damage[name] {
		content = bytes.ToUpper(content)
	}
	h.requests = append(h.requests, name+" "+r.Header.Get("Range"))
	h.mu.Unlock()
	if broken {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		w.Write(content[:limit])
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

func (h *fakeHub) list(w http.ResponseWriter) {
	var siblings []map[string]any
	for name, content := range h.files {
		git := sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(content), content))
		f := map[string]any{"rfilename": name, "size": len(content), "blobId": hex.EncodeToString(git[:])}
		if h.large[name] {
			sum := sha256.Sum256(content)
			f["lfs"] = map[string]any{"sha256": hex.EncodeToString(sum[:]), "size": len(content)}
		}
		siblings = append(siblings, f)
	}
	json.NewEncoder(w).Encode(map[string]any{"sha": fakeCommit, "siblings": siblings})
}

// asked returns the requests whose text contains part.
func (h *fakeHub) asked(part string) (found []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.requests {
		if strings.Contains(r, part) {
			found = append(found, r)
		}
	}
	return found
}

func quotesRepository() map[string][]byte {
	row := func(s string) []byte { return fmt.Appendf(nil, "{\"text\":%q}\n", strings.Repeat(s+" ", 40)) }
	return map[string][]byte{
		"README.md":                            []byte("---\nlicense: mit\n---\n# Quotes"),
		"data/train-00000-of-00002.jsonl":      row("one"),
		"data/train-00001-of-00002.jsonl":      row("two"),
		"data/validation-00000-of-00001.jsonl": row("three"),
	}
}

func TestHubDataset(t *testing.T) {
	h := newFakeHub(t, quotesRepository())
	h.large["data/train-00000-of-00002.jsonl"] = true
	h.token = "secret"
	c := h.client(t)
	t.Setenv("HF_ENDPOINT", h.URL+"/")
	t.Setenv("HF_TOKEN", "secret")
	t.Setenv("HF_HUB_CACHE", c.Cache)
	t.Setenv("HF_HUB_OFFLINE", "")
	tok, o := tinyTokenizer(t), DefaultOptions()
	for range 2 { // the second time from the cache
		if n := open(t, "org/quotes", tok, o).Len(); n != 2 {
			t.Errorf("org/quotes has %d documents, want 2: its train split", n)
		}
		if e := open(t, "org/quotes:validation", tok, o).Example(0); !strings.HasPrefix(tok.Decode(e.Tokens), "three") {
			t.Errorf("validation is %q", tok.Decode(e.Tokens))
		}
	}
	if h.leaked {
		t.Error("the token went to another host")
	}
	if n := len(h.asked("train-00000-of-00002.jsonl ")); n != 1 {
		t.Errorf("the first file was sent %d times", n)
	}
	link, err := os.Readlink(filepath.Join(c.Cache, "datasets--org--quotes", "snapshots", fakeCommit, "data", "train-00000-of-00002.jsonl"))
	if err != nil || !strings.HasPrefix(link, filepath.Join("..", "..", "..", "blobs")) {
		t.Errorf("the snapshot's file is a link to %q, %v", link, err)
	}
	h.Close()
	t.Setenv("HF_HUB_OFFLINE", "1")
	if n := open(t, "org/quotes:train", tok, o).Len(); n != 2 {
		t.Errorf("offline: %d documents, want 2", n)
	}
	_, err = Open(t.Context(), []Input{{Path: "org/other"}}, tok, o)
	if err == nil || !strings.Contains(err.Error(), "HF_HUB_OFFLINE") {
		t.Errorf("offline, not in the cache: %v", err)
	}
	_, err = Open(t.Context(), []Input{{Path: "org/quotes:tset"}}, tok, o)
	if err == nil || !strings.Contains(err.Error(), "tset") {
		t.Errorf("no such split: %v", err)
	}
}

// wantAll asks for every file of org/model.
func wantAll() HubRequest {
	return HubRequest{Kind: HubModel, ID: "org/model", Want: func(string) bool { return true }}
}

func TestHubResumesAndChecks(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<12)
	files := map[string][]byte{"model.safetensors": big, "sub/config.json": []byte(`{"a": 1}`)}
	h := newFakeHub(t, files)
	h.large["model.safetensors"] = true
	h.break1["model.safetensors"] = 40000
	c := h.client(t)
	var last int64
	c.Progress = func(_ string, done, total int64) { last = done }
	dir, err := c.Fetch(t.Context(), wantAll())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	if r := h.asked("bytes=40000-"); len(r) != 1 {
		t.Errorf("the broken download was not taken up where it stopped: %q", h.requests)
	}
	if last == 0 {
		t.Error("no progress was reported")
	}
	if left, _ := filepath.Glob(filepath.Join(c.Cache, "*", "*", "*.incomplete")); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

func TestHubRefusesDamage(t *testing.T) {
	for _, large := range []bool{true, false} {
		h := newFakeHub(t, map[string][]byte{"model.safetensors": []byte("abcdef")})
		h.large["model.safetensors"], h.damage["model.safetensors"] = large, true
		c := h.client(t)
		if _, err := c.Fetch(t.Context(), wantAll()); err == nil || !strings.Contains(err.Error(), "hash") {
			t.Errorf("large %v: error %v, want one about the hash", large, err)
		}
		if found, _ := filepath.Glob(filepath.Join(c.Cache, "*", "snapshots", "*", "*")); len(found) > 0 {
			t.Errorf("a damaged file is in the snapshot: %v", found)
		}
	}
}

func TestHubErrors(t *testing.T) {
	h := newFakeHub(t, quotesRepository())
	h.token = "secret"
	c := h.client(t)
	for _, x := range []struct{ token, id, want string }{
		{"wrong", "org/model", "HF_TOKEN"},
		{"secret", "org/nothing", "no such repository"},
		{"secret", "a/b/c", "owner/name"},
		{"secret", "../etc", "owner/name"},
	} {
		c.Token = x.token
		r := wantAll()
		r.ID = x.id
		if _, err := c.Fetch(t.Context(), r); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: error %v, want one with %q", x.id, err, x.want)
		}
	}
}

func TestChooseSplit(t *testing.T) {
	card := "---\nconfigs:\n- config_name: en\n  data_files:\n  - split: train\n    path: en/a-*\n  - split: test\n    path: [\"en/b.parquet\"]\n- config_name: de\n  default: true\n  data_files: \"de/**/*.parquet\"\n---\n"
	names := []string{"README.md", "en/a-1.parquet", "en/a-2.parquet", "en/b.parquet", "de/x/y.parquet"}
	for _, c := range []struct {
		readme  string
		names   []string
		request splitRequest
		want    []string
	}{
		{"", []string{"b.jsonl", "a.jsonl", "x.txt"}, splitRequest{}, []string{"a.jsonl", "b.jsonl"}},
		{"", []string{"train.csv", "test.csv"}, splitRequest{}, []string{"train.csv"}},
		{"", []string{"train.csv", "dev.csv"}, splitRequest{split: "validation"}, []string{"dev.csv"}},
		{"", []string{"default/train/0000.parquet", "default/test/0000.parquet"}, splitRequest{config: "default", split: "test"}, []string{"default/test/0000.parquet"}},
		{"", []string{"en/train.csv", "de/train.csv"}, splitRequest{config: "de"}, []string{"de/train.csv"}},
		{card, names, splitRequest{}, []string{"de/x/y.parquet"}},
		{card, names, splitRequest{config: "en", split: "train"}, []string{"en/a-1.parquet", "en/a-2.parquet"}},
		{card, names, splitRequest{config: "en", split: "test"}, []string{"en/b.parquet"}},
		{card, names, splitRequest{config: "fr"}, nil},
		{"", []string{"train.csv"}, splitRequest{split: "test"}, nil},
	} {
		got, err := c.request.choose(c.names, c.readme)
		if !slices.Equal(got, c.want) || (err != nil) != (c.want == nil) {
			t.Errorf("%+v of %v: %v, %v, want %v", c.request, c.names, got, err, c.want)
		}
	}
}

func TestAllShards(t *testing.T) {
	if !allShards([]string{"a-00000-of-00002.parquet", "a-00001-of-00002.parquet", "b.parquet"}) {
		t.Error("two of two are not all")
	}
	if allShards([]string{"a-00000-of-00002.parquet"}) {
		t.Error("one of two is all")
	}
}

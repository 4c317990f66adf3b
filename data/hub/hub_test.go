package hub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mambatrain/data/hub/hubtest"
	"mambatrain/internal/fault"
)

// newHub starts a hub with the model org/model.
func newHub(t *testing.T, model hubtest.Repository) *hubtest.Hub {
	wait, quiet := firstWait, silenceLimit
	firstWait, silenceLimit = time.Millisecond, time.Hour // a busy machine is silent, too
	t.Cleanup(func() { firstWait, silenceLimit = wait, quiet })
	return hubtest.New(t, map[string]hubtest.Repository{"models/org/model": model})
}

// client returns a Client with its own empty cache.
func client(t *testing.T, h *hubtest.Hub) *Client {
	return &Client{Endpoint: h.URL, Token: h.Token, Cache: t.TempDir()}
}

// wantAll requests every file of org/model.
func wantAll() Request {
	return Request{Kind: Model, ID: "org/model", Want: func(string) bool { return true }}
}

// bigModel returns a repository with a large file, and a small one in a folder.
func bigModel() hubtest.Repository {
	return hubtest.Repository{
		"model.safetensors": bytes.Repeat([]byte("0123456789abcdef"), 1<<12),
		"sub/config.json":   []byte(`{"a": 1}`),
	}
}

// sameFiles checks that a snapshot equals a repository and that the download left nothing else behind.
func sameFiles(t *testing.T, cache, dir string, want hubtest.Repository) {
	t.Helper()
	for name, content := range want {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes, want %d, %v", name, len(got), len(content), err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(cache, "*", "*", "*.incomplete")); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

// The cache has Hugging Face's layout: refs/main contains the commit, and the files of the snapshot are relative links
// to blobs named by their hashes.
func TestFetch_cacheLayout(t *testing.T) {
	h := newHub(t, bigModel())
	c := client(t, h)
	dir, err := c.Fetch(t.Context(), wantAll())
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(c.Cache, "models--org--model")
	if want := filepath.Join(root, "snapshots", hubtest.Commit); dir != want {
		t.Errorf("the snapshot is %s, want %s", dir, want)
	}
	if ref, err := os.ReadFile(filepath.Join(root, "refs", "main")); err != nil || string(ref) != hubtest.Commit {
		t.Errorf("refs/main is %q, %v", ref, err)
	}
	blobs, err := os.ReadDir(filepath.Join(root, "blobs"))
	if err != nil || len(blobs) != 2 {
		t.Fatalf("blobs: %v, %v", blobs, err)
	}
	const sha256, gitSHA1 = 64, 40
	for name, length := range map[string]int{"model.safetensors": sha256, "sub/config.json": gitSHA1} {
		up := strings.Repeat("../", 2+strings.Count(name, "/"))
		link, err := os.Readlink(filepath.Join(dir, name))
		if rest, ok := strings.CutPrefix(filepath.ToSlash(link), up+"blobs/"); err != nil || !ok || len(rest) != length {
			t.Errorf("%s is a link to %q, %v", name, link, err)
		}
	}
}

// Files arrive intact despite any temporary failure of the network or a busy server.
func TestFetch_survives(t *testing.T) {
	for what, c := range map[string]struct {
		file        string
		faults      []hubtest.Fault
		ranges      []string // requested ranges, if they matter
		silentAfter int      // bytes
	}{
		"a cut connection":                          {"model.safetensors", []hubtest.Fault{hubtest.Cut(40000), hubtest.Cut(5000)}, []string{"bytes=40000-", "bytes=45000-"}, 0},
		"cut, then the server sends the whole file": {"model.safetensors", []hubtest.Fault{hubtest.Cut(40000), hubtest.Whole}, []string{"bytes=40000-"}, 0},
		"a cut small file":                          {"sub/config.json", []hubtest.Fault{hubtest.Cut(3)}, nil, 0},
		"too short":                                 {"model.safetensors", []hubtest.Fault{hubtest.Resize(100)}, nil, 0},
		"too long":                                  {"model.safetensors", []hubtest.Fault{hubtest.Resize(1 << 17)}, nil, 0},
		"damaged":                                   {"model.safetensors", []hubtest.Fault{hubtest.Damage, hubtest.Damage}, nil, 0},
		"a damaged small file":                      {"sub/config.json", []hubtest.Fault{hubtest.Damage}, nil, 0},
		"damaged after a cut":                       {"model.safetensors", []hubtest.Fault{hubtest.Cut(40000), hubtest.Damage}, nil, 0},
		"429":                                       {"model.safetensors", []hubtest.Fault{hubtest.Status(429), hubtest.Status(429, "Retry-After", "0")}, nil, 0},
		"503":                                       {"sub/config.json", []hubtest.Fault{hubtest.Status(503)}, nil, 0},
		"a range that is refused":                   {"model.safetensors", []hubtest.Fault{hubtest.Cut(40000), hubtest.Status(416)}, nil, 0},
		"silence":                                   {"model.safetensors", []hubtest.Fault{hubtest.Silent}, nil, 0},
		"silence in the middle":                     {"model.safetensors", []hubtest.Fault{hubtest.Stall(40000)}, []string{"bytes=40000-"}, 40000},
		"429 on the listing":                        {hubtest.Listing, []hubtest.Fault{hubtest.Status(429)}, nil, 0},
		"a cut listing":                             {hubtest.Listing, []hubtest.Fault{hubtest.Cut(20)}, nil, 0},
	} {
		t.Run(what, func(t *testing.T) {
			files := bigModel()
			h := newHub(t, files)
			hub := client(t, h)
			last := map[string]int64{}
			hub.Progress = func(file string, done, total int64) { last[file] = done }
			if strings.HasPrefix(what, "silence") {
				c.faults = noticed(t, hub, c.file, c.faults[0], int64(c.silentAfter))
			}
			h.Fail(c.file, c.faults...)
			dir, err := hub.Fetch(t.Context(), wantAll())
			if err != nil {
				t.Fatal(err)
			}
			sameFiles(t, hub.Cache, dir, files)
			for _, r := range c.ranges {
				if len(h.Asked(c.file+" "+r)) != 1 {
					t.Errorf("%s was not requested: %q", r, h.Asked(""))
				}
			}
			if n := int64(len(files["model.safetensors"])); last["model.safetensors"] != n {
				t.Errorf("progress ended at %d of %d", last["model.safetensors"], n)
			}
		})
	}
}

// noticed makes the client notice the silence of this fault and no other, after a number of bytes of the file have
// arrived instead of after a time.
func noticed(t *testing.T, c *Client, file string, silence hubtest.Fault, after int64) []hubtest.Fault {
	var mu sync.Mutex
	give := func() {} // abandons the last request for the file
	watch := watchSilence
	t.Cleanup(func() { watchSilence = watch })
	watchSilence = func(address string, silent func()) timer {
		if strings.HasSuffix(address, file) {
			mu.Lock()
			give = silent
			mu.Unlock()
		}
		return noTimer{}
	}
	arrived, seen := make(chan struct{}), c.Progress
	once := sync.OnceFunc(func() { close(arrived) })
	c.Progress = func(name string, done, total int64) {
		seen(name, done, total)
		if name == file && done >= after {
			once()
		}
	}
	if after == 0 {
		once()
	}
	return []hubtest.Fault{func(w http.ResponseWriter, r *http.Request, content []byte) {
		go func() {
			<-arrived
			mu.Lock()
			defer mu.Unlock()
			give()
		}()
		silence(w, r, content)
	}}
}

// noTimer never fires.
type noTimer struct{}

func (noTimer) Reset(time.Duration) bool { return true }
func (noTimer) Stop() bool               { return true }

// An interrupted download is resumed by the next process, and by one of several that want it at the same time.
func TestFetch_resumes(t *testing.T) {
	files := bigModel()
	h := newHub(t, files)
	for range maxTries {
		h.Fail("model.safetensors", hubtest.Cut(8000))
	}
	c := client(t, h)
	_, err := c.Fetch(t.Context(), wantAll())
	if err == nil || !strings.Contains(err.Error(), "gave up after 5 tries") || !strings.Contains(err.Error(), "to resume after 40000 bytes") || errors.Is(err, fault.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			dir, err := (&Client{Endpoint: h.URL, Cache: c.Cache}).Fetch(context.Background(), wantAll())
			if err != nil {
				t.Error(err)
			}
			sameFiles(t, c.Cache, dir, files)
		})
	}
	both.Wait()
	if n := len(h.Asked("bytes=40000-")); n != 1 {
		t.Errorf("the remainder was requested %d times: %q", n, h.Asked(""))
	}
}

// From a mirror without hashes, only parts of the same version are joined, as determined by entity tag, range, and size.
func TestFetch_mirrors(t *testing.T) {
	files := bigModel()
	model := files["model.safetensors"]
	changed := bytes.Repeat([]byte("fedcba9876543210"), len(model)/16)
	const whole = "model.safetensors" // a request for the whole file
	for what, c := range map[string]struct {
		faults []hubtest.Fault
		want   []byte
		asked  string // suffix of the last request
	}{
		"a cut":                       {[]hubtest.Fault{hubtest.Cut(40000)}, model, "bytes=40000-"},
		"two cuts":                    {[]hubtest.Fault{hubtest.Cut(40000), hubtest.Cut(5000)}, model, "bytes=45000-"},
		"a change":                    {[]hubtest.Fault{hubtest.Cut(40000), hubtest.Change(changed)}, model, whole},
		"a permanent change":          {[]hubtest.Fault{hubtest.Cut(40000), hubtest.Change(changed), hubtest.Change(changed)}, changed, whole},
		"another range":               {[]hubtest.Fault{hubtest.Cut(40000), hubtest.Shift(100)}, model, whole},
		"another range from the next": {[]hubtest.Fault{hubtest.Cut(40000), hubtest.Shift(40001)}, model, whole},
		"a range of another size":     {[]hubtest.Fault{hubtest.Cut(40000), hubtest.Change(append(changed, 'x'))}, model, whole},
		"no tags":                     {[]hubtest.Fault{hubtest.Untagged(hubtest.Cut(40000))}, model, whole},
		"no tag for the second part":  {[]hubtest.Fault{hubtest.Cut(40000), hubtest.Untagged(hubtest.Shift(40000))}, model, whole},
		"a part that is not needed":   {[]hubtest.Fault{hubtest.Shift(100)}, model, whole},
		"compressed":                  {[]hubtest.Fault{compressed}, model, whole},
		"too short":                   {[]hubtest.Fault{hubtest.Resize(100)}, model, "bytes=100-"},
	} {
		for _, blind := range []bool{false, true} {
			if blind && what == "too short" { // cannot be detected
				continue
			}
			h := newHub(t, files)
			h.Bare, h.Blind = true, blind
			h.Fail("model.safetensors", c.faults...)
			hub := client(t, h)
			dir, err := hub.Fetch(t.Context(), wantAll())
			if err != nil {
				t.Errorf("%s: %v", what, err)
				continue
			}
			sameFiles(t, hub.Cache, dir, hubtest.Repository{"model.safetensors": c.want})
			if asked := h.Asked("model.safetensors"); !strings.HasSuffix(asked[len(asked)-1], c.asked) {
				t.Errorf("%s: asked for %q", what, asked)
			}
		}
	}
}

func compressed(w http.ResponseWriter, _ *http.Request, content []byte) {
	w.Header().Set("Content-Encoding", "gzip")
	w.Write(content)
}

// The remains of another process's download of a file without a hash have an unknown version, even if the size is right.
func TestFetch_leftByOthers(t *testing.T) {
	files := bigModel()
	h := newHub(t, files)
	h.Bare = true
	c := client(t, h)
	h.Fail("model.safetensors", hubtest.Status(403))
	if _, err := c.Fetch(t.Context(), wantAll()); err == nil {
		t.Fatal("no error")
	}
	locks, err := filepath.Glob(filepath.Join(c.Cache, ".locks", "*", "*.lock"))
	if err != nil || len(locks) == 0 {
		t.Fatal(locks, err)
	}
	for _, lock := range locks {
		part := filepath.Join(c.Cache, "models--org--model", "blobs", strings.TrimSuffix(filepath.Base(lock), ".lock")+".incomplete")
		if err := os.WriteFile(part, make([]byte, len(files["model.safetensors"])), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := c.Fetch(t.Context(), wantAll())
	if err != nil {
		t.Fatal(err)
	}
	sameFiles(t, t.TempDir(), dir, files)
}

// A persistent failure is an error that describes it, and none of the data reaches the snapshot.
func TestFetch_errors(t *testing.T) {
	always := func(f hubtest.Fault) []hubtest.Fault { return slices.Repeat([]hubtest.Fault{f}, 2*maxTries) }
	for what, c := range map[string]struct {
		id, token, file string
		faults          []hubtest.Fault
		want            string
		lost            bool // matches fault.ErrNotFound
		blind           bool // neither hashes nor sizes
	}{
		"a wrong token":                  {token: "wrong", want: "401 Unauthorized: private, gated, or nonexistent; HF_TOKEN", lost: true},
		"no token":                       {token: "", want: "HF_TOKEN", lost: true},
		"a gated file":                   {token: "secret", file: "sub/config.json", faults: always(hubtest.Status(403)), want: "403 Forbidden", lost: true},
		"no such model":                  {token: "secret", id: "org/nothing", want: "no such repository", lost: true},
		"no name":                        {token: "secret", id: "a/b/c", want: "owner/name", lost: true},
		"a path":                         {token: "secret", id: "../etc", want: "owner/name", lost: true},
		"a missing file":                 {token: "secret", file: "sub/config.json", faults: always(hubtest.Status(404)), want: "no such repository, revision, or file", lost: true},
		"no hub":                         {token: "secret", file: hubtest.Listing, faults: []hubtest.Fault{answer("<!doctype html>")}, want: "is HF_ENDPOINT the address of a hub?", lost: true},
		"no list":                        {token: "secret", file: hubtest.Listing, faults: []hubtest.Fault{answer(`[1]`)}, want: "not a list of files: is HF_ENDPOINT the address of a hub?", lost: true},
		"a list of other things":         {token: "secret", file: hubtest.Listing, faults: []hubtest.Fault{answer(`{"sha":1}`)}, want: "not a list of files: is HF_ENDPOINT the address of a hub?", lost: true},
		"a silent hub":                   {token: "secret", file: hubtest.Listing, faults: always(hubtest.Silent), want: "no answer; it is also not in the cache", lost: true},
		"a busy hub":                     {token: "secret", file: hubtest.Listing, faults: always(hubtest.Status(429)), want: "429 Too Many Requests: try again later"},
		"damage":                         {token: "secret", file: "model.safetensors", faults: always(hubtest.Damage), want: "damaged: the hash is"},
		"damage of a small file":         {token: "secret", file: "sub/config.json", faults: always(hubtest.Damage), want: "damaged: the hash is"},
		"a longer file":                  {token: "secret", file: "sub/config.json", faults: always(hubtest.Resize(99)), want: "damaged: more than the 8 bytes"},
		"a shorter file":                 {token: "secret", file: "sub/config.json", faults: always(hubtest.Resize(2)), want: "2 bytes, want 8"},
		"an end that cannot be detected": {token: "secret", file: "model.safetensors", faults: []hubtest.Fault{hubtest.Endless(100)}, want: "neither the size nor a hash", blind: true},
		"a change with each part":        {token: "secret", file: "model.safetensors", faults: changing(), want: "gave up after 5 tries: the file changed during the download", blind: true},
		"a redirect loop":                {token: "secret", file: "sub/config.json", faults: always(hubtest.Status(302, "Location", "")), want: "sub/config.json"},
	} {
		t.Run(what, func(t *testing.T) {
			h := newHub(t, bigModel())
			h.Token = "secret"
			h.Bare, h.Blind = c.blind, c.blind
			if what == "a silent hub" {
				silenceLimit = time.Millisecond // it is always silent
			}
			h.Fail(c.file, c.faults...)
			hub, r := client(t, h), wantAll()
			hub.Token = c.token
			if c.id != "" {
				r.ID = c.id
			}
			_, err := hub.Fetch(t.Context(), r)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("error %v, want one with %q", err, c.want)
			}
			if errors.Is(err, fault.ErrNotFound) != c.lost {
				t.Errorf("not found: %v, want %v (%v)", !c.lost, c.lost, err)
			}
			if bad, _ := filepath.Glob(filepath.Join(hub.Cache, "*", "snapshots", "*", c.file)); c.file != "" && len(bad) > 0 {
				t.Errorf("%v is in the snapshot", bad)
			}
		})
	}
}

// changing returns the responses of a mirror that sends another version of the file each time and cuts every other response.
func changing() (faults []hubtest.Fault) {
	for i := range 2 * maxTries {
		faults = append(faults, hubtest.Cut(1000), hubtest.Change(bytes.Repeat([]byte{byte(i)}, 2000)))
	}
	return append([]hubtest.Fault{hubtest.Status(500)}, faults...)
}

// Without the limit, a few megabytes could become gigabytes of file entries.
func TestListing_tooLong(t *testing.T) {
	text := `{"x":[{}],"siblings":[` + strings.Repeat("{},", maxFiles) + `{}]}`
	if err := new(listing).read(json.NewDecoder(strings.NewReader(text))); err == nil || !strings.Contains(err.Error(), "a list of more than 1048576 files") {
		t.Errorf("got %v", err)
	}
}

// answer sends a response that no hub would send.
func answer(text string) hubtest.Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ []byte) { io.WriteString(w, text) }
}

// If nothing responds at the address, the error is immediate, fits on one line, and matches fault.ErrNotFound.
func TestFetch_unreachable(t *testing.T) {
	h := newHub(t, bigModel())
	h.Close()
	firstWait = time.Hour // nothing waits for it
	for _, c := range []struct{ endpoint, want string }{
		{h.URL, "cannot reach " + h.URL + ": connect: connection refused; it is also not in the cache: check the network, set HF_ENDPOINT"},
		{"hub.test", `HF_ENDPOINT: want an address such as https://huggingface.co, got "hub.test"`},
		{"ftp://hub.test", "HF_ENDPOINT: want an address"},
		{"http://[::1", "HF_ENDPOINT: want an address"},
		{"http://nowhere.invalid", "cannot reach http://nowhere.invalid: "},
	} {
		hub := &Client{Endpoint: c.endpoint, Cache: t.TempDir()}
		_, err := hub.Fetch(t.Context(), wantAll())
		if !errors.Is(err, fault.ErrNotFound) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// A renamed repository is found under its old name, and the token goes only to the endpoint's host.
func TestFetch_redirects(t *testing.T) {
	files := bigModel()
	h := newHub(t, files)
	h.Token = "secret"
	h.Move("old/name", "org/model")
	c, r := client(t, h), wantAll()
	r.ID = "old/name"
	dir, err := c.Fetch(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	sameFiles(t, c.Cache, dir, files)
	if !strings.Contains(dir, "models--old--name") {
		t.Errorf("the cache is %s, want it under the requested name", dir)
	}
	if h.Leaked() {
		t.Error("the token went to another port")
	}
}

// The token goes only to the endpoint's scheme, host, and port.
func TestFetch_token(t *testing.T) {
	for _, c := range []struct {
		endpoint, redirect string
		trusted            bool
	}{
		{"http://hub.test", "http://hub.test/moved", true},
		{"http://hub.test", "http://HUB.test:80/moved", true},
		{"https://hub.test:443/mirror", "https://hub.test/moved", true},
		{"http://hub.test", "http://hub.test:8080/moved", false},
		{"http://hub.test:8080", "http://hub.test/moved", false},
		{"http://hub.test", "http://cdn.hub.test/moved", false},
		{"http://cdn.hub.test", "http://hub.test/moved", false},
		{"http://hub.test", "http://evil.test/moved", false},
		{"http://hub.test", "http://hub.test@evil.test/moved", false},
		{"https://hub.test", "http://hub.test/moved", false},
		{"http://hub.test", "https://hub.test/moved", false},
		{"http://127.0.0.1:80", "http://localhost/moved", false},
	} {
		var sent []bool // for each request
		hub := &Client{Endpoint: c.endpoint, Token: "secret", Cache: t.TempDir(), HTTP: &http.Client{Transport: roundTrip(func(r *http.Request) *http.Response {
			sent = append(sent, r.Header.Get("Authorization") == "Bearer secret")
			answer := httptest.NewRecorder()
			switch {
			case strings.Contains(r.URL.Path, "/api/"):
				answer.WriteString(`{"sha":"1","siblings":[{"rfilename":"a.json"}]}`)
			case strings.Contains(r.URL.Path, "/moved"):
				answer.WriteString("{}")
			default:
				http.Redirect(answer, r, c.redirect, http.StatusFound)
			}
			return answer.Result()
		})}}
		if _, err := hub.Fetch(t.Context(), wantAll()); err != nil && !errors.Is(err, errNoEnd) {
			t.Fatalf("%+v: %v", c, err)
		}
		if want := []bool{true, true, c.trusted}; !slices.Equal(sent, want) {
			t.Errorf("%+v: token sent %v, want %v", c, sent, want)
		}
	}
}

// roundTrip acts as every host.
type roundTrip func(*http.Request) *http.Response

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := f(r)
	answer.Request = r
	return answer, nil
}

// A user may interrupt a download at any time.
func TestFetch_interrupted(t *testing.T) {
	h := newHub(t, bigModel())
	h.Fail("model.safetensors", hubtest.Stall(40000))
	ctx, stop := context.WithCancel(t.Context())
	hub := client(t, h)
	hub.Progress = func(_ string, done, total int64) {
		if 0 < done && done < total {
			stop()
		}
	}
	if _, err := hub.Fetch(ctx, wantAll()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// This includes waiting for a response, a list of files, or another attempt.
func TestFetch_interruptedWaiting(t *testing.T) {
	for what, c := range map[string]struct {
		file  string
		fault hubtest.Fault
	}{
		"silence":        {"sub/config.json", hubtest.Silent},
		"a listing":      {hubtest.Listing, hubtest.Stall(10)},
		"a busy hub":     {hubtest.Listing, hubtest.Status(429, "Retry-After", "3600")},
		"a busy hub too": {"model.safetensors", hubtest.Status(503)},
	} {
		h := newHub(t, bigModel())
		firstWait = time.Hour
		ctx, stop := context.WithCancel(t.Context())
		h.Fail(c.file, func(w http.ResponseWriter, r *http.Request, content []byte) {
			stop()
			c.fault(w, r, content)
		})
		if _, err := client(t, h).Fetch(ctx, wantAll()); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

// A request that fails between two files leaves neither in the snapshot, where the next request could take one for all.
func TestFetch_failsBetweenFiles(t *testing.T) {
	files := hubtest.Repository{"README.md": []byte("# Quotes"), "a.jsonl": []byte(`{"text":"one"}`), "b.jsonl": []byte(`{"text":"two"}`)}
	h := newHub(t, files)
	hub, r := client(t, h), wantAll()
	r.Want = func(name string) bool { return name == "README.md" }
	if _, err := hub.Fetch(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	h.Fail("b.jsonl", hubtest.Status(403))
	r.Want = func(name string) bool { return strings.HasSuffix(name, ".jsonl") }
	if _, err := hub.Fetch(t.Context(), r); err == nil {
		t.Fatal("no error")
	}
	dir, err := hub.Fetch(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	sameFiles(t, hub.Cache, dir, files)
	if n := len(h.Asked("a.jsonl")); n != 1 {
		t.Errorf("the first file was sent %d times", n)
	}
}

// The files are in the same order on the hub and in the cache, so that a dataset's rows are, too.
func TestFetch_order(t *testing.T) {
	want := []string{"a-b.jsonl", "a/c.jsonl"}
	h := newHub(t, hubtest.Repository{"a/c.jsonl": []byte("{}"), "a-b.jsonl": []byte("{}")})
	hub, r := client(t, h), wantAll()
	var orders [][]string
	r.Choose = func(names []string) []string {
		orders = append(orders, slices.Clone(names))
		return names
	}
	r.Enough = func(names []string) bool { return len(r.Choose(names)) > 0 }
	for range 2 {
		if _, err := hub.Fetch(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if len(orders) != 2 || !slices.Equal(orders[0], want) || !slices.Equal(orders[1], want) {
		t.Errorf("%q, want %q from the hub and from the cache", orders, want)
	}
}

func TestAllShards(t *testing.T) {
	if !AllShards([]string{"a-00000-of-00002.parquet", "a-00001-of-00002.parquet", "b.parquet"}) {
		t.Error("two of two shards are not all")
	}
	if AllShards([]string{"a-00000-of-00002.parquet"}) {
		t.Error("one of two shards counts as all")
	}
}

// A link that another process has made stays as it is, because a reader may be about to open it. A dangling one is replaced.
func TestLinkFile(t *testing.T) {
	dir := t.TempDir()
	blob, link := filepath.Join(dir, "blob"), filepath.Join(dir, "link")
	if err := os.WriteFile(blob, []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("missing", link); err != nil {
		t.Skip(err)
	}
	var made []os.FileInfo
	for range 2 {
		if err := linkFile(blob, link); err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(link)
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, info)
	}
	if got, err := os.ReadFile(link); err != nil || string(got) != "x" {
		t.Errorf("got %q, %v", got, err)
	}
	if !os.SameFile(made[0], made[1]) || !made[0].ModTime().Equal(made[1].ModTime()) {
		t.Error("the link was replaced")
	}
}

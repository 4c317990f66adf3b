package studio_test

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mambatrain/studio"
	"mambatrain/studio/runs"
)

// page is a server running for a test.
type page struct {
	url   *url.URL
	token string
}

func serve(t *testing.T, o studio.Options, folders ...string) page {
	t.Helper()
	var err error
	if o.Library, err = runs.Open(folders...); err != nil {
		t.Fatal(err)
	}
	s := studio.New(o)
	s.Handle("POST /api/test", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }))
	l, address, err := s.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return page{u, u.Query().Get("token")}
}

func (p page) request(t *testing.T, method, path string, change func(*http.Request)) *http.Response {
	t.Helper()
	r, err := http.NewRequest(method, "http://"+p.url.Host+path, strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+p.token)
	if change != nil {
		change(r)
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { answer.Body.Close() })
	return answer
}

func header(key, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(key, value) }
}

func host(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }

func noToken(r *http.Request) { r.Header.Del("Authorization") }

func cookie(p page) func(*http.Request) {
	return func(r *http.Request) {
		noToken(r)
		r.AddCookie(&http.Cookie{Name: "mamba-studio-" + p.url.Port(), Value: p.token})
	}
}

func TestGuard(t *testing.T) {
	p := serve(t, studio.Options{}, t.TempDir())
	_, port, _ := strings.Cut(p.url.Host, ":")
	for _, test := range []struct {
		what, method, path string
		change             func(*http.Request)
		want               int
	}{
		{"bearer", "GET", "/api/runs", nil, 200},
		{"token in the address", "GET", "/api/runs?token=" + p.token, noToken, 200},
		{"page", "GET", "/?token=" + p.token, noToken, 200},
		{"page by cookie", "GET", "/", cookie(p), 200},
		{"tunnel", "GET", "/api/runs", host("localhost:9999"), 200},
		{"own origin", "POST", "/api/test", header("Origin", "http://"+p.url.Host), 200},
		{"link on another page", "GET", "/", func(r *http.Request) {
			r.Header.Set("Sec-Fetch-Site", "cross-site")
			r.Header.Set("Sec-Fetch-Mode", "navigate")
		}, 200},

		{"no token", "GET", "/api/runs", noToken, 401},
		{"page without token", "GET", "/", noToken, 401},
		{"wrong token", "GET", "/api/runs", header("Authorization", "Bearer "+p.token[1:]), 401},
		{"empty token", "GET", "/api/runs?token=", noToken, 401},
		{"cookie is not enough for data", "GET", "/api/runs", cookie(p), 401},
		{"cookie is not enough to act", "POST", "/", cookie(p), 401},
		{"foreign host", "GET", "/api/runs", host("evil.example:" + port), 421},
		{"foreign address", "GET", "/api/runs", host("192.0.2.1:" + port), 421},
		{"foreign origin", "GET", "/api/runs", header("Origin", "http://evil.example"), 403},
		{"another port of this machine", "POST", "/api/test", header("Origin", "http://127.0.0.1:1"), 403},
		{"opaque origin", "POST", "/api/test", header("Origin", "null"), 403},
		{"request from another site", "GET", "/api/runs", header("Sec-Fetch-Site", "cross-site"), 403},
		{"request from another port", "GET", "/api/runs", header("Sec-Fetch-Site", "same-site"), 403},
	} {
		if got := p.request(t, test.method, test.path, test.change).StatusCode; got != test.want {
			t.Errorf("%s: got %d, want %d", test.what, got, test.want)
		}
	}
}

// Browsers send cookies to every port of a host: the page of one server does not lock the page of another one out.
func TestGuard_severalServers(t *testing.T) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := http.Client{Jar: jar}
	a, b := serve(t, studio.Options{}, t.TempDir()), serve(t, studio.Options{}, t.TempDir())
	for _, address := range []string{a.url.String(), b.url.String(), "http://" + a.url.Host, "http://" + b.url.Host} {
		answer, err := browser.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", address, answer.Status)
		}
	}
}

// Every response has the security headers, including refusals.
func TestHeaders(t *testing.T) {
	p := serve(t, studio.Options{}, t.TempDir())
	for _, change := range []func(*http.Request){nil, noToken} {
		h := p.request(t, "GET", "/", change).Header
		for key, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self';", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store",
		} {
			if !strings.HasPrefix(h.Get(key), want) {
				t.Errorf("%s: got %q, want %q", key, h.Get(key), want)
			}
		}
		if strings.Contains(h.Get("Content-Security-Policy"), "unsafe") {
			t.Error("the policy has an exception")
		}
	}
}

func TestReadOnly(t *testing.T) {
	open, closed := serve(t, studio.Options{}, t.TempDir()), serve(t, studio.Options{ReadOnly: true}, t.TempDir())
	if got := open.request(t, "POST", "/api/test", nil).StatusCode; got != 200 {
		t.Errorf("got %d, want 200", got)
	}
	if got := closed.request(t, "POST", "/api/test", nil).StatusCode; got != 403 {
		t.Errorf("read only: got %d, want 403", got)
	}
}

// Request bodies are limited in size.
func TestLargeBody(t *testing.T) {
	p := serve(t, studio.Options{}, t.TempDir())
	answer := p.request(t, "POST", "/api/test", func(r *http.Request) {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat("x", 2<<20))), 2<<20
	})
	b, _ := io.ReadAll(answer.Body)
	if len(b) > 1<<20 {
		t.Errorf("%d bytes were read", len(b))
	}
}

// Neither an id nor a link leads out of the folders.
func TestPathsStayInside(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	row := `{"step":1,"loss":42.5}` + "\n"
	write(filepath.Join(outside, "secret", "log.jsonl"), row)
	write(filepath.Join(dir, "runs", "good", "log.jsonl"), row)
	for link, to := range map[string]string{"folder": filepath.Join(outside, "secret"), "file/log.jsonl": filepath.Join(outside, "secret", "log.jsonl")} {
		path := filepath.Join(dir, "runs", link)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, path); err != nil {
			t.Skip(err)
		}
	}
	p := serve(t, studio.Options{}, filepath.Join(dir, "runs"))
	for id, want := range map[string]bool{
		"runs/good": true, "runs/folder": false, "runs/file": false, "runs/../../" + filepath.Base(outside) + "/secret": false,
		"../secret": false, outside + "/secret": false, "runs/good/../good": false, "": false,
	} {
		answer := p.request(t, "GET", "/api/run/curves?id="+url.QueryEscape(id), nil)
		b, _ := io.ReadAll(answer.Body)
		if got := strings.Contains(string(b), "42.5"); got != want {
			t.Errorf("%q: %s", id, b)
		}
	}
	for _, path := range []string{"/../studio.go", "/%2e%2e/guard.go", "/..%2fguard.go", "//etc/passwd"} {
		if got := p.request(t, "GET", path, nil).StatusCode; got == 200 {
			t.Errorf("%s is served", path)
		}
	}
}

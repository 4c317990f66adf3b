// Package hubtest provides a Hugging Face hub for tests: a local server that lists and sends repositories as the real
// one does, redirecting to another port for large files, and that can fail the way networks and mirrors do.
package hubtest

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Commit is the commit of main in every repository.
const Commit = "0123456789abcdef0123456789abcdef01234567"

// Repository maps file names to contents.
type Repository map[string][]byte

// Hub serves repositories until the test ends.
type Hub struct {
	URL   string // value for HF_ENDPOINT
	Token string // token that requests must send; "" = none
	Bare  bool   // do not list hashes, like some mirrors
	Blind bool   // do not list sizes either

	repositories map[string]Repository // keyed by models/owner/name or datasets/owner/name
	api, content *httptest.Server

	mu       sync.Mutex
	moved    map[string]string
	faults   map[string][]Fault
	requests []string
	leaked   bool
}

// Listing is the name for injecting faults into the list of files.
const Listing = "listing"

// New starts a hub with repositories named models/owner/name and datasets/owner/name.
func New(t testing.TB, repositories map[string]Repository) *Hub {
	h := &Hub{repositories: repositories, moved: map[string]string{}, faults: map[string][]Fault{}}
	h.api = httptest.NewServer(http.HandlerFunc(h.serve))
	h.content = httptest.NewServer(http.HandlerFunc(h.serveContent))
	h.URL = h.api.URL
	t.Cleanup(h.Close)
	return h
}

// Close shuts the hub down, which also simulates an unreachable one.
func (h *Hub) Close() {
	h.api.CloseClientConnections()
	h.content.CloseClientConnections()
	h.api.Close()
	h.content.Close()
}

// Move redirects a repository's old name to its new one, as the hub does after a rename.
func (h *Hub) Move(from, to string) { h.moved[from] = to }

// Fault sends something other than the file. content is the correct response.
type Fault func(w http.ResponseWriter, r *http.Request, content []byte)

// Fail makes the next responses for a file, named by its path in its repository, or for [Listing], faults, in order.
func (h *Hub) Fail(name string, faults ...Fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults[name] = append(h.faults[name], faults...)
}

// Cut closes the connection after n bytes of the response.
func Cut(n int) Fault {
	return func(w http.ResponseWriter, r *http.Request, content []byte) {
		http.ServeContent(&cutter{w, n}, r, "", time.Time{}, bytes.NewReader(content))
	}
}

// cutter stops writing after a number of bytes.
type cutter struct {
	http.ResponseWriter
	left int
}

func (c *cutter) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b[:min(len(b), c.left)])
	if c.left -= n; c.left == 0 {
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

// Resize sends n bytes as if that were the size of the file.
func Resize(n int) Fault {
	return func(w http.ResponseWriter, _ *http.Request, content []byte) {
		w.Write(bytes.Repeat(content, n/len(content)+1)[:n])
	}
}

// Damage sends the file with one byte changed.
func Damage(w http.ResponseWriter, _ *http.Request, content []byte) {
	content = slices.Clone(content)
	content[len(content)/2] ^= 1
	w.Write(content)
}

// Whole sends the whole file, whatever range was requested.
func Whole(w http.ResponseWriter, _ *http.Request, content []byte) { w.Write(content) }

// Change sends another version of the file, or the requested range of it, regardless of the requested version.
func Change(content []byte) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ []byte) {
		w.Header().Set("ETag", entityTag(content))
		r.Header.Del("If-Range")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}
}

// Shift sends the bytes from n on, as if that range had been requested.
func Shift(n int) Fault {
	return func(w http.ResponseWriter, r *http.Request, content []byte) {
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", n))
		r.Header.Del("If-Range")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}
}

// Untagged turns f into the fault of a server that sends no entity tags.
func Untagged(f Fault) Fault {
	return func(w http.ResponseWriter, r *http.Request, content []byte) {
		w.Header().Del("ETag")
		f(w, r, content)
	}
}

// Endless sends n bytes of the file and closes the connection, which is how old servers mark the end of a response.
func Endless(n int) Fault {
	return func(w http.ResponseWriter, _ *http.Request, content []byte) {
		conn, out, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(out, "HTTP/1.0 200 OK\r\n\r\n%s", content[:n])
		out.Flush()
		conn.Close()
	}
}

// Status responds with a code and headers, given as pairs of key and value.
func Status(code int, header ...string) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
	}
}

// Silent accepts the request and sends nothing until the client gives up.
func Silent(_ http.ResponseWriter, r *http.Request, _ []byte) { <-r.Context().Done() }

// Stall sends n bytes and then nothing until the client gives up.
func Stall(n int) Fault {
	return func(w http.ResponseWriter, r *http.Request, content []byte) {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		w.Write(content[:n])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
}

// Asked returns the requests, as path and range, that contain part.
func (h *Hub) Asked(part string) (found []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.requests {
		if strings.Contains(r, part) {
			found = append(found, r)
		}
	}
	return found
}

// Leaked reports whether the token was sent to the server for large files, which has another port.
func (h *Hub) Leaked() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.leaked
}

// isLarge reports whether a file is sent by redirect and hashed with SHA-256, as with Git LFS.
func isLarge(name string) bool {
	return slices.Contains([]string{".safetensors", ".bin", ".parquet"}, path.Ext(name))
}

func (h *Hub) serve(w http.ResponseWriter, r *http.Request) {
	if h.Token != "" && r.Header.Get("Authorization") != "Bearer "+h.Token {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	for from, to := range h.moved {
		if strings.Contains(r.URL.Path, from+"/") {
			http.Redirect(w, r, strings.Replace(r.URL.RequestURI(), from, to, 1), http.StatusTemporaryRedirect)
			return
		}
	}
	for repository, files := range h.repositories {
		if r.URL.Path == "/api/"+repository+"/revision/main" {
			h.answer(w, r, Listing, h.list(files))
			return
		}
		name, ok := strings.CutPrefix(r.URL.Path, "/"+strings.TrimPrefix(repository, "models/")+"/resolve/"+Commit+"/")
		if !ok || files[name] == nil {
			continue
		}
		if isLarge(name) {
			http.Redirect(w, r, h.content.URL+"/"+repository+"/"+name, http.StatusFound)
			return
		}
		h.answer(w, r, name, files[name])
		return
	}
	w.WriteHeader(http.StatusNotFound)
}

func (h *Hub) serveContent(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "" {
		h.mu.Lock()
		h.leaked = true
		h.mu.Unlock()
	}
	for repository, files := range h.repositories {
		if name, ok := strings.CutPrefix(r.URL.Path, "/"+repository+"/"); ok {
			h.answer(w, r, name, files[name])
		}
	}
}

// answer sends content, or the next fault for name.
func (h *Hub) answer(w http.ResponseWriter, r *http.Request, name string, content []byte) {
	h.mu.Lock()
	h.requests = append(h.requests, strings.TrimSpace(r.URL.Path+" "+r.Header.Get("Range")))
	var fault Fault
	if queue := h.faults[name]; len(queue) > 0 {
		fault, h.faults[name] = queue[0], queue[1:]
	}
	h.mu.Unlock()
	w.Header().Set("ETag", entityTag(content))
	if fault != nil {
		fault(w, r, content)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

func entityTag(content []byte) string { return fmt.Sprintf(`"%x"`, sha1.Sum(content)) }

// list returns the response of the hub's API for a revision.
func (h *Hub) list(files Repository) []byte {
	siblings := []map[string]any{}
	for name, content := range files {
		git := sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(content), content))
		f := map[string]any{"rfilename": name}
		if !h.Blind {
			f["size"] = len(content)
		}
		if !h.Bare {
			f["blobId"] = hex.EncodeToString(git[:])
		}
		if isLarge(name) && !h.Bare {
			sum := sha256.Sum256(content)
			f["lfs"] = map[string]any{"sha256": hex.EncodeToString(sum[:]), "size": len(content)}
		}
		siblings = append(siblings, f)
	}
	b, err := json.Marshal(map[string]any{"sha": Commit, "siblings": siblings})
	if err != nil {
		panic(err)
	}
	return b
}

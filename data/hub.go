package data

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"mambatrain/internal/atomicfile"
	"mambatrain/internal/fault"
)

// HubKind tells models from data sets.
type HubKind string

// The kinds of repositories that are fetched.
const (
	HubModel   HubKind = "model"
	HubDataset HubKind = "dataset"
)

// Hub fetches files from Hugging Face or a mirror into Hugging Face's own cache, whose layout it keeps: what either
// program has downloaded, both use.
type Hub struct {
	Endpoint string // https://huggingface.co, or HF_ENDPOINT
	Token    string // sent as bearer, to the endpoint's host only
	Cache    string // directory of models--… and datasets--…
	Offline  bool   // use the cache only
	Client   *http.Client
	Progress func(file string, done, total int64) // may be nil; total is −1 where the server does not tell
}

// NewHub returns a hub as HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HOME, HF_HUB_CACHE and HF_HUB_OFFLINE say.
func NewHub() *Hub {
	home := os.Getenv("HF_HOME")
	if home == "" {
		base := os.Getenv("XDG_CACHE_HOME")
		if user, err := os.UserHomeDir(); base == "" && err == nil {
			base = filepath.Join(user, ".cache")
		}
		home = filepath.Join(base, "huggingface")
	}
	h := &Hub{
		Endpoint: strings.TrimRight(os.Getenv("HF_ENDPOINT"), "/"), Token: strings.TrimSpace(os.Getenv("HF_TOKEN")),
		Cache: os.Getenv("HF_HUB_CACHE"), Client: http.DefaultClient,
	}
	if h.Endpoint == "" {
		h.Endpoint = "https://huggingface.co"
	}
	if h.Cache == "" {
		h.Cache = filepath.Join(home, "hub")
	}
	if h.Token == "" {
		path := os.Getenv("HF_TOKEN_PATH")
		if path == "" {
			path = filepath.Join(home, "token")
		}
		raw, _ := os.ReadFile(path)
		h.Token = strings.TrimSpace(string(raw))
	}
	switch strings.ToLower(os.Getenv("HF_HUB_OFFLINE")) {
	case "1", "on", "yes", "true":
		h.Offline = true
	}
	return h
}

var hubID = regexp.MustCompile(`^[\w.-]*\w(/[\w.-]*\w)?$`)

// IsHubID reports whether s has the form of a repository's name: name or owner/name.
func IsHubID(s string) bool { return hubID.MatchString(s) && !strings.Contains(s, "..") }

// HubRequest names files of a repository.
type HubRequest struct {
	Kind     HubKind
	ID       string                        // owner/name
	Revision string                        // "" = main
	Want     func(name string) bool        // which files, by their path in the repository
	Enough   func(names []string) bool     // whether files in the cache make a request of the network needless; nil = any wanted file
	Choose   func(names []string) []string // narrows what the repository has to what is fetched; nil = all that is wanted
}

// Fetch returns the directory that holds the wanted files: from the cache where they are, else downloaded. Downloads go
// on where they were broken off, are checked against the repository's hashes, and appear whole.
func (h *Hub) Fetch(ctx context.Context, r HubRequest) (dir string, err error) {
	if !IsHubID(r.ID) {
		return "", fault.NotFound("data: %q is no repository name, want owner/name", r.ID)
	}
	if r.Revision == "" {
		r.Revision = "main"
	}
	repo := h.repository(&r)
	if dir, names := repo.cached(); dir != "" && repo.enough(names) {
		return dir, nil
	}
	if h.Offline {
		return "", fault.NotFound("data: %s %s is not in %s, and HF_HUB_OFFLINE forbids to fetch it", r.Kind, r.ID, h.Cache)
	}
	listing, err := repo.list(ctx)
	if err != nil {
		return "", err
	}
	wanted := listing.wanted(&r)
	if len(wanted) == 0 {
		return "", &noFilesError{fmt.Sprintf("data: %s %s at %s has no file that could be read", r.Kind, r.ID, h.Endpoint)}
	}
	for _, f := range wanted {
		if err := repo.fetch(ctx, listing.SHA, f); err != nil {
			return "", err
		}
	}
	return repo.snapshot(listing.SHA), repo.writeRef(listing.SHA)
}

// noFilesError says that a repository is there, but nothing in it is wanted.
type noFilesError struct{ message string }

func (e *noFilesError) Error() string        { return e.message }
func (e *noFilesError) Is(target error) bool { return target == fault.ErrNotFound }

// hubRepository is a repository in the cache and on the hub.
type hubRepository struct {
	*Hub
	request *HubRequest
	dir     string
}

func (h *Hub) repository(r *HubRequest) *hubRepository {
	return &hubRepository{h, r, filepath.Join(h.Cache, string(r.Kind)+"s--"+strings.ReplaceAll(r.ID, "/", "--"))}
}

func (r *hubRepository) snapshot(commit string) string {
	return filepath.Join(r.dir, "snapshots", commit)
}

// refPath returns where the commit of the revision stands.
func (r *hubRepository) refPath() string {
	return filepath.Join(r.dir, "refs", filepath.FromSlash(r.request.Revision))
}

func (r *hubRepository) writeRef(commit string) error {
	if commit == r.request.Revision {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(r.refPath()), 0o777); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	if err := atomicfile.WriteFile(r.refPath(), []byte(commit)); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	return nil
}

// cached returns the snapshot of the revision in the cache and the names of its files; "" where there is none.
func (r *hubRepository) cached() (dir string, names []string) {
	commit := r.request.Revision
	if raw, err := os.ReadFile(r.refPath()); err == nil {
		commit = strings.TrimSpace(string(raw))
	}
	if !filepath.IsLocal(commit) {
		return "", nil
	}
	dir = r.snapshot(commit)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if _, err := os.Stat(path); err != nil {
			return nil // a link into nowhere: the download did not end
		}
		name, err := filepath.Rel(dir, path)
		names = append(names, filepath.ToSlash(name))
		return err
	})
	if err != nil {
		return "", nil
	}
	return dir, names
}

func (r *hubRepository) enough(names []string) bool {
	names = slices.DeleteFunc(names, func(n string) bool { return !r.request.Want(n) })
	if r.request.Enough != nil {
		return r.request.Enough(names)
	}
	return len(names) > 0
}

// hubListing is what the hub says of a revision.
type hubListing struct {
	SHA      string
	Siblings []hubFile
}

// hubFile is a file of a repository. Its hash is Git's, or the content's where it is stored as a large file.
type hubFile struct {
	Name   string `json:"rfilename"`
	Size   *int64
	BlobID string `json:"blobId"`
	LFS    *struct {
		SHA256 string
		Size   int64
	}
}

func (l *hubListing) wanted(r *HubRequest) (files []hubFile) {
	var names []string
	for _, f := range l.Siblings {
		if filepath.IsLocal(filepath.FromSlash(f.Name)) && r.Want(f.Name) {
			names = append(names, f.Name)
		}
	}
	if r.Choose != nil {
		names = r.Choose(names)
	}
	for _, f := range l.Siblings {
		if slices.Contains(names, f.Name) {
			files = append(files, f)
		}
	}
	return files
}

// list asks the hub for the commit of the revision and its files.
func (r *hubRepository) list(ctx context.Context) (*hubListing, error) {
	base := r.Endpoint + "/api/" + string(r.request.Kind) + "s/" + r.request.ID
	addresses := []string{base + "/revision/" + url.PathEscape(r.request.Revision) + "?blobs=true"}
	if r.request.Revision == "main" {
		addresses = append(addresses, base+"?blobs=true") // mirrors may know this one only
	}
	var listing hubListing
	var err error
	for _, address := range addresses {
		if err = r.persist(ctx, func() error { return adviseReach(r.getJSON(ctx, address, &listing)) }); err == nil {
			break
		}
		var status *hubStatusError
		if !errors.As(err, &status) || status.code != http.StatusNotFound {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("data: %s %s: %w", r.request.Kind, r.request.ID, err)
	}
	if listing.SHA == "" {
		listing.SHA = r.request.Revision
	}
	if !filepath.IsLocal(listing.SHA) || strings.ContainsAny(listing.SHA, `/\`) && listing.SHA != r.request.Revision {
		return nil, fmt.Errorf("data: %s %s: the hub gives the commit %q", r.request.Kind, r.request.ID, listing.SHA)
	}
	return &listing, nil
}

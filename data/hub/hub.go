package hub

import (
	"cmp"
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
	"mambatrain/internal/inputfile"
)

// Kind is the kind of a repository.
type Kind string

// The supported kinds of repositories.
const (
	Model   Kind = "model"
	Dataset Kind = "dataset"
)

// Client downloads files from Hugging Face or a mirror into Hugging Face's own cache. It keeps the cache's layout, so
// that either program can use what the other has downloaded.
type Client struct {
	Endpoint string                               // https://huggingface.co, or HF_ENDPOINT
	Revision string                               // of requests that name none; "" = main
	Token    string                               // sent as a bearer token, only to the endpoint's scheme, host, and port
	Cache    string                               // directory that contains models--… and datasets--…
	Offline  bool                                 // use the cache only
	HTTP     *http.Client                         // nil = [http.DefaultClient]
	Progress func(file string, done, total int64) // may be nil; total is −1 if unknown
}

var idPattern = regexp.MustCompile(`^[\w.-]*\w(/[\w.-]*\w)?$`)

// IsID reports whether s has the form of a repository name: name or owner/name.
func IsID(s string) bool { return idPattern.MatchString(s) && !strings.Contains(s, "..") }

// Request names files in a repository.
type Request struct {
	Kind     Kind
	ID       string                        // owner/name
	Revision string                        // "" = that of the client
	Want     func(name string) bool        // selects files by their path in the repository
	Enough   func(names []string) bool     // whether the cached files make a network request unnecessary; nil = any wanted file
	Choose   func(names []string) []string // narrows the wanted files in the repository to those to fetch; nil = all
}

// Fetch returns the directory that contains the wanted files, from the cache if they are there, otherwise downloaded.
// Downloads resume where they stopped, are checked against the repository's hashes, and are stored atomically. Missing
// files appear in the directory only when all of them are complete.
func (h *Client) Fetch(ctx context.Context, r Request) (dir string, err error) {
	if !IsID(r.ID) {
		return "", fault.NotFound("hub: %q is not a repository name, want owner/name", r.ID)
	}
	r.Revision = cmp.Or(r.Revision, h.Revision, "main")
	if !filepath.IsLocal(filepath.FromSlash(r.Revision)) {
		return "", fault.NotFound("hub: %q is not a revision of %s", r.Revision, r.ID)
	}
	repo := h.repository(&r)
	if dir, names := repo.cached(); dir != "" && repo.enough(names) {
		return dir, nil
	}
	if h.Offline {
		return "", fault.NotFound("hub: %s %s is not in %s, and HF_HUB_OFFLINE forbids downloading it", r.Kind, r.ID, h.Cache)
	}
	listing, err := repo.list(ctx)
	if err != nil {
		return "", err
	}
	wanted := listing.wanted(&r)
	if len(wanted) == 0 {
		return "", &noFilesError{fmt.Sprintf("hub: %s %s at %s has no usable file", r.Kind, r.ID, h.Endpoint)}
	}
	if err := repo.fetch(ctx, listing.SHA, wanted); err != nil {
		return "", err
	}
	return repo.snapshot(listing.SHA), repo.writeRef(listing.SHA)
}

// ErrNoFiles matches the error for a repository that exists but has none of the wanted files.
var ErrNoFiles = errors.New("none of the wanted files")

// noFilesError matches ErrNoFiles and fault.ErrNotFound and has its own message.
type noFilesError struct{ message string }

func (e *noFilesError) Error() string { return e.message }
func (e *noFilesError) Is(target error) bool {
	return target == ErrNoFiles || target == fault.ErrNotFound
}

// repository is a repository in the cache and on the hub.
type repository struct {
	*Client
	request *Request
	dir     string
}

func (h *Client) repository(r *Request) *repository {
	return &repository{h, r, filepath.Join(h.Cache, string(r.Kind)+"s--"+strings.ReplaceAll(r.ID, "/", "--"))}
}

func (r *repository) snapshot(commit string) string {
	return filepath.Join(r.dir, "snapshots", commit)
}

// refPath returns the file that contains the commit of the revision.
func (r *repository) refPath() string {
	return filepath.Join(r.dir, "refs", filepath.FromSlash(r.request.Revision))
}

func (r *repository) writeRef(commit string) error {
	if commit == r.request.Revision {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(r.refPath()), 0o777); err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	if err := atomicfile.WriteFile(r.refPath(), []byte(commit)); err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	return nil
}

// cached returns the cached snapshot of the revision and the names of its files, or "" if there is none.
func (r *repository) cached() (dir string, names []string) {
	commit := r.request.Revision
	if raw, err := inputfile.Read(r.refPath(), inputfile.MaxConfig); err == nil {
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
			return nil // a dangling link: the download did not finish
		}
		name, err := filepath.Rel(dir, path)
		names = append(names, filepath.ToSlash(name))
		return err
	})
	if err != nil {
		return "", nil
	}
	slices.Sort(names)
	return dir, names
}

func (r *repository) enough(names []string) bool {
	names = slices.DeleteFunc(names, func(n string) bool { return !r.request.Want(n) })
	if r.request.Enough != nil {
		return r.request.Enough(names)
	}
	return len(names) > 0
}

// listing is the hub's description of a revision.
type listing struct {
	SHA      string
	Siblings []repositoryFile
}

// repositoryFile is a file in a repository. Its hash is Git's, or that of the content if it is stored as a large file.
type repositoryFile struct {
	Name   string `json:"rfilename"`
	Size   *int64
	BlobID string `json:"blobId"`
	LFS    *struct {
		SHA256 string
		Size   int64
	}
}

func (l *listing) wanted(r *Request) (files []repositoryFile) {
	var names []string
	for _, f := range l.Siblings {
		if filepath.IsLocal(filepath.FromSlash(f.Name)) && r.Want(f.Name) {
			names = append(names, f.Name)
		}
	}
	slices.Sort(names)
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
func (r *repository) list(ctx context.Context) (*listing, error) {
	base := r.Endpoint + "/api/" + string(r.request.Kind) + "s/" + r.request.ID
	addresses := []string{base + "/revision/" + url.PathEscape(r.request.Revision) + "?blobs=true"}
	if r.request.Revision == "main" {
		addresses = append(addresses, base+"?blobs=true") // some mirrors support only this one
	}
	var listing *listing
	var err error
	for _, address := range addresses {
		err = r.retry(ctx, func() (err error) {
			listing, err = r.getListing(ctx, address)
			return adviseUnreachable(err)
		})
		if err == nil {
			break
		}
		var status *statusError
		if !errors.As(err, &status) || status.code != http.StatusNotFound {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("hub: %s %s: %w", r.request.Kind, r.request.ID, err)
	}
	if listing.SHA == "" {
		listing.SHA = r.request.Revision
	}
	if !filepath.IsLocal(listing.SHA) || strings.ContainsAny(listing.SHA, `/\`) && listing.SHA != r.request.Revision {
		return nil, fmt.Errorf("hub: %s %s: the hub reports an invalid commit, %q", r.request.Kind, r.request.ID, listing.SHA)
	}
	return listing, nil
}

package hub

import (
	"cmp"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"mambatrain/internal/atomicfile"
	"mambatrain/internal/contenthash"
	"mambatrain/internal/filelock"
)

// fetch adds files to the snapshot of a commit, as links to blobs/HASH, as in Hugging Face's own cache. It makes the links
// last: a snapshot with some of the files would pass for all of them after an interruption.
func (r *repository) fetch(ctx context.Context, commit string, files []repositoryFile) error {
	links, blobs := make([]string, len(files)), make([]string, len(files))
	for i, f := range files {
		links[i] = filepath.Join(r.snapshot(commit), filepath.FromSlash(f.Name))
		if _, err := os.Stat(links[i]); err == nil {
			continue
		}
		var err error
		if blobs[i], err = r.fetchBlob(ctx, commit, f); err != nil {
			return err
		}
	}
	for i, blob := range blobs {
		if blob == "" {
			continue // linked before
		}
		if err := os.MkdirAll(filepath.Dir(links[i]), 0o777); err != nil {
			return fmt.Errorf("hub: %w", err)
		}
		if err := linkFile(blob, links[i]); err != nil {
			return err
		}
	}
	return nil
}

// fetchBlob downloads a file of a commit, unless the cache has its content, and returns the path of the blob.
func (r *repository) fetchBlob(ctx context.Context, commit string, f repositoryFile) (blob string, err error) {
	if err := os.MkdirAll(filepath.Join(r.dir, "blobs"), 0o777); err != nil {
		return "", fmt.Errorf("hub: %w", err)
	}
	d := download{hub: r.Client, name: f.Name, size: -1, hash: f.BlobID, address: r.fileAddress(commit, f.Name)}
	if f.LFS != nil {
		d.hash, d.size = f.LFS.SHA256, f.LFS.Size
	} else if f.Size != nil {
		d.size = *f.Size
	}
	if _, ok := d.checker(); !ok {
		d.hash = contenthash.Sum([]byte(commit), []byte(f.Name)) // nothing to check against; only a unique name
		d.unchecked = true
	}
	blob = filepath.Join(r.dir, "blobs", d.hash)
	if _, err := os.Stat(blob); err != nil {
		lock := filepath.Join(r.Cache, ".locks", filepath.Base(r.dir), d.hash+".lock")
		if err := d.run(ctx, blob, lock); err != nil {
			return "", fmt.Errorf("hub: %s %s: %s: %w", r.request.Kind, r.request.ID, f.Name, err)
		}
	}
	return blob, nil
}

func (r *repository) fileAddress(commit, name string) string {
	base := r.Endpoint + "/"
	if r.request.Kind == Dataset {
		base += "datasets/"
	}
	parts := strings.Split(name, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return base + r.request.ID + "/resolve/" + url.PathEscape(commit) + "/" + strings.Join(parts, "/")
}

// linkFile makes link point to blob by a relative path, so that the cache can be moved. If the system does not support
// links, it copies the file.
func linkFile(blob, link string) error {
	target, err := filepath.Rel(filepath.Dir(link), blob)
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	err = os.Symlink(target, link)
	if errors.Is(err, os.ErrExist) {
		if _, err := os.Stat(link); err == nil {
			return nil // of another process, which may be reading the file by now
		}
		os.Remove(link) // dangling
		err = os.Symlink(target, link)
	}
	if err == nil || errors.Is(err, os.ErrExist) {
		return nil
	}
	in, err := os.Open(blob)
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	defer in.Close()
	out, err := atomicfile.Create(filepath.Dir(link))
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Abort()
		return fmt.Errorf("hub: %s: %w", link, err)
	}
	if err := out.Commit(link); err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	return nil
}

// download is the download of one file.
type download struct {
	hub       *Client
	name      string
	address   string
	size      int64  // −1 = unknown
	hash      string // SHA-256 of the content, or Git's SHA-1
	unchecked bool   // hash is only a name; parts of the file belong together if their entity tags are equal
	version   string // entity tag of what has been received; "" = unknown
}

// checker returns a hash that computes d.hash, or false if d.hash is neither kind.
func (d *download) checker() (hash.Hash, bool) {
	if _, err := hex.DecodeString(d.hash); err != nil {
		return nil, false
	}
	switch len(d.hash) {
	case 2 * sha256.Size:
		return sha256.New(), true
	case 2 * sha1.Size:
		if d.size < 0 {
			return nil, false
		}
		h := sha1.New()
		fmt.Fprintf(h, "blob %d\x00", d.size)
		return h, true
	}
	return nil, false
}

// run downloads to blob.incomplete, resuming an earlier run, checks the file, and renames it. A lock file admits one
// process at a time. It is the one that huggingface_hub uses, so on Unix the two programs also exclude each other.
func (d *download) run(ctx context.Context, blob, lock string) error {
	held, err := filelock.Wait(ctx, lock)
	if err != nil {
		return err
	}
	defer held.Close()
	if _, err := os.Stat(blob); err == nil {
		return nil // another process was first
	}
	part := blob + ".incomplete"
	err = d.hub.retry(ctx, func() error {
		if err := d.resume(ctx, part); err != nil {
			return err
		}
		if err := d.check(ctx, part); err != nil {
			os.Remove(part) // damaged: the next try starts over
			return err
		}
		return os.Rename(part, blob)
	})
	if err == nil {
		return nil
	}
	if d.unchecked {
		os.Remove(part) // a later run cannot know which version it is
	}
	if info, missing := os.Stat(part); missing == nil && info.Size() > 0 {
		return fmt.Errorf("%w; run the same command again to resume after %d bytes", err, info.Size())
	}
	return err
}

// resume appends the missing bytes to part.
func (d *download) resume(ctx context.Context, part string) error {
	out, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	defer out.Close()
	have, err := out.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if d.size >= 0 && have > d.size || d.unchecked && d.version == "" {
		have = 0
	}
	if d.size >= 0 && have == d.size {
		return nil
	}
	answer, err := d.hub.get(ctx, d.address, have, d.version)
	var status *statusError
	if errors.As(err, &status) && status.code == http.StatusRequestedRangeNotSatisfiable {
		return errors.Join(err, out.Truncate(0)) // part is longer than the file
	}
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	have, total, err := d.place(answer, have)
	if err != nil {
		d.version = ""
		return errors.Join(err, out.Truncate(0))
	}
	if err := out.Truncate(have); err != nil {
		return err
	}
	if _, err := out.Seek(have, io.SeekStart); err != nil {
		return err
	}
	body := io.Reader(&progressReader{answer.Body, d, have, total})
	if total >= 0 {
		body = io.LimitReader(body, total-have+1) // one extra byte reveals a file that is too long
	}
	n, err := io.Copy(out, body)
	if err == nil && total >= 0 && have+n != total {
		err = wrongSize(have+n, total)
	}
	if err == nil {
		err = out.Sync()
	}
	return err
}

// errNoEnd is the error for a download whose end cannot be detected.
var errNoEnd = errors.New("the server gives neither the size nor a hash of the file, so a complete download cannot be verified")

// place returns the offset in the file where the body of a response begins, for a request from offset asked, and the
// total size of the file, or −1 if only the end of the body reveals it.
func (d *download) place(answer *http.Response, asked int64) (start, total int64, err error) {
	version := answer.Header.Get("ETag")
	if strings.HasPrefix(version, "W/") { // a weak tag: same meaning, not the same bytes
		version = ""
	}
	if encoding := answer.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return 0, 0, fmt.Errorf("the server sends the file with content encoding %q", encoding)
	}
	total = d.size
	if answer.StatusCode == http.StatusOK { // the whole file, whatever was requested
		d.version = version
		if total < 0 {
			total = answer.ContentLength
		}
		if endless := len(answer.TransferEncoding) == 0 && answer.ProtoMajor < 2; endless && total < 0 && d.unchecked {
			return 0, 0, errNoEnd
		}
		return 0, total, nil
	}
	start, whole, ok := parseContentRange(answer.Header.Get("Content-Range"))
	if !ok || start != asked {
		return 0, 0, fmt.Errorf("the server sends the range %q, want bytes from %d on", answer.Header.Get("Content-Range"), asked)
	}
	if d.unchecked && (version == "" || version != d.version) {
		return 0, 0, errors.New("the file changed during the download")
	}
	if total < 0 {
		total = max(whole, start+answer.ContentLength)
	}
	if whole >= 0 && whole != total {
		return 0, 0, fmt.Errorf("the server has a file of %d bytes, want %d", whole, total)
	}
	return start, total, nil
}

// parseContentRange parses the first byte and the size from "bytes 40-99/100". The size is −1 if unknown.
func parseContentRange(s string) (start, size int64, ok bool) {
	s, ok = strings.CutPrefix(s, "bytes ")
	span, of, cut := strings.Cut(s, "/")
	first, _, dash := strings.Cut(span, "-")
	start, err := strconv.ParseInt(first, 10, 64)
	size = -1
	if of != "*" {
		var wrong error
		size, wrong = strconv.ParseInt(of, 10, 64)
		err = errors.Join(err, wrong)
	}
	return start, size, ok && cut && dash && err == nil
}

func wrongSize(got, want int64) error {
	if got > want {
		return fmt.Errorf("damaged: more than the %d bytes reported by the hub", want)
	}
	return fmt.Errorf("%d bytes, want %d: %w", got, want, io.ErrUnexpectedEOF)
}

// progressReader reports the progress of a download.
type progressReader struct {
	io.Reader
	download    *download
	done, total int64
}

func (r *progressReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.done += int64(n)
	if r.download.hub.Progress != nil && n > 0 {
		r.download.hub.Progress(r.download.name, r.done, r.total)
	}
	return n, err
}

// check compares the hash of part with the one from the hub.
func (d *download) check(ctx context.Context, part string) error {
	if d.unchecked {
		return nil
	}
	h, _ := d.checker()
	f, err := os.Open(part)
	if err != nil {
		return err
	}
	defer f.Close()
	stop := context.AfterFunc(ctx, func() { f.Close() }) // hashing a large file takes minutes
	defer stop()
	if _, err := io.Copy(h, f); err != nil {
		return cmp.Or(ctx.Err(), err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != d.hash {
		return fmt.Errorf("damaged: the hash is %.12s…, want %.12s…", got, d.hash)
	}
	return nil
}

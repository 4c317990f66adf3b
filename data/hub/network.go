package hub

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"mambatrain/internal/fault"
)

// Retries and timeouts of the hub client.
var (
	// maxTries is the maximum number of attempts for a request that fails for a possibly temporary reason.
	maxTries = 5
	// firstWait is the delay before the second attempt; it doubles each time. A server may ask for more, up to maxWait.
	firstWait = time.Second
	maxWait   = time.Minute
	// silenceLimit is how long a connection may be silent before it is abandoned.
	silenceLimit = 30 * time.Second
)

// retry repeats try after errors of the network or an overloaded server.
func (h *Client) retry(ctx context.Context, try func() error) (err error) {
	for n := range maxTries {
		if n > 0 {
			select {
			case <-time.After(waitTime(err, n)):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		err = try()
		if stopped := ctx.Err(); err != nil && stopped != nil && !errors.Is(err, stopped) {
			return stopped // rather than the server's latest error
		}
		if err == nil || ctx.Err() != nil || !isTransient(err) {
			return err
		}
	}
	return fmt.Errorf("gave up after %d tries: %w", maxTries, err)
}

// waitTime returns the delay after the n-th failure.
func waitTime(err error, n int) time.Duration {
	wait := firstWait << (n - 1)
	var status *statusError
	if errors.As(err, &status) {
		wait = max(wait, min(status.after, maxWait))
	}
	return wait
}

// isTransient reports whether another attempt may succeed, unlike after a refusal or on a full disk.
func isTransient(err error) bool {
	var status *statusError
	if errors.As(err, &status) {
		return status.code >= 500 || status.code == http.StatusTooManyRequests || status.code == http.StatusRequestedRangeNotSatisfiable
	}
	return !errors.As(err, new(*fs.PathError)) && !errors.Is(err, fault.ErrNotFound) && !errors.Is(err, errNoEnd)
}

// unreachableError means that no server responded.
type unreachableError struct {
	host  string
	cause error
}

func (e *unreachableError) Error() string { return fmt.Sprintf("cannot reach %s: %v", e.host, e.cause) }
func (e *unreachableError) Unwrap() error { return e.cause }

// adviseUnreachable makes the error for an unreachable hub match fault.ErrNotFound and adds advice.
func adviseUnreachable(err error) error {
	if !errors.As(err, new(*unreachableError)) {
		return err
	}
	return fault.NotFound("%v; it is also not in the cache: check the network, set HF_ENDPOINT to a mirror, or use a local path", err)
}

// networkError describes briefly why a request got no response, without Go's wording for every layer.
func networkError(address string, err error) error {
	host := address
	if u, parsed := url.Parse(address); parsed == nil {
		host = u.Scheme + "://" + u.Host
	}
	var (
		wrapped *url.Error
		name    *net.DNSError
		dial    *net.OpError
	)
	switch {
	case errors.As(err, &name):
		return &unreachableError{host, errors.New(name.Err)}
	case errors.As(err, &dial) && dial.Op == "dial":
		return &unreachableError{host, dial.Err}
	case errors.Is(err, errSilent):
		return &unreachableError{host, errSilent}
	case errors.As(err, &wrapped):
		return fmt.Errorf("%s: %w", host, wrapped.Err)
	}
	return fmt.Errorf("%s: %w", host, err)
}

// Limits on a list of files, which may come from an untrusted server.
const (
	maxListing = 64 << 20 // bytes
	maxFiles   = 1 << 20
)

// getListing reads the response of the hub's API for a revision.
func (h *Client) getListing(ctx context.Context, address string) (*listing, error) {
	answer, err := h.get(ctx, address, 0, "")
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	l := &listing{}
	err = l.read(json.NewDecoder(http.MaxBytesReader(nil, answer.Body, maxListing)))
	if err == errNoListing || errors.As(err, new(*json.SyntaxError)) || errors.As(err, new(*json.UnmarshalTypeError)) {
		return nil, fault.NotFound("%s: not a list of files: is HF_ENDPOINT the address of a hub?", address)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	return l, nil
}

var errNoListing = errors.New("not a list of files")

// read decodes an object with sha and siblings one file at a time, so that a long list cannot exhaust memory.
func (l *listing) read(d *json.Decoder) error {
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return cmp.Or(err, errNoListing)
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		switch key {
		case "sha":
			err = d.Decode(&l.SHA)
		case "siblings":
			err = l.readFiles(d)
		default:
			err = d.Decode(new(json.RawMessage))
		}
		if err != nil {
			return err
		}
	}
	_, err := d.Token()
	return err
}

func (l *listing) readFiles(d *json.Decoder) error {
	if start, err := d.Token(); err != nil || start != json.Delim('[') {
		return cmp.Or(err, errNoListing)
	}
	for d.More() {
		var f repositoryFile
		if err := d.Decode(&f); err != nil {
			return err
		}
		if l.Siblings = append(l.Siblings, f); len(l.Siblings) > maxFiles {
			return fault.NotFound("a list of more than %d files", maxFiles)
		}
	}
	_, err := d.Token()
	return err
}

// statusError is a response other than the file.
type statusError struct {
	code    int
	after   time.Duration // delay that the server asks for
	message string
}

func (e *statusError) Error() string { return e.message }

// Is makes a resource that the hub does not have, or does not admit to having, match fault.ErrNotFound.
func (e *statusError) Is(target error) bool {
	return target == fault.ErrNotFound && (e.code == http.StatusNotFound || e.code == http.StatusUnauthorized || e.code == http.StatusForbidden)
}

// get requests the bytes of address starting at from, of the version with the given entity tag if version is not "".
// Reading the response fails if nothing arrives for a while.
func (h *Client) get(ctx context.Context, address string, from int64, version string) (*http.Response, error) {
	client, err := h.authorized()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	request.Header.Set("User-Agent", "mamba-train")
	request.Header.Set("Accept-Encoding", "identity")
	if from > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	if from > 0 && version != "" {
		request.Header.Set("If-Range", version)
	}
	watch := watchSilence(address, func() { cancel(errSilent) })
	answer, err := client.Do(request)
	if err != nil {
		watch.Stop()
		if context.Cause(ctx) == errSilent {
			err = errSilent
		}
		cancel(nil)
		return nil, networkError(address, err)
	}
	answer.Body = &watchedBody{answer.Body, ctx, cancel, watch}
	if answer.StatusCode == http.StatusOK || answer.StatusCode == http.StatusPartialContent {
		return answer, nil
	}
	answer.Body.Close()
	return nil, newStatusError(address, answer)
}

func newStatusError(address string, answer *http.Response) error {
	hint := ""
	switch answer.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		hint = ": private, gated, or nonexistent; HF_TOKEN must belong to an account with access"
	case http.StatusNotFound:
		hint = ": no such repository, revision, or file"
	case http.StatusTooManyRequests:
		hint = ": try again later; setting HF_TOKEN raises the hub's limit"
	}
	seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After"))
	return &statusError{answer.StatusCode, time.Duration(seconds) * time.Second, fmt.Sprintf("%s: %s%s", address, answer.Status, hint)}
}

// authorized returns a client that sends the token to the endpoint only.
func (h *Client) authorized() (*http.Client, error) {
	endpoint, err := url.Parse(h.Endpoint)
	if err != nil || endpoint.Host == "" || endpoint.Scheme != "http" && endpoint.Scheme != "https" {
		return nil, fault.NotFound("HF_ENDPOINT: want an address such as https://huggingface.co, got %q", h.Endpoint)
	}
	client := http.Client{}
	if h.HTTP != nil {
		client = *h.HTTP
	}
	client.Transport = &tokenSender{cmp.Or(client.Transport, http.DefaultTransport), originOf(endpoint), h.Token}
	return &client, nil
}

// tokenSender adds the token to requests for one origin. If it were a header of the first request, [http.Client] would
// also send it to other ports and subdomains, and unencrypted, when a response redirects there.
type tokenSender struct {
	http.RoundTripper
	origin, token string
}

func (s *tokenSender) RoundTrip(r *http.Request) (*http.Response, error) {
	if s.token != "" && originOf(r.URL) == s.origin {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+s.token)
	}
	return s.RoundTripper.RoundTrip(r)
}

// originOf returns the scheme, host, and port of an address.
func originOf(u *url.URL) string {
	port := cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// watchSilence calls silent if its timer is not reset for a while. Tests replace it.
var watchSilence = func(_ string, silent func()) timer { return time.AfterFunc(silenceLimit, silent) }

// timer is a [time.Timer] or a substitute in tests.
type timer interface {
	Reset(d time.Duration) bool
	Stop() bool
}

// errSilent is the error for a connection on which nothing arrives anymore.
var errSilent = errors.New("no answer")

// watchedBody fails when nothing arrives anymore.
type watchedBody struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	watch  timer
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF && context.Cause(b.ctx) == errSilent {
		return n, errSilent
	}
	b.watch.Reset(silenceLimit)
	return n, err
}

func (b *watchedBody) Close() error {
	b.watch.Stop()
	b.cancel(nil)
	return b.ReadCloser.Close()
}

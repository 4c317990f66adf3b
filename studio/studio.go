// Package studio serves a local page that shows training runs, during training and afterwards.
//
// The page is embedded in the program. It reads only files that runs write anyway, so watching a run does not slow it down.
// To open the page, a user needs the token in its URL; guard.go documents which requests are refused.
package studio

import (
	"context"
	"crypto/rand"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"mambatrain/studio/runs"
)

// Options configure a [Server].
type Options struct {
	Library  *runs.Library
	Data     DataReader // if nil, training data is not shown
	ReadOnly bool       // nothing can be started, stopped, or generated
}

// Server handles the page's requests. Everything under /api/ is JSON or an event stream.
type Server struct {
	options Options
	token   string
	local   bool // the server can be reached only from this machine
	host    string
	mux     *http.ServeMux
	watcher *watcher
	reading sync.Mutex // held while training data is read
}

// New returns a server for the page and the runs of the library. [Server.Handle] adds other parts of the page.
func New(o Options) *Server {
	s := &Server{options: o, token: rand.Text(), mux: http.NewServeMux(), local: true, watcher: newWatcher(o.Library)}
	s.handleAssets()
	s.handleRuns()
	return s
}

// Handle registers a handler for a pattern such as "POST /api/jobs". The handler receives only requests that passed the
// guard: token, Host, and Origin are valid, the body is limited, and with ReadOnly the method is GET or HEAD.
func (s *Server) Handle(pattern string, h http.Handler) { s.mux.Handle(pattern, h) }

// Listen listens on an address such as 127.0.0.1:0 and returns the URL of the page, which includes the token.
func (s *Server) Listen(address string) (net.Listener, string, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, "", err
	}
	at := l.Addr().(*net.TCPAddr)
	s.local = at.IP.IsLoopback()
	s.host, _, _ = net.SplitHostPort(address)
	shown := at.String()
	if at.IP.IsUnspecified() {
		shown = net.JoinHostPort("localhost", shown[len(shown)-portLength(shown):])
	}
	u := url.URL{Scheme: "http", Host: shown, Path: "/", RawQuery: url.Values{"token": {s.token}}.Encode()}
	return l, u.String(), nil
}

// portLength returns the length of the port at the end of a host.
func portLength(host string) int {
	_, port, _ := net.SplitHostPort(host)
	return len(port)
}

// Local reports whether the server can be reached only from this machine.
func (s *Server) Local() bool { return s.local }

// Serve handles requests until the context is canceled.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	const (
		header      = 10 * time.Second
		idle        = 2 * time.Minute
		headerBytes = 1 << 14 // bytes of request headers
	)
	h := &http.Server{
		Handler: s.guard(s.mux), ReadHeaderTimeout: header, IdleTimeout: idle, MaxHeaderBytes: headerBytes,
		ErrorLog:    log.New(io.Discard, "", 0),                        // discards errors from broken connections
		BaseContext: func(net.Listener) context.Context { return ctx }, // ends the streams
	}
	stop := context.AfterFunc(ctx, func() { h.Close() })
	defer stop()
	go s.watcher.run(ctx)
	err := h.Serve(l)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

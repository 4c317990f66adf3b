// Package studio serves one local page that shows training runs while they train and afterwards.
//
// The page is part of the program. It reads what runs write anyway, so that watching costs a run nothing. Whoever opens it
// needs the token in the address; see guard.go for what is refused.
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

// Options say what a [Server] shows.
type Options struct {
	Library  *runs.Library
	Data     DataReader // nil: data is not shown
	ReadOnly bool       // nothing can be started, stopped or run
}

// Server answers the page's requests. Everything below /api/ is JSON or a stream of events.
type Server struct {
	options Options
	token   string
	local   bool // only this machine can reach the server
	host    string
	mux     *http.ServeMux
	watcher *watcher
	reading sync.Mutex // held while data is read
}

// New returns a server with the page and the runs of the library. Other parts of the page are added with [Server.Handle].
func New(o Options) *Server {
	s := &Server{options: o, token: rand.Text(), mux: http.NewServeMux(), local: true, watcher: newWatcher(o.Library)}
	s.handleAssets()
	s.handleRuns()
	return s
}

// Handle adds a handler, such as one for "POST /api/jobs". It sees only requests that the guard has let pass: their token,
// Host and Origin are right, their body is limited, and with ReadOnly they are GET or HEAD.
func (s *Server) Handle(pattern string, h http.Handler) { s.mux.Handle(pattern, h) }

// Listen opens the address to serve on, such as 127.0.0.1:0, and returns the page's address with its token.
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

// portLength is the length of the port that ends a host.
func portLength(host string) int {
	_, port, _ := net.SplitHostPort(host)
	return len(port)
}

// Local reports whether only this machine can reach the server.
func (s *Server) Local() bool { return s.local }

// Serve answers requests until the context ends.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	const (
		header = 10 * time.Second
		idle   = 2 * time.Minute
		most   = 1 << 14 // bytes of a request's headers
	)
	h := &http.Server{
		Handler: s.guard(s.mux), ReadHeaderTimeout: header, IdleTimeout: idle, MaxHeaderBytes: most,
		ErrorLog:    log.New(io.Discard, "", 0),                        // of connections that others broke
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

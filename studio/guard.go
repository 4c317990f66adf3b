package studio

import (
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// A request is let through if it passes these checks:
//   - The Host is a local address or a name that the server was told to listen on. Any other name that resolves to this
//     server belongs to somebody else's page (DNS rebinding).
//   - The Origin, if the browser sends one, is the page's own, and so is the site that made the request.
//   - The token is correct. Assets also accept it in a cookie. Browsers send cookies to every port of a host, so its name
//     contains the port, and another program on this machine may see the cookie. Everything under /api/ therefore accepts
//     the token only in the header or the URL, which a foreign page cannot know.

const maxBody = 1 << 20 // bytes of a request body

// policy lets the page load its own files and connect to its own server, and nothing else. Trusted types turn any attempt
// by a script to insert markup into an error.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; " +
	"form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

func setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// guard rejects requests that come neither from the page nor from somebody who knows the token.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		setHeaders(w.Header())
		if status, problem := s.refusal(r); problem != "" {
			http.Error(w, problem, status)
			return
		}
		if s.authorized(queryToken(r)) {
			http.SetCookie(w, &http.Cookie{Name: cookieName(r), Value: s.token, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}

// refusal returns why a request is refused, or "" if it is allowed.
func (s *Server) refusal(r *http.Request) (status int, problem string) {
	switch {
	case !s.knownHost(r.Host):
		return http.StatusMisdirectedRequest, "studio: unknown host name"
	case !sameOrigin(r):
		return http.StatusForbidden, "studio: the request comes from another page"
	case !s.hasToken(r):
		return http.StatusUnauthorized, "studio: open the address printed by mamba-train studio, including its token"
	case s.options.ReadOnly && r.Method != http.MethodGet && r.Method != http.MethodHead:
		return http.StatusForbidden, "studio: the studio is read-only"
	}
	return 0, ""
}

// knownHost reports whether the host is a name or an address of this machine. It ignores the port, which differs behind a
// tunnel.
func (s *Server) knownHost(hostPort string) bool {
	host := hostPort
	if h, _, err := net.SplitHostPort(hostPort); err == nil {
		host = h
	}
	host = strings.Trim(strings.ToLower(host), "[]")
	if host == "localhost" || host != "" && host == strings.ToLower(s.host) {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && (ip.IsLoopback() || !s.local)
}

// sameOrigin accepts requests from the page, from programs, and from a person who opens the URL.
func sameOrigin(r *http.Request) bool {
	if origin := r.Header.Get("Origin"); origin != "" && origin != "http://"+r.Host {
		return false
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return true
	}
	return r.Method == http.MethodGet && r.URL.Path == "/" && r.Header.Get("Sec-Fetch-Mode") == "navigate"
}

func (s *Server) hasToken(r *http.Request) bool {
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok && s.authorized(bearer) {
		return true
	}
	if s.authorized(queryToken(r)) {
		return true
	}
	c, err := r.Cookie(cookieName(r))
	return err == nil && s.authorized(c.Value) && !strings.HasPrefix(r.URL.Path, "/api/") && (r.Method == http.MethodGet || r.Method == http.MethodHead)
}

// cookieName returns a name that differs between servers on ports of the same host.
func cookieName(r *http.Request) string {
	return "mamba-studio-" + r.Host[len(r.Host)-portLength(r.Host):]
}

func queryToken(r *http.Request) string { return r.URL.Query().Get("token") }

func (s *Server) authorized(token string) bool {
	return subtle.ConstantTimeCompare([]byte(token), []byte(s.token)) == 1
}

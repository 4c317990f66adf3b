package studio

import (
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// What may pass, and against whom it is checked:
//   - The Host is an address or a name that the server was told to listen on: a foreign name that leads here belongs to
//     somebody else's page (DNS rebinding).
//   - The Origin, where the browser names one, is the page's own, and so is the site that sends the request.
//   - The token is right. Assets accept it as a cookie, too. Browsers send cookies to every port of a host, hence another
//     program on this machine may see it; what is below /api/ accepts it in the header or the address only, which no
//     foreign page can know.

const (
	cookieName = "mamba-studio"
	maxBody    = 1 << 20 // bytes of a request
)

// policy lets the page load its own files and talk to its own server, and nothing else. Trusted types turn any use of
// markup from a script into an error.
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

// guard refuses what does not come from the page or from somebody who knows the token.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		setHeaders(w.Header())
		if status, problem := s.refusal(r); problem != "" {
			http.Error(w, problem, status)
			return
		}
		if s.authorized(queryToken(r)) {
			http.SetCookie(w, &http.Cookie{Name: cookieName, Value: s.token, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}

// refusal returns why a request is refused; "" if it is not.
func (s *Server) refusal(r *http.Request) (status int, problem string) {
	switch {
	case !s.knownHost(r.Host):
		return http.StatusMisdirectedRequest, "studio: this host name is not the studio's"
	case !sameOrigin(r):
		return http.StatusForbidden, "studio: the request comes from another page"
	case !s.hasToken(r):
		return http.StatusUnauthorized, "studio: open the address that mamba-train studio has printed, with its token"
	case s.options.ReadOnly && r.Method != http.MethodGet && r.Method != http.MethodHead:
		return http.StatusForbidden, "studio: started with --read-only"
	}
	return 0, ""
}

// knownHost accepts names of this machine. The port is not compared: it differs behind a tunnel.
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

// sameOrigin accepts requests of the page and of programs, and an address that a person opens.
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
	c, err := r.Cookie(cookieName)
	return err == nil && s.authorized(c.Value) && !strings.HasPrefix(r.URL.Path, "/api/") && (r.Method == http.MethodGet || r.Method == http.MethodHead)
}

func queryToken(r *http.Request) string { return r.URL.Query().Get("token") }

func (s *Server) authorized(token string) bool {
	return subtle.ConstantTimeCompare([]byte(token), []byte(s.token)) == 1
}

package studio

import (
	"embed"
	"io/fs"
	"net/http"
)

//go:embed assets
var embedded embed.FS

// assets returns the files of the page.
func assets() fs.FS {
	dir, err := fs.Sub(embedded, "assets")
	if err != nil {
		panic(err)
	}
	return dir
}

// handleAssets serves the page at / and its files by name.
func (s *Server) handleAssets() {
	s.mux.Handle("GET /", http.FileServerFS(assets()))
}

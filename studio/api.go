package studio

import (
	"encoding/json"
	"errors"
	"net/http"

	"mambatrain/studio/runs"
)

// handleRuns serves what the library reads. A run is named by ?id=, which is looked up and never taken for a path.
func (s *Server) handleRuns() {
	s.mux.HandleFunc("GET /api/runs", func(w http.ResponseWriter, _ *http.Request) { s.writeList(w) })
	s.mux.HandleFunc("GET /api/run", func(w http.ResponseWriter, r *http.Request) {
		curves, err := s.options.Library.Curves(r.URL.Query().Get("id"))
		answer(w, curves, err)
	})
	s.mux.HandleFunc("GET /api/events", s.stream)
}

// listing is the answer to GET /api/runs.
type listing struct {
	Runs     []runs.Summary `json:"runs"`
	Folders  []string       `json:"folders"`
	ReadOnly bool           `json:"read_only"`
}

func (s *Server) listing(list []runs.Summary) listing {
	return listing{list, s.options.Library.Folders(), s.options.ReadOnly}
}

func (s *Server) writeList(w http.ResponseWriter) {
	answer(w, s.listing(s.options.Library.List()), nil)
}

// answer writes a value as JSON, or the error.
func answer(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		status := http.StatusInternalServerError
		if errors.Is(err, runs.ErrUnknown) {
			status = http.StatusNotFound
		}
		w.WriteHeader(status)
		v = map[string]string{"error": err.Error()}
	}
	json.NewEncoder(w).Encode(v) // fails if nobody listens any more
}

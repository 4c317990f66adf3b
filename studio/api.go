package studio

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"mambatrain/studio/runs"
)

// handleRuns serves what the library reads. Requests select a run with ?id=, which is looked up and never used as a path.
func (s *Server) handleRuns() {
	l := s.options.Library
	s.mux.HandleFunc("GET /api/runs", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.listing(), nil) })
	s.mux.HandleFunc("GET /api/events", s.stream)
	s.mux.HandleFunc("GET /api/run/curves", about(l.Curves))
	s.mux.HandleFunc("GET /api/run/samples", about(l.Samples))
	s.mux.HandleFunc("GET /api/run/settings", about(l.Settings))
	s.mux.HandleFunc("GET /api/run/card", about(l.Card))
	s.mux.HandleFunc("GET /api/run/data", s.data)
}

// about returns a handler that answers with the result of read for the requested run.
func about[T any](read func(id string) (T, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := read(r.URL.Query().Get("id"))
		answer(w, v, err)
	}
}

// listing is the answer to GET /api/runs.
type listing struct {
	Runs     []runs.Summary `json:"runs"`
	Folders  []string       `json:"folders"`
	ReadOnly bool           `json:"read_only"`
}

func (s *Server) listing() listing {
	return listing{s.options.Library.List(), s.options.Library.Folders(), s.options.ReadOnly}
}

// Data is the part of a run's training data that the page shows.
type Data struct {
	Documents int         `json:"documents"` // documents read
	Partial   bool        `json:"partial"`   // there are more documents
	Rows      []DataRow   `json:"rows"`
	Histogram []LengthBin `json:"histogram"`
}

// DataRow is a document as the model is trained on it.
type DataRow struct {
	Row      int           `json:"row"` // row in the source, counted from 0
	Tokens   int           `json:"tokens"`
	Labels   int           `json:"labels"`
	Segments []DataSegment `json:"segments"`
}

// DataSegment is a part of a document that either counts toward the loss or does not.
type DataSegment struct {
	Text    string `json:"text"`
	Counted bool   `json:"counted"`
}

// LengthBin is the number of documents with From to To tokens.
type LengthBin struct {
	From      int `json:"from"`
	To        int `json:"to"`
	Documents int `json:"documents"`
}

// DataReader reads the training data of the run in dir.
type DataReader func(ctx context.Context, dir string) (*Data, error)

// data serves the training data of a run. It handles one request at a time because reading takes memory.
func (s *Server) data(w http.ResponseWriter, r *http.Request) {
	dir, err := s.options.Library.Dir(r.URL.Query().Get("id"))
	if err != nil || s.options.Data == nil {
		answer(w, &Data{}, err)
		return
	}
	s.reading.Lock()
	defer s.reading.Unlock()
	if r.Context().Err() != nil {
		return
	}
	d, err := s.options.Data(r.Context(), dir)
	answer(w, d, err)
}

// answer writes v as JSON, or the error.
func answer(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		status := http.StatusUnprocessableEntity
		if errors.Is(err, runs.ErrUnknown) {
			status = http.StatusNotFound
		}
		w.WriteHeader(status)
		v = map[string]string{"error": err.Error()}
	}
	json.NewEncoder(w).Encode(v) // fails only if the client has disconnected
}

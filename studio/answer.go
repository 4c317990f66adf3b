package studio

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"mambatrain/studio/runs"
)

// Answer writes v as JSON, or err as {"error": …}: with status 404 if the run is unknown, otherwise 409.
func Answer(w http.ResponseWriter, v any, err error) {
	if err == nil || errors.Is(err, runs.ErrUnknown) {
		answer(w, v, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusConflict)
	json.NewEncoder(w).Encode(map[string]string{"error": err.Error()})
}

// Read decodes the JSON body of a request into v. If that fails, it answers the request and returns false.
func Read(w http.ResponseWriter, r *http.Request, v any) bool {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		http.Error(w, "studio: invalid request: "+err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

// Stream sends an answer as server-sent events.
type Stream struct {
	w     http.ResponseWriter
	flush *http.ResponseController
}

// NewStream starts an answer of server-sent events.
func NewStream(w http.ResponseWriter) *Stream {
	w.Header().Set("Content-Type", "text/event-stream")
	return &Stream{w, http.NewResponseController(w)}
}

// Send sends an event with v encoded as JSON. If the client has disconnected, the request's context is canceled.
func (s *Stream) Send(event string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		return
	}
	fmt.Fprintf(s.w, "event: %s\ndata: %s\n\n", event, b)
	s.flush.Flush()
}

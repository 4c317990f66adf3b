package studio

import (
	"encoding/json"
	"errors"
	"net/http"

	"mambatrain/studio/runs"
)

// Answer writes a value as JSON, or an error as {"error": …}: of a run that is unknown with status 404, else with 409.
func Answer(w http.ResponseWriter, v any, err error) {
	if err == nil || errors.Is(err, runs.ErrUnknown) {
		answer(w, v, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusConflict)
	json.NewEncoder(w).Encode(map[string]string{"error": err.Error()})
}

// Read reads the JSON of a request. If that fails, it answers and returns false.
func Read(w http.ResponseWriter, r *http.Request, v any) bool {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		http.Error(w, "studio: the request cannot be read: "+err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

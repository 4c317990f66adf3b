package checkpoint

import (
	"encoding/json"
	"math"
	"testing"
)

func TestRowsKeepTheirNumbers(t *testing.T) {
	want := Row{"loss": 1.0 / 3, "step": 1e6, "bad": math.NaN(), "tiny": 5e-324}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Row
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	for k, v := range want {
		if got[k] != v && !(math.IsNaN(got[k]) && math.IsNaN(v)) {
			t.Errorf("%s: %v, want %v (%s)", k, got[k], v, b)
		}
	}
}

func FuzzParseState(f *testing.F) {
	f.Add([]byte(`{"log_history":[{"loss":1,"step":2},{"eval_loss":null}],"stateful_callbacks":{"mamba_train":{"attributes":{"updates":3}}}}`))
	f.Add([]byte(`{"log_history":[{"loss":"NaN"}],"stateful_callbacks":{"TrainerControl":{"args":{}}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseState(b)
		if err != nil {
			return
		}
		again, err := s.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseState(again); err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
	})
}

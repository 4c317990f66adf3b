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
			t.Fatalf("the written state cannot be read: %v", err)
		}
	})
}

// transformers writes fractions of the run for the three intervals, and NaN and Infinity as Python does.
func TestParseState_transformers(t *testing.T) {
	s, err := ParseState([]byte(`{"best_metric": -Infinity, "eval_steps": 0.25, "logging_steps": 5, "save_steps": 0.5, "log_history": [
		{"grad_norm": NaN, "loss": 2.5, "step": 1}, {"loss": {"__float__": "Infinity"}, "note": "text", "step": 2}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if s.EvalSteps != 0.25 || s.LoggingSteps != 5 || s.SaveSteps != 0.5 || !math.IsInf(float64(*s.BestMetric), -1) {
		t.Errorf("got %v, %v, %v, and %v", s.EvalSteps, s.LoggingSteps, s.SaveSteps, *s.BestMetric)
	}
	if r := s.LogHistory[0]; !math.IsNaN(r["grad_norm"]) || r["loss"] != 2.5 {
		t.Errorf("first row: %v", r)
	}
	if r := s.LogHistory[1]; !math.IsInf(r["loss"], 1) || len(r) != 2 {
		t.Errorf("second row: %v", r)
	}
}

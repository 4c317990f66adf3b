package mamba

import (
	"context"
	"math"
	"slices"
	"testing"
)

// TestGenerate compares greedy decoding, the repetition penalty and beam search with the reference.
func TestGenerate(t *testing.T) {
	for _, model := range goldenModels {
		m := loadGolden(t, model+"/model")
		f := golden(t, model, "generate.safetensors")
		prompt := sequences(t, f, "input_ids")
		for tensor, change := range map[string]func(*GenerateOptions){
			"greedy":                        func(*GenerateOptions) {},
			"greedy_repetition_penalty_1.3": func(o *GenerateOptions) { o.RepetitionPenalty = 1.3 },
			"beam3":                         func(o *GenerateOptions) { o.NumBeams = 3 },
		} {
			t.Run(model+"/"+tensor, func(t *testing.T) {
				o := m.DefaultGenerate()
				o.MaxNewTokens, o.EOS = 16, nil
				change(&o)
				got, err := m.Generate(context.Background(), prompt, o)
				if err != nil {
					t.Fatal(err)
				}
				if want := sequences(t, f, tensor)[0][len(prompt[0]):]; !slices.Equal(got[0].IDs, want) {
					t.Errorf("ids\n%v, want\n%v", got[0].IDs, want)
				}
			})
		}
	}
}

// TestSampling compares the probabilities after each sampling control with the reference.
func TestSampling(t *testing.T) {
	f := golden(t, "sampling.safetensors")
	seen, logits := sequences(t, f, "input_ids"), floats(t, f, "logits")
	v := len(logits) / len(seen)
	for tensor, control := range map[string]func(*GenerateOptions){
		"temperature_0.7":        func(o *GenerateOptions) { o.Temperature = 0.7 },
		"top_k_5":                func(o *GenerateOptions) { o.TopK = 5 },
		"top_p_0.8":              func(o *GenerateOptions) { o.TopP = 0.8 },
		"min_p_0.1":              func(o *GenerateOptions) { o.MinP = 0.1 },
		"typical_p_0.6":          func(o *GenerateOptions) { o.TypicalP = 0.6 },
		"repetition_penalty_1.5": func(o *GenerateOptions) { o.RepetitionPenalty = 1.5 },
		"no_repeat_ngram_3":      func(o *GenerateOptions) { o.NoRepeatNGramSize = 3 },
		"all": func(o *GenerateOptions) {
			o.RepetitionPenalty, o.Temperature, o.TopK, o.TopP = 1.2, 0.8, 20, 0.9
		},
	} {
		t.Run(tensor, func(t *testing.T) {
			o := GenerateOptions{Temperature: 1, TopP: 1, TypicalP: 1, RepetitionPenalty: 1}
			control(&o)
			want := floats(t, f, "probs."+tensor)
			for i := range seen {
				scores := make([]float64, v)
				widen(scores, logits[i*v:(i+1)*v])
				o.penalise(scores, seen[i], 0)
				o.warp(scores)
				for id, p := range softmax(scores) {
					if w := float64(want[i*v+id]); math.Abs(p-w) > probAbs {
						t.Errorf("row %d, id %d: probability %.7f, want %.7f", i, id, p, w)
					}
				}
			}
		})
	}
}

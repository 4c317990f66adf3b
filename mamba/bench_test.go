package mamba

import (
	"math/rand/v2"
	"testing"
)

// preset130m returns a model with the smallest published sizes and two of the 24 layers. It is enough to measure a
// layer and the head, and avoids half a gigabyte of random weights.
func preset130m(b *testing.B) *Model {
	b.Helper()
	c, err := Preset("130m")
	if err != nil {
		b.Fatal(err)
	}
	c.NumHiddenLayers = 2
	m, err := New(c, InitMambaSSM, rand.New(rand.NewPCG(1, 1)), LoadOptions{})
	if err != nil {
		b.Fatal(err)
	}
	for _, s := range m.Slots() {
		s.Weight().PackOnly()
	}
	return m
}

// BenchmarkDecode feeds one token to each sequence of a batch. The bytes per operation are those of the weights,
// which each step reads once.
func BenchmarkDecode(b *testing.B) {
	m := preset130m(b)
	weights := int64(0)
	for _, p := range m.Params() {
		weights += 4 * int64(p.Size())
	}
	for _, sequences := range []int{1, 4} {
		b.Run(name("sequences=%d", sequences), func(b *testing.B) {
			d, s := m.NewDecoder(0), m.NewState(sequences)
			step := make([][]int, sequences)
			for i := range step {
				step[i] = []int{1 + i}
			}
			b.SetBytes(weights)
			for b.Loop() {
				if _, err := d.Next(ctx, s, step); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkPrefill feeds a chunk of a prompt.
func BenchmarkPrefill(b *testing.B) {
	m := preset130m(b)
	d, s := m.NewDecoder(0), m.NewState(1)
	text := [][]int{ids(rand.New(rand.NewPCG(1, 1)), m.Config.VocabSize, defaultChunk)}
	for b.Loop() {
		if err := d.Feed(ctx, s, text); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(defaultChunk*b.N)/b.Elapsed().Seconds(), "tokens/s")
}

// BenchmarkChoose samples from a published vocabulary with the usual controls.
func BenchmarkChoose(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	logits := make([]float64, 50280)
	for i := range logits {
		logits[i] = 3 * r.NormFloat64()
	}
	scores, seen := make([]float64, len(logits)), ids(r, len(logits), 200)
	o := GenerateOptions{DoSample: true, Temperature: 0.8, TopK: 50, TopP: 0.95, TypicalP: 1, RepetitionPenalty: 1.1}
	for b.Loop() {
		copy(scores, logits)
		if _, err := o.choose(scores, seen, 1, r); err != nil {
			b.Fatal(err)
		}
	}
}

//go:build ignore

// This program prints what no command prints: the logits and gradients of a model, for comparison with other programs.
// It reads one request as JSON and writes one answer as JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"

	ag "mambatrain/autograd"
	"mambatrain/mamba"
	"mambatrain/trainer/recipe"
)

// request names a model and the sequences to run it on.
type request struct {
	Model, Adapter string
	IDs            [][]int
	Mask           [][]int
	// Pieces are the lengths of the pieces that each sequence is cut into, with the state carried from one to the next. 0 is
	// the remainder. Without pieces, a sequence is read at once.
	Pieces []int
	// Then follows the sequences, after their padding.
	Then [][]int
	// Greedy requests this many tokens after each sequence; the logits are then those of the whole sequence, without
	// its last token.
	Greedy int
	// Texts are tokenized.
	Texts []string
	// Train runs the sequences as packed documents through the training graph, and requests the gradients of all
	// parameters that an adapter trains.
	Train bool
}

// answer contains the logits of each sequence's real positions and, for each trained parameter, the largest entry of
// its gradient.
type answer struct {
	Logits    [][][]float32      `json:"logits,omitempty"`
	Loss      float64            `json:"loss"`
	Gradients map[string]float64 `json:"gradients,omitempty"`
	// Tokens are the tokens of the texts, or the ones that were chosen.
	Tokens [][]int `json:"tokens,omitempty"`
}

func main() {
	var q request
	err := json.NewDecoder(os.Stdin).Decode(&q)
	if err == nil {
		var a answer
		if a, err = run(context.Background(), q); err == nil {
			err = json.NewEncoder(os.Stdout).Encode(a)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, q request) (answer, error) {
	m, err := recipe.LoadModel(ctx, q.Model, q.Adapter, recipe.LoadOptions{})
	if err != nil {
		return answer{}, err
	}
	switch {
	case q.Texts != nil:
		return encode(m, q.Texts)
	case q.Train:
		return train(ctx, m, q.IDs)
	case q.Greedy > 0:
		return greedy(ctx, m.Model, q)
	}
	return direct(ctx, m.Model, q)
}

func greedy(ctx context.Context, m *mamba.Model, q request) (answer, error) {
	o := m.DefaultGenerate()
	o.DoSample, o.MaxNewTokens, o.IgnoreEOS = false, q.Greedy, true
	texts, err := m.Generate(ctx, q.IDs, o)
	if err != nil {
		return answer{}, err
	}
	whole := request{}
	for i, text := range texts {
		ids := append(slices.Clone(q.IDs[i]), text.IDs...)
		whole.IDs = append(whole.IDs, ids[:len(ids)-1])
	}
	a, err := direct(ctx, m, whole)
	for _, text := range texts {
		a.Tokens = append(a.Tokens, text.IDs)
	}
	return a, err
}

func encode(m *recipe.Model, texts []string) (a answer, err error) {
	for _, text := range texts {
		ids, err := m.Encode(text)
		if err != nil {
			return a, err
		}
		a.Tokens = append(a.Tokens, append([]int{}, ids...))
	}
	return a, nil
}

// direct runs the model without a graph, as eval and generate do.
func direct(ctx context.Context, m *mamba.Model, q request) (answer, error) {
	a := answer{Logits: make([][][]float32, len(q.IDs))}
	state := m.NewState(len(q.IDs))
	for _, in := range inputs(q) {
		out, err := m.Run(ctx, in, mamba.Want{Logits: mamba.AllPositions, State: state})
		if err != nil {
			return a, err
		}
		for i, row := range out.LogitRows {
			s := out.Places[row].Sequence
			a.Logits[s] = append(a.Logits[s], slices.Clone(out.Logits.Row(i)))
		}
	}
	return a, nil
}

// inputs are what the model reads, one after the other.
func inputs(q request) (list []mamba.Input) {
	if len(q.Pieces) == 0 {
		list = append(list, mamba.Input{IDs: q.IDs, Mask: q.Mask})
	}
	from := 0
	for _, n := range q.Pieces {
		var in mamba.Input
		for _, ids := range q.IDs {
			to := from + n
			if n == 0 {
				to = len(ids)
			}
			in.IDs = append(in.IDs, ids[from:to])
		}
		list = append(list, in)
		from += n
	}
	if q.Then != nil {
		list = append(list, mamba.Input{IDs: q.Then})
	}
	return list
}

// train runs the graph on all sequences packed into one row of tokens.
func train(ctx context.Context, m *recipe.Model, ids [][]int) (answer, error) {
	var a answer
	var b ag.Batch
	for _, doc := range ids {
		b.Starts = append(b.Starts, len(b.Tokens))
		b.Tokens = append(b.Tokens, doc...)
	}
	b.Labels = b.Tokens
	if m.Adapter != nil {
		if err := m.Adapter.Train(); err != nil {
			return a, err
		}
	}
	g := ag.NewGraph(ag.Options{Rows: len(b.Tokens)})
	hidden := m.Forward(g)
	logits := m.Logits(hidden[len(hidden)-1])
	p, err := g.Compile(ag.Var{}, logits)
	if err != nil {
		return a, err
	}
	if _, err := p.Eval(ctx, b); err != nil {
		return a, err
	}
	flat, v := p.Float32s(logits), m.Config.VocabSize
	for _, doc := range ids {
		var rows [][]float32
		for range doc {
			rows, flat = append(rows, slices.Clone(flat[:v])), flat[v:]
		}
		a.Logits = append(a.Logits, rows)
	}
	if m.Adapter == nil {
		return a, nil
	}
	g = ag.NewGraph(ag.Options{Rows: len(b.Tokens)})
	if p, err = g.Compile(m.Loss(g)); err != nil {
		return a, err
	}
	loss, err := p.Step(ctx, ag.Step{Batch: b, Scale: 1 / float64(b.Counted())})
	if err != nil {
		return a, err
	}
	a.Loss, a.Gradients = loss.Sum/float64(loss.Tokens), map[string]float64{}
	for _, param := range m.Adapter.Params() {
		for _, x := range param.GradFloat32s() {
			a.Gradients[param.Name] = max(a.Gradients[param.Name], float64(max(x, -x)))
		}
	}
	return a, nil
}

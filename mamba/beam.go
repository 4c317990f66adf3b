package mamba

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sort"
)

// beam is one candidate continuation of a prompt: its new tokens and their total log-probability.
type beam struct {
	ids   []int
	score float64
}

// normalized returns the length-normalized score, by which finished beams are compared.
func (b beam) normalized(penalty float64) float64 { return normalized(b.score, len(b.ids), penalty) }

func normalized(score float64, length int, penalty float64) float64 {
	return score / math.Pow(float64(length), penalty)
}

// beamSearch extends each prompt with the most probable continuation found with NumBeams beams. As in transformers,
// each step ranks the two best candidates per beam, or more if there are several EOS ids. Candidates that end the
// text become finished beams if they rank among the first NumBeams. The search ends when no running beam can beat the
// worst of NumBeams finished beams.
func beamSearch(ctx context.Context, d *Decoder, s *State, out []Generation, limits []int, o GenerateOptions) error {
	for i := range out {
		o.MaxNewTokens = limits[i]
		best, end, err := searchOne(ctx, d, s.Select(i), i, o)
		if err != nil {
			return err
		}
		out[i].IDs, out[i].FinishReason = best.ids, FinishLength
		if !o.IgnoreEOS && slices.Contains(o.EOS, best.ids[len(best.ids)-1]) {
			out[i].FinishReason = FinishEOS
		}
		if o.Stop != nil && o.Stop(i, best.ids) && out[i].FinishReason == FinishLength {
			out[i].FinishReason = FinishStop
		}
		s.Set(i, end, 0)
		for _, id := range best.ids {
			if o.OnToken != nil {
				o.OnToken(i, id)
			}
		}
		if o.OnDone != nil {
			o.OnDone(i, out[i])
		}
	}
	return nil
}

// searchOne returns the best continuation of the only sequence in state and the state after it.
func searchOne(ctx context.Context, d *Decoder, state *State, prompt int, o GenerateOptions) (beam, *State, error) {
	prefix := state.Clone()
	running := []beam{{}}
	var finished []beam
	ranked := max(2, 1+len(o.EOS)) * o.NumBeams
	for len(running) > 0 && len(running[0].ids) < o.MaxNewTokens {
		logits, err := d.Next(ctx, state, make([][]int, len(running)))
		if err != nil {
			return beam{}, nil, err
		}
		var cs []candidate
		scores := make([]float64, logits.Cols)
		for row, b := range running {
			widen(scores, logits.Row(row))
			logSoftmax(scores)
			if math.IsNaN(scores[0]) { // all of them are if a logit is NaN or +∞, or if all are −∞
				return beam{}, nil, errNoToken
			}
			o.penalize(scores, state.Tokens[row], len(b.ids))
			cs = append(cs, candidates(scores, row, b.score, ranked)...)
		}
		if len(cs) == 0 && len(finished) == 0 {
			return beam{}, nil, errNoToken
		}
		sort.SliceStable(cs, func(i, j int) bool { return cs[i].score > cs[j].score })
		var rows []int
		running, finished, rows = o.advance(running, finished, cs[:min(len(cs), ranked)], prompt)
		if o.settled(running, finished) {
			if len(running) > 0 && len(running[0].ids) < o.MaxNewTokens {
				running = nil // only the length limit makes a running beam a result
			}
			break
		}
		state = state.Select(rows...)
		for row, b := range running {
			state.Tokens[row] = append(state.Tokens[row], b.ids[len(b.ids)-1])
		}
	}
	best := o.bestOf(append(finished, running...))
	last := len(best.ids) - 1
	prefix.Tokens[0] = append(prefix.Tokens[0], best.ids[:last]...)
	if err := d.Feed(ctx, prefix, [][]int{nil}); err != nil {
		return beam{}, nil, err
	}
	prefix.Tokens[0] = append(prefix.Tokens[0], best.ids[last])
	return best, prefix, nil
}

// candidate is a running beam and a possible next token.
type candidate struct {
	row, id int
	score   float64
}

// candidates lists the n best continuations of one beam.
func candidates(scores []float64, row int, base float64, n int) []candidate {
	ids := alive(scores)
	slices.SortFunc(ids, func(a, b int) int { return cmp.Or(cmp.Compare(scores[b], scores[a]), cmp.Compare(a, b)) })
	var cs []candidate
	for _, id := range ids[:min(n, len(ids))] {
		cs = append(cs, candidate{row, id, base + scores[id]})
	}
	return cs
}

// advance splits candidates, sorted best first, into the next running beams and the finished ones. rows contains the
// row that each running beam came from.
func (o GenerateOptions) advance(running, finished []beam, cs []candidate, prompt int) (next, done []beam, rows []int) {
	for rank, c := range cs {
		b := beam{append(slices.Clone(running[c.row].ids), c.id), c.score}
		ends := !o.IgnoreEOS && slices.Contains(o.EOS, c.id) || o.Stop != nil && o.Stop(prompt, b.ids)
		switch {
		case ends && rank < o.NumBeams:
			finished = append(finished, b)
		case !ends && len(next) < o.NumBeams:
			next, rows = append(next, b), append(rows, c.row)
		}
	}
	sort.SliceStable(finished, func(i, j int) bool {
		return finished[i].normalized(o.LengthPenalty) > finished[j].normalized(o.LengthPenalty)
	})
	return next, finished[:min(len(finished), o.NumBeams)], rows
}

// settled reports whether the search is over: no beam is running, or none can become one of the NumBeams best.
func (o GenerateOptions) settled(running, finished []beam) bool {
	if len(running) == 0 {
		return true
	}
	if len(finished) < o.NumBeams {
		return false
	}
	length := len(running[0].ids)
	switch {
	case o.EarlyStopping == StopFirst:
		return true
	case o.EarlyStopping == StopNever && o.LengthPenalty > 0:
		length = o.MaxNewTokens
	}
	return normalized(running[0].score, length, o.LengthPenalty) <= finished[len(finished)-1].normalized(o.LengthPenalty)
}

func (o GenerateOptions) bestOf(beams []beam) beam {
	best := beams[0]
	for _, b := range beams[1:] {
		if b.normalized(o.LengthPenalty) > best.normalized(o.LengthPenalty) {
			best = b
		}
	}
	return best
}

// logSoftmax converts scores to log-probabilities in place.
func logSoftmax(scores []float64) {
	top, sum := slices.Max(scores), 0.0
	for _, s := range scores {
		sum += math.Exp(s - top)
	}
	shift := top + math.Log(sum)
	for i := range scores {
		scores[i] -= shift
	}
}

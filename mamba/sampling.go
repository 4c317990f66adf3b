package mamba

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// The controls below modify the scores of all token ids in the order in which [GenerateOptions] applies them:
// penalties on logits first, then the warpers that shape the sampling distribution. A removed id has a score of −∞.
// At least one id always remains.

// repetitionPenalty divides the positive and multiplies the negative scores of the ids in seen by p. Keskar et al. 2019.
func repetitionPenalty(scores []float64, seen []int, p float64) {
	if p == 1 {
		return
	}
	done := make(map[int]bool, len(seen))
	for _, id := range seen {
		if done[id] || id >= len(scores) {
			continue
		}
		done[id] = true
		if scores[id] < 0 {
			scores[id] *= p
		} else {
			scores[id] /= p
		}
	}
}

// noRepeatNGram removes every id that would complete an n-gram already in seen.
func noRepeatNGram(scores []float64, seen []int, n int) {
	if n < 1 || len(seen) < n {
		return
	}
	last := seen[len(seen)-n+1:]
	for i := 0; i+n <= len(seen); i++ {
		if slices.Equal(seen[i:i+n-1], last) {
			scores[seen[i+n-1]] = math.Inf(-1)
		}
	}
}

func remove(scores []float64, ids ...int) {
	for _, id := range ids {
		if id >= 0 && id < len(scores) {
			scores[id] = math.Inf(-1)
		}
	}
}

func temperature(scores []float64, t float64) {
	if t == 1 {
		return
	}
	top := slices.Max(scores) // subtracted so that the quotients do not overflow
	for i := range scores {
		scores[i] = (scores[i] - top) / t
	}
}

// topK keeps the k highest scores and any ties with the lowest of them.
func topK(scores []float64, k int) {
	if k <= 0 || k >= len(scores) {
		return
	}
	top := make([]float64, 0, k+1) // the k highest so far, ascending
	for _, s := range scores {
		if len(top) == k && s <= top[0] {
			continue
		}
		at, _ := slices.BinarySearch(top, s)
		top = slices.Insert(top, at, s)
		if len(top) > k {
			top = slices.Delete(top, 0, 1)
		}
	}
	for i, s := range scores {
		if s < top[0] {
			scores[i] = math.Inf(-1)
		}
	}
}

// topP removes the least probable ids whose probabilities sum to at most 1−p. Holtzman et al. 2019.
func topP(scores []float64, p float64) {
	if p >= 1 {
		return
	}
	probs := softmax(scores)
	order := alive(scores)
	sortBy(order, scores)
	sum := 0.0
	for _, id := range order[:len(order)-1] {
		if sum += probs[id]; sum > 1-p {
			return
		}
		scores[id] = math.Inf(-1)
	}
}

// minP removes ids that are less probable than p times the most probable one.
func minP(scores []float64, p float64) {
	if p <= 0 {
		return
	}
	least := slices.Max(scores) + math.Log(p)
	for i, s := range scores {
		if s < least {
			scores[i] = math.Inf(-1)
		}
	}
}

// typicalP keeps the ids whose information is closest to the entropy, up to a total probability of p. Meister et al.
// 2022.
func typicalP(scores []float64, p float64) {
	if p >= 1 {
		return
	}
	probs := softmax(scores)
	entropy := 0.0
	for _, q := range probs {
		if q > 0 {
			entropy -= q * math.Log(q)
		}
	}
	order := alive(scores)
	distance := make([]float64, len(scores))
	for _, id := range order {
		distance[id] = math.Abs(-math.Log(probs[id]) - entropy)
	}
	sortBy(order, distance)
	last, sum := 0, 0.0 // last is the first id at which the sum reaches p
	for last < len(order)-1 {
		if sum += probs[order[last]]; sum >= p {
			break
		}
		last++
	}
	for _, id := range order[last+1:] {
		if distance[id] > distance[order[last]] {
			scores[id] = math.Inf(-1)
		}
	}
}

// sortBy sorts ids by ascending key, breaking ties by id.
func sortBy(ids []int, key []float64) {
	slices.SortFunc(ids, func(a, b int) int { return cmp.Or(cmp.Compare(key[a], key[b]), cmp.Compare(a, b)) })
}

// alive lists the ids that have not been removed.
func alive(scores []float64) []int {
	ids := make([]int, 0, len(scores))
	for id, s := range scores {
		if !math.IsInf(s, -1) {
			ids = append(ids, id)
		}
	}
	return ids
}

// softmax returns the probabilities of scores.
func softmax(scores []float64) []float64 {
	p := make([]float64, len(scores))
	top, sum := slices.Max(scores), 0.0
	for i, s := range scores {
		p[i] = math.Exp(s - top)
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

// draw samples an id with the probability given by its score.
func draw(scores []float64, r *rand.Rand) int {
	probs := softmax(scores)
	u, last := r.Float64(), 0
	for id, p := range probs {
		if p == 0 {
			continue
		}
		if u < p {
			return id
		}
		u, last = u-p, id
	}
	return last
}

// best returns the first id with the highest score.
func best(scores []float64) int {
	b := 0
	for id, s := range scores {
		if s > scores[b] {
			b = id
		}
	}
	return b
}

package tokenizer

import (
	"hash/maphash"
	"slices"
	"strings"
)

// shortWord is the length in bytes up to which merging in place is faster than a heap.
const shortWord = 64

// mergeRule is the rule for a pair: its rank among all rules and the id of the result.
type mergeRule struct {
	rank uint32
	id   int32
}

// noMerge is a rank after every rule.
const noMerge = ^uint32(0)

// appendWord appends the ids of one piece of text.
func (t *Tokenizer) appendWord(ids []int32, w string, words *wordCache) []int32 {
	if len(w) == 1 && t.characters == nil {
		return t.appendSymbols(ids, w)
	}
	if t.vocab.whole != nil {
		if id, ok := t.vocab.whole[w]; ok {
			return append(ids, id)
		}
	}
	if len(w) > shortWord {
		return t.mergeLong(ids, w)
	}
	slot := words.slot(w)
	if slot.word == w {
		return append(ids, slot.ids...)
	}
	start := len(ids)
	ids = t.mergeShort(ids, w)
	slot.word = strings.Clone(w) // w may point into a buffer that is reused
	slot.ids = append(slot.ids[:0], ids[start:]...)
	return ids
}

// appendSymbols appends the symbols of w before any merge. Bytes and characters without a token are dropped.
func (t *Tokenizer) appendSymbols(ids []int32, w string) []int32 {
	if t.characters != nil {
		return t.characters.appendTo(ids, w)
	}
	for i := range len(w) {
		if id := t.vocab.byteID[w[i]]; id >= 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

// mergeShort merges in place, each time the pair of lowest rank, leftmost first.
func (t *Tokenizer) mergeShort(ids []int32, w string) []int32 {
	start := len(ids)
	ids = t.appendSymbols(ids, w)
	symbols := ids[start:]
	var rules [shortWord]mergeRule // rules[i] merges symbols i and i+1
	n := len(symbols)
	for i := range n - 1 {
		rules[i] = t.merges.get(symbols[i], symbols[i+1])
	}
	for n > 1 {
		best := 0
		for i := 1; i < n-1; i++ {
			if rules[i].rank < rules[best].rank {
				best = i
			}
		}
		if rules[best].rank == noMerge {
			break
		}
		symbols[best] = rules[best].id
		copy(symbols[best+1:n-1], symbols[best+2:n])
		copy(rules[best:n-2], rules[best+1:n-1])
		n--
		if best > 0 {
			rules[best-1] = t.merges.get(symbols[best-1], symbols[best])
		}
		if best < n-1 {
			rules[best] = t.merges.get(symbols[best], symbols[best+1])
		}
	}
	return ids[:start+n]
}

// mergeLong does the same with a linked list and a heap, in O(n log n) steps.
func (t *Tokenizer) mergeLong(ids []int32, w string) []int32 {
	type symbol struct{ id, prev, next int32 }
	start := len(ids)
	ids = t.appendSymbols(ids, w)
	list := make([]symbol, len(ids)-start)
	for i, id := range ids[start:] {
		list[i] = symbol{id, int32(i) - 1, int32(i) + 1}
	}
	ids = ids[:start]
	if len(list) == 0 {
		return ids
	}
	list[len(list)-1].next = -1
	queue := make(mergeQueue, 0, len(list))
	offer := func(i int32) {
		if i < 0 || list[i].next < 0 {
			return
		}
		a, b := list[i].id, list[list[i].next].id
		if rule := t.merges.get(a, b); rule.rank != noMerge {
			queue.push(candidate{rule, i, a, b})
		}
	}
	for i := range list {
		offer(int32(i))
	}
	for len(queue) > 0 {
		c := queue.pop()
		j := list[c.at].next
		if list[c.at].id != c.left || j < 0 || list[j].id != c.right {
			continue // one of the two has since been merged with another symbol
		}
		list[c.at].id, list[c.at].next = c.rule.id, list[j].next
		if list[j].next >= 0 {
			list[list[j].next].prev = c.at
		}
		list[j].id = -1
		offer(list[c.at].prev)
		offer(c.at)
	}
	for i := int32(0); i >= 0; i = list[i].next {
		ids = append(ids, list[i].id)
	}
	return ids
}

// candidate is a possible merge: the position of the left symbol, and both symbols at the time it was queued.
type candidate struct {
	rule            mergeRule
	at, left, right int32
}

func (a candidate) before(b candidate) bool {
	return a.rule.rank < b.rule.rank || a.rule.rank == b.rule.rank && a.at < b.at
}

// mergeQueue is a binary heap with the first candidate on top. container/heap would box each one.
type mergeQueue []candidate

func (q *mergeQueue) push(c candidate) {
	*q = append(*q, c)
	h := *q
	for i := len(h) - 1; i > 0; {
		parent := (i - 1) / 2
		if !h[i].before(h[parent]) {
			return
		}
		h[i], h[parent] = h[parent], h[i]
		i = parent
	}
}

func (q *mergeQueue) pop() candidate {
	h := *q
	top, n := h[0], len(h)-1
	h[0] = h[n]
	h = h[:n]
	*q = h
	for i := 0; ; {
		child := 2*i + 1
		if child >= n {
			return top
		}
		if child+1 < n && h[child+1].before(h[child]) {
			child++
		}
		if !h[child].before(h[i]) {
			return top
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}

// pairTable maps a pair of ids to its rule: open addressing, at most half full.
type pairTable struct {
	slots []pairSlot
	mask  uint64
}

type pairSlot struct {
	key  uint64 // left id << 32 | right id; no pair has all bits set
	rule mergeRule
}

const freeSlot = ^uint64(0)

func newPairTable(pairs int) pairTable {
	size := 16
	for size < 2*pairs {
		size *= 2
	}
	t := pairTable{make([]pairSlot, size), uint64(size - 1)}
	for i := range t.slots {
		t.slots[i].key = freeSlot
	}
	return t
}

func pairKey(a, b int32) uint64 { return uint64(uint32(a))<<32 | uint64(uint32(b)) }

// pairHash is Fibonacci hashing with the high bits folded down.
func pairHash(key uint64) uint64 { key *= 0x9E3779B97F4A7C15; return key ^ key>>29 }

// put sets the rule for a pair. As in the reference, a later rule for the same pair replaces the earlier one.
func (t *pairTable) put(a, b int32, rule mergeRule) {
	key := pairKey(a, b)
	i := pairHash(key) & t.mask
	for t.slots[i].key != freeSlot && t.slots[i].key != key {
		i = (i + 1) & t.mask
	}
	t.slots[i] = pairSlot{key, rule}
}

// rankByScore ranks the rules by the score of the token that they form, highest first. Rules whose tokens have the same
// score get the same rank, so that the leftmost pair is merged first, as in SentencePiece and llama.cpp. A list of
// merges cannot express that.
func (t *pairTable) rankByScore(scores []float64) {
	order := slices.Sorted(slices.Values(scores))
	order = slices.Compact(order)
	for i := range t.slots {
		if s := &t.slots[i]; s.key != freeSlot {
			at, _ := slices.BinarySearch(order, scores[s.rule.id])
			s.rule.rank = uint32(len(order) - at)
		}
	}
}

func (t *pairTable) get(a, b int32) mergeRule {
	key := pairKey(a, b)
	for i := pairHash(key) & t.mask; ; i = (i + 1) & t.mask {
		switch s := &t.slots[i]; s.key {
		case key:
			return s.rule
		case freeSlot:
			return mergeRule{rank: noMerge}
		}
	}
}

// wordCache caches the ids of words. It is a table in which each word has one possible slot, occupied by the most recent
// of its words. It must be used by one goroutine at a time.
type wordCache struct {
	seed  maphash.Seed
	slots []cachedWord
}

type cachedWord struct {
	word string
	ids  []int32
}

// cacheSlots is a power of two. At about 32 bytes per word with its ids, a cache takes about a megabyte.
const cacheSlots = 1 << 15

func newWordCache() *wordCache {
	return &wordCache{maphash.MakeSeed(), make([]cachedWord, cacheSlots)}
}

// slot returns the slot of w, which contains its ids only if its word is w.
func (c *wordCache) slot(w string) *cachedWord {
	return &c.slots[maphash.String(c.seed, w)&(cacheSlots-1)]
}

package data

import (
	"math"
	"math/bits"
	"slices"
	"sync"
)

// entries are the documents of an epoch. Each source is repeated as often as its weight specifies; a fractional part
// selects a share of its documents, different in each epoch unless they are packed.
type entries struct {
	data   *Dataset
	counts []int // per source
	total  int
	seed   uint64
	mixed  bool // shuffle
}

func newEntries(d *Dataset, seed uint64) entries {
	e := entries{data: d, counts: d.weights(), seed: seed, mixed: d.config.Shuffle}
	for _, n := range e.counts {
		e.total += n
	}
	return e
}

// epoch is the document order of one epoch.
type epoch struct {
	*entries
	order   permutation
	shares  []permutation // per source: which documents are in its partial copy
	ordered bool
}

func (e *entries) of(n int) epoch {
	out := epoch{entries: e, order: newPermutation(e.total, e.seed, uint64(n)), ordered: !e.mixed}
	for k := range e.counts {
		out.shares = append(out.shares, newPermutation(e.data.portions[k].len(), e.seed, uint64(n), uint64(k)+1))
	}
	return out
}

// document returns the store index of the i-th document.
func (e *epoch) document(i int) int {
	if !e.ordered {
		i = e.order.at(i)
	}
	for k, n := range e.counts {
		if i >= n {
			i -= n
			continue
		}
		s := &e.data.portions[k]
		size := s.len()
		if i < n/size*size {
			return s.document(i % size)
		}
		return s.document(e.shares[k].at(i % size))
	}
	panic("data: an entry past the end of the epoch")
}

// sequence makes micro-batches of a fixed number of documents, in the epoch's order. The last one may be smaller.
type sequence struct {
	entries
	size int
}

func newSequence(d *Dataset, size int, seed uint64) *sequence {
	return &sequence{newEntries(d, seed), size}
}

func (s *sequence) batches() int { return (s.total + s.size - 1) / s.size }

func (s *sequence) batch(n, i int, documents []int) []int {
	e := s.of(n)
	for k := i * s.size; k < min((i+1)*s.size, s.total); k++ {
		documents = append(documents, e.document(k))
	}
	return documents
}

// bins packs whole documents into micro-batches with a maximum number of rows. Packing is done once, by best-fit
// decreasing, so that every epoch has the same number of bins; each epoch orders them differently.
type bins struct {
	documents []int32 // of all bins
	ends      []int   // of each bin, as an index into documents
	seed      uint64
	mixed     bool
}

func newBins(d *Dataset, size int, seed uint64) *bins {
	e := newEntries(d, seed)
	order := e.of(0)
	documents := make([]int32, e.total)
	longest := 0
	for i := range documents {
		documents[i] = int32(order.document(i))
		longest = max(longest, d.store.length(int(documents[i])))
	}
	bin := packBestFit(documents, func(k int32) int { return d.store.length(int(k)) }, d.batchRows(size, longest))
	return gatherBins(documents, bin, e)
}

// batchRows returns the maximum number of rows in a packed micro-batch, given the length of the longest document.
func (d *Dataset) batchRows(size, longest int) int {
	rows := longest
	if d.config.MaxLength > 0 {
		rows = max(d.config.MaxLength, longest)
	}
	return min(rows, math.MaxInt/size) * size
}

// gatherBins makes the documents of each bin contiguous, in their original order.
func gatherBins(documents, bin []int32, e entries) *bins {
	b := &bins{seed: e.seed, mixed: e.mixed, documents: make([]int32, len(documents))}
	for _, k := range bin {
		for int(k) >= len(b.ends) {
			b.ends = append(b.ends, 0)
		}
		b.ends[k]++
	}
	starts := make([]int, len(b.ends))
	for k := 1; k < len(b.ends); k++ {
		starts[k] = starts[k-1] + b.ends[k-1]
	}
	for i, k := range bin {
		b.documents[starts[k]] = documents[i]
		starts[k]++
	}
	b.ends = starts
	return b
}

// packBestFit returns the bin of each document. It takes the longest documents first and puts each into the fullest bin
// that has room, or into a new one. capacity is the number of rows in a bin, at least the length of any document.
func packBestFit(documents []int32, length func(int32) int, capacity int) []int32 {
	total := 0
	for _, k := range documents {
		total += length(k)
	}
	if total <= capacity { // one bin; its table of rooms could exceed any memory
		return make([]int32, len(documents))
	}
	byLength := make([]int32, len(documents))
	for i := range byLength {
		byLength[i] = int32(i)
	}
	slices.SortStableFunc(byLength, func(a, b int32) int { return length(documents[b]) - length(documents[a]) })
	bin := make([]int32, len(documents))
	room := newRoomTable(capacity)
	opened := int32(0)
	for _, i := range byLength {
		n := length(documents[i])
		k, left, ok := room.take(n)
		if !ok {
			k, left = opened, capacity
			opened++
		}
		bin[i] = k
		room.put(k, left-n)
	}
	return bin
}

// roomTable finds the bin with the least sufficient room. It stores the bins by room, and a bitmap of the rooms in use.
type roomTable struct {
	bins [][]int32
	have []uint64
}

func newRoomTable(capacity int) *roomTable {
	return &roomTable{make([][]int32, capacity+1), make([]uint64, capacity/64+1)}
}

func (t *roomTable) put(bin int32, room int) {
	t.bins[room] = append(t.bins[room], bin)
	t.have[room/64] |= 1 << (room % 64)
}

// take removes and returns the fullest bin with room for n rows.
func (t *roomTable) take(n int) (bin int32, room int, ok bool) {
	word := n / 64
	if word >= len(t.have) {
		return 0, 0, false
	}
	set := t.have[word] &^ (1<<(n%64) - 1)
	for set == 0 {
		if word++; word == len(t.have) {
			return 0, 0, false
		}
		set = t.have[word]
	}
	room = word*64 + bits.TrailingZeros64(set)
	list := t.bins[room]
	bin = list[len(list)-1]
	if t.bins[room] = list[:len(list)-1]; len(list) == 1 {
		t.have[word] &^= 1 << (room % 64)
	}
	return bin, room, true
}

func (b *bins) batches() int { return len(b.ends) }

func (b *bins) batch(n, i int, documents []int) []int {
	if b.mixed {
		order := newPermutation(len(b.ends), b.seed, uint64(n))
		i = order.at(i)
	}
	lo := 0
	if i > 0 {
		lo = b.ends[i-1]
	}
	for _, k := range b.documents[lo:b.ends[i]] {
		documents = append(documents, int(k))
	}
	return documents
}

// lanes run split documents in parallel: in each lane, the parts of a document follow one another over the
// micro-batches, and then the lane's next document begins. Documents are assigned to lanes once, longest first, each to
// the lane with the fewest parts, so that every epoch has the same number of micro-batches; the order within a lane
// differs from epoch to epoch.
type lanes struct {
	units [][]unit // per lane
	steps int
	seed  uint64
	mixed bool
	mu    sync.Mutex
	epoch int // that order and ends belong to
	order [][]unit
	ends  [][]int // per lane: number of parts up to the end of each document
}

// unit is a document of one or more parts: documents first … first+parts−1 of the store.
type unit struct{ first, parts int }

func newLanes(d *Dataset, size int, seed uint64) *lanes {
	l := &lanes{seed: seed, mixed: d.config.Shuffle, epoch: -1, units: make([][]unit, size)}
	all := d.units(seed)
	slices.SortStableFunc(all, func(a, b unit) int { return b.parts - a.parts })
	filled := make([]int, size)
	for _, u := range all {
		k := slices.Index(filled, slices.Min(filled))
		l.units[k] = append(l.units[k], u)
		filled[k] += u.parts
	}
	l.steps = slices.Max(filled)
	return l
}

// units returns the whole documents of an epoch.
func (d *Dataset) units(seed uint64) (out []unit) {
	for k := range d.portions {
		s := &d.portions[k]
		var own []unit
		for i := range s.len() {
			n := s.document(i)
			if d.store.document(n).Continues {
				own[len(own)-1].parts++
				continue
			}
			own = append(own, unit{n, 1})
		}
		order := newPermutation(len(own), seed, uint64(k))
		want := int(s.weight*float64(len(own)) + 0.5)
		for i := range want {
			if whole := want / len(own) * len(own); i >= whole {
				out = append(out, own[order.at(i-whole)])
			} else {
				out = append(out, own[i%len(own)])
			}
		}
	}
	return out
}

func (l *lanes) batches() int { return l.steps }

func (l *lanes) batch(n, i int, documents []int) []int {
	for _, p := range l.parts(n, i) {
		documents = append(documents, p.document)
	}
	return documents
}

// lanePart is the part that a lane contributes to one micro-batch.
type lanePart struct{ lane, document, part int }

func (l *lanes) parts(n, i int) (out []lanePart) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.arrange(n)
	for k, ends := range l.ends {
		u, _ := slices.BinarySearch(ends, i+1)
		if u == len(ends) {
			continue // the lane has ended
		}
		document := l.order[k][u]
		part := document.parts - (ends[u] - i)
		out = append(out, lanePart{k, document.first + part, part})
	}
	return out
}

// arrange puts the documents of each lane into the order of epoch n.
func (l *lanes) arrange(n int) {
	if l.epoch == n {
		return
	}
	l.epoch = n
	l.order, l.ends = make([][]unit, len(l.units)), make([][]int, len(l.units))
	for k, own := range l.units {
		order := newPermutation(len(own), l.seed, uint64(n), uint64(k))
		end := 0
		for i := range own {
			u := own[i]
			if l.mixed {
				u = own[order.at(i)]
			}
			end += u.parts
			l.order[k], l.ends[k] = append(l.order[k], u), append(l.ends[k], end)
		}
	}
}

// carry returns Batch.Carry of micro-batch i.
func (l *lanes) carry(n, i int) (from []int) {
	before := map[int]int{} // lane → index of its document in the previous micro-batch
	if i > 0 {
		for place, p := range l.parts(n, i-1) {
			before[p.lane] = place
		}
	}
	for _, p := range l.parts(n, i) {
		place := -1
		if p.part > 0 {
			place = before[p.lane]
		}
		from = append(from, place)
	}
	return from
}

package trainer

import (
	"math"
	"math/bits"
	"slices"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
	"mambatrain/trainer/optim"
)

// bucket is a piece of the gradient that is reduced in one call: part of a large parameter, or several parameters small
// enough to be copied into one buffer.
type bucket struct {
	extents []optim.Extent
	shared  bool // divided among the ranks: each gets the sum of its share only and updates only that
	missing int  // parameters whose gradients are not complete
}

// layout is the division of the gradient into buckets, in the order in which backward passes complete it: from the last
// parameter to the first.
type layout struct {
	buckets []*bucket
	of      map[*ag.Param][]*bucket
}

const (
	// DefaultBucketBytes is large enough for one call to transfer efficiently.
	DefaultBucketBytes = 4 << 20
	// maxUnoverlapped is the largest number of buckets that are reduced after the backward pass instead of during it:
	// transferring an adapter's gradient takes less time than waking a thread for each piece.
	maxUnoverlapped = 4
)

// newLayout divides the gradients of params into buckets of about the given number of bytes.
func newLayout(params []*ag.Param, bytes int) *layout {
	l := &layout{of: map[*ag.Param][]*bucket{}}
	limit := max(1, (bytes/4+shareGrain-1)/shareGrain) * shareGrain
	small, room := &bucket{}, limit // the current bucket of small parameters
	for _, p := range slices.Backward(params) {
		n := p.Size()
		if n >= shareGrain {
			for at := 0; at < n; at += limit {
				l.add(&bucket{extents: []optim.Extent{{Param: p, From: at, To: min(n, at+limit)}}})
			}
			continue
		}
		if room < n {
			l.add(small)
			small, room = &bucket{}, limit
		}
		room -= n
		small.extents = append(small.extents, optim.FullExtent(p))
	}
	if len(small.extents) > 0 {
		l.add(small)
	}
	return l
}

// share marks the buckets of large parameters as divided among the ranks.
func (l *layout) share() {
	for _, b := range l.buckets {
		b.shared = b.extents[0].Param.Size() >= shareGrain
	}
}

// add appends a full bucket. Its position follows its last parameter, because later buckets wait until it is complete.
func (l *layout) add(b *bucket) {
	l.buckets = append(l.buckets, b)
	for _, s := range b.extents {
		l.of[s.Param] = append(l.of[s.Param], b)
	}
}

// owned returns the parts of p that this rank updates: all of p unless it is divided among the ranks.
func (l *layout) owned(p *ag.Param, rank, size int) []optim.Extent {
	if !l.of[p][0].shared {
		return []optim.Extent{optim.FullExtent(p)}
	}
	var own []optim.Extent
	for _, b := range l.of[p] {
		s := b.extents[0]
		lo, hi := Share(s.To-s.From, rank, size)
		if lo < hi {
			own = append(own, optim.Extent{Param: p, From: s.From + lo, To: s.From + hi})
		}
	}
	return own
}

// reducer sums the gradient of a step, first over this rank's shards and then over all ranks, along one tree of pairs.
// A step with 8 shards therefore has the same gradient, bit for bit, on 1, 2, 4, and 8 ranks.
type reducer struct {
	*layout
	comm   Communicator
	params []*ag.Param
	shards int // on this rank, a power of two
	// resident is the parameters if their gradients remain on a device. There is then one rank and one shard, so that
	// nothing has to be reduced.
	resident *ag.Resident
	done     int // shards completed in this step
	// sums are the partial sums of 1, 2, 4 … shards that wait for their neighbors. at is the offset of a parameter in
	// each.
	sums [][]float32
	at   map[*ag.Param]int
	size int

	overlap   bool // reduce buckets during the backward pass
	packed    []float32
	complete  chan *ag.Param // non-nil while buckets are reduced during a backward pass
	finished  chan error
	abandoned bool
	next      int // index of the first bucket not yet reduced
}

func newReducer(l *layout, params []*ag.Param, comm Communicator, shards int) *reducer {
	r := &reducer{layout: l, comm: comm, params: params, shards: shards, at: map[*ag.Param]int{}}
	for _, p := range params {
		r.at[p] = r.size
		r.size += p.Size()
	}
	return r
}

// begin starts a step with zero gradients.
func (r *reducer) begin() {
	r.done = 0
	r.zero()
}

func (r *reducer) zero() {
	if r.resident != nil {
		r.resident.ZeroGrads()
		return
	}
	for _, p := range r.params {
		p.ZeroGrad()
	}
}

// overlapped returns a function for this rank's last backward pass of the step to call with each completed gradient, so
// that buckets are reduced while lower layers are still being computed. It returns nil if overlapping does not help.
func (r *reducer) overlapped() func(*ag.Param) {
	if !r.overlap || r.comm.Size() == 1 || len(r.buckets) <= maxUnoverlapped {
		return nil
	}
	complete := make(chan *ag.Param, len(r.params))
	r.complete, r.finished = complete, make(chan error, 1)
	r.reset()
	go func() { r.finished <- r.follow(complete) }()
	return func(p *ag.Param) { complete <- p }
}

func (r *reducer) reset() {
	r.next, r.abandoned = 0, false
	for _, b := range r.buckets {
		b.missing = len(b.extents)
	}
}

// follow reduces the buckets, in the same order on all ranks, as their parameters are completed. Parameters that no
// backward pass reaches count as completed at the end.
func (r *reducer) follow(complete <-chan *ag.Param) error {
	came := map[*ag.Param]bool{}
	for p := range complete {
		came[p] = true
		if err := r.completed(p); err != nil {
			return err
		}
	}
	if r.abandoned {
		return nil
	}
	for _, p := range r.params {
		if !came[p] {
			if err := r.completed(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// completed adds the earlier shards to p's gradient and reduces the buckets that are now ready.
func (r *reducer) completed(p *ag.Param) error {
	r.addEarlier(p)
	for _, b := range r.of[p] {
		b.missing--
	}
	for ; r.next < len(r.buckets) && r.buckets[r.next].missing == 0; r.next++ {
		if err := r.reduce(r.buckets[r.next]); err != nil {
			return err
		}
	}
	return nil
}

// shardDone ends one of this rank's shards by adding its gradient to that of the shard before, then pairs to pairs, and
// so on. The last shard is left to finish.
func (r *reducer) shardDone() {
	r.done++
	if r.done == r.shards {
		return
	}
	levels := treeHeight(r.done) // of the subtree that this shard completes
	for _, p := range r.params {
		r.addLevels(p, levels)
	}
	r.keep(levels)
}

// keep stores the gradient as the sum of 2^level shards and clears it.
func (r *reducer) keep(level int) {
	if level == len(r.sums) {
		r.sums = append(r.sums, make([]float32, r.size))
	}
	for _, p := range r.params {
		copy(r.sums[level][r.at[p]:], p.GradFloat32s())
	}
	r.zero()
}

// addEarlier adds the sums of all earlier shards to the gradient of the last one.
func (r *reducer) addEarlier(p *ag.Param) { r.addLevels(p, treeHeight(r.shards)) }

// addLevels adds the stored sums of the levels below the given one to p's gradient.
func (r *reducer) addLevels(p *ag.Param, levels int) {
	for _, sum := range r.sums[:levels] {
		kernel.AddTo(p.GradFloat32s(), sum[r.at[p]:][:p.Size()])
	}
}

// treeHeight returns log₂ of a power of two: the number of partial sums stored for a tree of that many shards.
func treeHeight(shards int) int { return bits.TrailingZeros(uint(shards)) }

// finish completes the sum over all shards on all ranks.
func (r *reducer) finish() error {
	if r.resident != nil {
		return nil
	}
	if r.complete != nil {
		close(r.complete)
		r.complete = nil
		return <-r.finished
	}
	r.reset()
	none := make(chan *ag.Param)
	close(none)
	return r.follow(none)
}

// abandon cancels the reductions of a failed step.
func (r *reducer) abandon() {
	if r.complete != nil {
		r.abandoned = true
		close(r.complete)
		r.complete = nil
		<-r.finished
	}
}

// reduce sums a bucket over all ranks.
func (r *reducer) reduce(b *bucket) error {
	if len(b.extents) == 1 {
		if b.shared {
			return r.comm.ReduceScatter(b.extents[0].Grad())
		}
		return r.comm.AllReduce(b.extents[0].Grad())
	}
	r.packed = r.packed[:0]
	for _, s := range b.extents {
		r.packed = append(r.packed, s.Grad()...)
	}
	if err := r.comm.AllReduce(r.packed); err != nil {
		return err
	}
	rest := r.packed
	for _, s := range b.extents {
		rest = rest[copy(s.Grad(), rest):]
	}
	return nil
}

// norm returns the Euclidean norm of the whole gradient, summed in double precision. If ranks divide the gradient, each
// sums its share in the blocks that kernel.SumSquares uses, so the bits match those of the undivided gradient.
func (r *reducer) norm() (float64, error) {
	if r.resident != nil {
		return r.residentNorm()
	}
	first, grains := map[*ag.Param]int{}, 0
	for _, p := range r.params {
		if r.of[p][0].shared {
			first[p] = grains
			grains += (p.Size() + shareGrain - 1) / shareGrain
		}
	}
	pieces := make([]float64, grains)
	for _, b := range r.buckets {
		if !b.shared {
			continue
		}
		s := b.extents[0]
		lo, hi := Share(s.To-s.From, r.comm.Rank(), r.comm.Size())
		for at := lo; at < hi; at += shareGrain {
			pieces[first[s.Param]+(s.From+at)/shareGrain] = kernel.SumSquares(s.Grad()[at:min(hi, at+shareGrain)])
		}
	}
	if err := r.comm.AllReduceSum(pieces); err != nil {
		return 0, err
	}
	total := 0.0
	for _, p := range r.params {
		if !r.of[p][0].shared {
			total += kernel.SumSquares(p.GradFloat32s())
			continue
		}
		sum := 0.0
		for _, x := range pieces[first[p]:][:(p.Size()+shareGrain-1)/shareGrain] {
			sum += x
		}
		total += sum
	}
	return math.Sqrt(total), nil
}

// residentNorm is norm for gradients on a device. If squares exceed float32, the host sums them.
func (r *reducer) residentNorm() (float64, error) {
	norm, err := r.resident.GradNorm()
	if err != nil || finite(norm) {
		return norm, err
	}
	err = r.resident.FetchGrads()
	return gradNorm(r.params), err
}

// gatherWeights gives every rank the weights that the other ranks updated.
func (r *reducer) gatherWeights() error {
	for _, b := range r.buckets {
		if b.shared {
			if err := r.comm.AllGather(b.extents[0].Value()); err != nil {
				return err
			}
		}
	}
	return nil
}

package data

import (
	"context"
	"fmt"

	"mambatrain/internal/contenthash"
	"mambatrain/internal/label"
)

// Batch is one micro-batch: documents laid end to end.
type Batch struct {
	Tokens []int
	Labels []int // in line with Tokens: the shift by one is the loss's. Negative ones are ignored
	Starts []int // first row of each document
	Rows   []int // source row of each document
	// Carry is nil unless the options say carry_state. Then it holds, for each document, which document of the
	// micro-batch before it goes on from (its last state is this one's first), or −1 for a new one.
	Carry []int

	Epoch, Index int // micro-batch Index of Epoch, both from 0
}

// Documents returns the number of documents. It is 0 for the micro-batches that fill up the last round of all ranks.
func (b *Batch) Documents() int { return len(b.Starts) }

// Document returns document i as a batch of its own, in the same memory, without Carry.
func (b *Batch) Document(i int) Batch {
	from, to := b.Starts[i], len(b.Tokens)
	if i+1 < len(b.Starts) {
		to = b.Starts[i+1]
	}
	return Batch{Tokens: b.Tokens[from:to], Labels: b.Labels[from:to], Starts: []int{0}, Rows: b.Rows[i : i+1], Epoch: b.Epoch, Index: b.Index}
}

// Counted returns how many labels enter the loss.
func (b *Batch) Counted() (n int) {
	for i := range b.Starts {
		n += label.Count(b.Document(i).Labels)
	}
	return n
}

// Cursor is a place in the order of micro-batches: all that a checkpoint needs to go on from there. It serialises as JSON.
type Cursor struct {
	Epoch int    `json:"epoch"`
	Next  int    `json:"next"`  // micro-batch of the epoch, over all ranks
	Data  string `json:"data"`  // fingerprint of the data set
	Order string `json:"order"` // hash of what the order depends on: seed, batch size, packing …
}

// LoaderOptions say how documents are put together.
type LoaderOptions struct {
	BatchSize int    // documents of a micro-batch; with packing, BatchSize × max_length rows
	Seed      uint64 // of the order
	Rank      int    // of Ranks; 0 of 0 or 1 = alone
	Ranks     int
	Shards    int // micro-batches of one round over all ranks, a multiple of Ranks; 0 = Ranks
}

// Loader gives out the micro-batches of a data set in an order that depends only on the data, the options and the seed.
// It reads ahead in the background; one goroutine uses it at a time.
type Loader struct {
	data    *Dataset
	options LoaderOptions
	plan    plan
	total   int // micro-batches of an epoch, over all ranks
	next    position
	ahead   *readAhead
}

// position is an epoch and a micro-batch of it, over all ranks.
type position struct{ epoch, index int }

// A plan says which documents make a micro-batch. It is read-only.
type plan interface {
	batches() int
	// batch appends the store's indices of the documents of micro-batch i.
	batch(epoch, i int, documents []int) []int
}

// Loader returns a loader of d's micro-batches, at the first of epoch 0.
func (d *Dataset) Loader(o LoaderOptions) (*Loader, error) {
	if o.BatchSize < 1 {
		return nil, fmt.Errorf("data: loader: batch size %d, want 1 or more", o.BatchSize)
	}
	o.Ranks = max(o.Ranks, 1)
	if o.Shards == 0 {
		o.Shards = o.Ranks
	}
	if o.Rank < 0 || o.Rank >= o.Ranks || o.Shards%o.Ranks != 0 {
		return nil, fmt.Errorf("data: loader: rank %d of %d with %d shards", o.Rank, o.Ranks, o.Shards)
	}
	l := &Loader{data: d, options: o}
	l.next.index = l.firstShard()
	switch {
	case d.options.CarryState:
		l.plan = newLanes(d, o)
	case d.options.Packing:
		l.plan = newBins(d, o)
	default:
		l.plan = newSequence(d, o)
	}
	l.total = l.plan.batches()
	return l, nil
}

// Len returns how many micro-batches of an epoch this rank has, the same for each rank.
func (l *Loader) Len() int {
	rounds := (l.total + l.options.Shards - 1) / l.options.Shards
	return rounds * (l.options.Shards / l.options.Ranks)
}

// Total returns how many micro-batches an epoch has over all ranks.
func (l *Loader) Total() int { return l.total }

// At returns micro-batch i of an epoch, of all ranks' micro-batches. Past the last it is empty.
func (l *Loader) At(epoch, i int) Batch {
	b := Batch{Epoch: epoch, Index: i}
	if i < 0 || i >= l.total {
		return b
	}
	documents := l.plan.batch(epoch, i, nil)
	rows := 0
	for _, k := range documents {
		rows += l.data.store.length(k)
	}
	b.Tokens, b.Labels = make([]int, 0, rows), make([]int, 0, rows)
	for _, k := range documents {
		d := l.data.store.document(k)
		b.Starts, b.Rows = append(b.Starts, len(b.Tokens)), append(b.Rows, d.Row)
		for j, id := range d.IDs {
			b.Tokens, b.Labels = append(b.Tokens, int(id)), append(b.Labels, int(d.Labels[j]))
		}
	}
	if lanes, ok := l.plan.(*lanes); ok {
		b.Carry = lanes.carry(epoch, i)
	}
	return b
}

// Next returns this rank's next micro-batch; behind the last of an epoch comes the first of the next one.
func (l *Loader) Next(ctx context.Context) (Batch, error) {
	if l.ahead == nil {
		l.ahead = l.startAhead(l.next)
	}
	select {
	case b := <-l.ahead.batches:
		l.next = l.after(position{b.Epoch, b.Index})
		return b, nil
	case <-ctx.Done():
		return Batch{}, ctx.Err()
	}
}

// firstShard returns this rank's first micro-batch of a round.
func (l *Loader) firstShard() int { return l.options.Rank * (l.options.Shards / l.options.Ranks) }

// after returns this rank's position behind p.
func (l *Loader) after(p position) position {
	own := l.options.Shards / l.options.Ranks
	shard := p.index % l.options.Shards
	if shard+1 < l.firstShard()+own {
		p.index++
	} else {
		p.index += l.options.Shards - shard + l.firstShard()
	}
	if p.index-p.index%l.options.Shards >= l.total {
		return position{p.epoch + 1, l.firstShard()}
	}
	return p
}

// Cursor returns the place of the next micro-batch, in terms that hold on every rank after as many calls of Next.
func (l *Loader) Cursor() Cursor {
	return Cursor{Epoch: l.next.epoch, Next: l.next.index - l.firstShard(), Data: l.data.fingerprint, Order: l.orderHash()}
}

// orderHash names everything that the order of micro-batches depends on beside the data.
func (l *Loader) orderHash() string {
	o := &l.data.options
	return contenthash.Sum(fmt.Append(nil, l.options.BatchSize, l.options.Seed, o.Shuffle, o.Packing, o.CarryState, o.MaxLength))[:16]
}

// Seek makes the micro-batch at c the next one. A cursor of other data or of another order is refused.
func (l *Loader) Seek(c Cursor) error {
	switch {
	case c.Data != l.data.fingerprint:
		return fmt.Errorf("data: cursor: the data is not what it was: fingerprint %.12s, want %.12s", l.data.fingerprint, c.Data)
	case c.Order != l.orderHash():
		return fmt.Errorf("data: cursor: seed, batch size, packing or max_length are not what they were")
	case c.Epoch < 0 || c.Next < 0 || c.Next-c.Next%l.options.Shards >= l.total:
		return fmt.Errorf("data: cursor: micro-batch %d of epoch %d, an epoch has %d", c.Next, c.Epoch, l.total)
	}
	l.Close()
	l.next = position{c.Epoch, c.Next + l.firstShard()}
	return nil
}

// Close stops reading ahead: call it before the data set's Close. Next starts it again.
func (l *Loader) Close() {
	if l.ahead != nil {
		l.ahead.stop()
		l.ahead = nil
	}
}

// aheadBatches is how many micro-batches are made before they are asked for.
const aheadBatches = 4

// readAhead makes micro-batches in the background.
type readAhead struct {
	batches    chan Batch
	quit, done chan struct{}
}

func (l *Loader) startAhead(p position) *readAhead {
	r := &readAhead{make(chan Batch, aheadBatches), make(chan struct{}), make(chan struct{})}
	go func() {
		defer close(r.done)
		for ; ; p = l.after(p) {
			select {
			case r.batches <- l.At(p.epoch, p.index):
			case <-r.quit:
				return
			}
		}
	}()
	return r
}

// stop returns when nothing reads the data set any more: its memory may be unmapped then.
func (r *readAhead) stop() {
	close(r.quit)
	<-r.done
}

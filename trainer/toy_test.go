package trainer

import (
	"context"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	ag "mambatrain/autograd"
	"mambatrain/nn/weights"
)

// TestMain moves temporary directories to memory if possible: the tests wait for the disk thousands of times.
func TestMain(m *testing.M) {
	if dir, err := os.MkdirTemp("/dev/shm", ""); err == nil {
		os.Setenv("TMPDIR", dir)
		defer os.RemoveAll(dir)
	}
	m.Run()
}

// toy is a bigram model with dropout and hand-written derivatives: the logits of the next token are table[token] +
// bias. It is small enough to repeat a run hundreds of times.
type toy struct {
	table, bias *ag.Param
	words       int
	dropout     float64
	poison      func(runs int) float32 // added to a weight's gradient; nil = nothing
	runs        int
	state       float32 // state passed on by a document: a count of rows, which scales the loss
}

func newToy(words int, dropout float64) *toy {
	m := &toy{table: ag.Zeros("table.weight", words, words), bias: ag.Zeros("norm.bias", words), words: words, dropout: dropout}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range m.table.Float32s() {
		m.table.Float32s()[i] = float32(r.NormFloat64()) / 4
	}
	for _, p := range m.params() {
		if err := p.Train(); err != nil {
			panic(err)
		}
	}
	return m
}

func (m *toy) params() []*ag.Param { return []*ag.Param{m.table, m.bias} }

func (m *toy) Step(_ context.Context, s ag.Step) (ag.Loss, error) {
	m.runs++
	r := rand.New(rand.NewPCG(s.Seed, 0))
	keep := make([]float32, m.words)
	l := m.each(s.Batch, func() []float32 {
		for i := range keep {
			keep[i] = 0
			if r.Float64() >= m.dropout {
				keep[i] = float32(1 / (1 - m.dropout))
			}
		}
		return keep
	}, s.Scale)
	if m.poison != nil {
		m.table.GradFloat32s()[3] += m.poison(m.runs)
	}
	return l, nil
}

func (m *toy) Carried() []float32 { return []float32{m.state} }

func (m *toy) SetCarried(s []float32) error {
	m.state = s[0]
	return nil
}

func (m *toy) Eval(_ context.Context, b ag.Batch) (ag.Loss, error) { return m.each(b, nil, 0), nil }

// each visits every pair of tokens within a document; mask draws the dropout of a row.
func (m *toy) each(b ag.Batch, mask func() []float32, scale float64) ag.Loss {
	var l ag.Loss
	if !b.Continues {
		m.state = 0
	}
	weight := 1 + float64(m.state)/100
	m.state += float32(len(b.Tokens))
	scale *= weight
	for d := range b.Starts {
		for t := b.Starts[d] + 1; t < b.End(d); t++ {
			if b.Labels[t] >= 0 {
				l.Tokens++
				l.Sum += weight * m.pair(b.Tokens[t-1], b.Labels[t], mask, scale)
			}
		}
	}
	return l
}

func (m *toy) pair(from, to int, mask func() []float32, scale float64) float64 {
	row, p, sum := m.table.Float32s()[from*m.words:][:m.words], make([]float64, m.words), 0.0
	var keep []float32
	if mask != nil {
		keep = mask()
	}
	for i := range p {
		x := row[i]
		if keep != nil {
			x *= keep[i]
		}
		p[i] = math.Exp(float64(x + m.bias.Float32s()[i]))
		sum += p[i]
	}
	if keep != nil {
		for i := range p {
			g := p[i] / sum
			if i == to {
				g--
			}
			m.table.GradFloat32s()[from*m.words+i] += float32(g*scale) * keep[i]
			m.bias.GradFloat32s()[i] += float32(g * scale)
		}
	}
	return -math.Log(p[to] / sum)
}

func (m *toy) save(dir string) error {
	var list []weights.Entry
	for _, p := range m.params() {
		list = append(list, weights.FromParam(p, weights.F32))
	}
	return weights.Save(filepath.Join(dir, weights.ModelFile), list, nil)
}

func (m *toy) load(dir string) error {
	return weights.ReadInto(dir, m.params())
}

// documents is a source of ragged documents in an order that depends on the epoch.
type documents struct {
	docs    [][]int
	batch   int
	seed    uint64
	maskOut bool // every third label is ignored
	packing bool // the number of micro-batches depends on the epoch
}

func newDocuments(n, words, batch int) *documents {
	d, r := &documents{batch: batch, seed: 5, maskOut: true}, rand.New(rand.NewPCG(9, 9))
	for range n {
		doc := make([]int, 2+r.IntN(9))
		for i := range doc {
			doc[i] = r.IntN(words)
		}
		d.docs = append(d.docs, doc)
	}
	return d
}

func (d *documents) size(epoch int) int {
	if d.packing {
		return d.batch + epoch%2
	}
	return d.batch
}

func (d *documents) Batches(epoch int) (int, error) {
	return (len(d.docs) + d.size(epoch) - 1) / d.size(epoch), nil
}

func (d *documents) Batch(_ context.Context, epoch, index int) (MicroBatch, error) {
	order := rand.New(rand.NewPCG(d.seed, uint64(epoch))).Perm(len(d.docs))
	n := d.size(epoch)
	var b ag.Batch
	for _, i := range order[index*n : min(len(order), (index+1)*n)] {
		b.Starts = append(b.Starts, len(b.Tokens))
		for j, id := range d.docs[i] {
			label := id
			if d.maskOut && (i+j)%3 == 2 {
				label = ag.NoLabel
			}
			b.Tokens, b.Labels = append(b.Tokens, id), append(b.Labels, label)
		}
	}
	return MicroBatch{Batch: b}, nil
}

// frozenClock makes everything that depends on time the same in every run.
func frozenClock() time.Time { return time.Unix(1_700_000_000, 0) }

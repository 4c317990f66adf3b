package autograd_test

import (
	"testing"

	ag "mambatrain/autograd"
)

// TestWork checks that exactly the needed products are counted, depending on which parameters are trainable.
func TestWork(t *testing.T) {
	const rows, labels, v, m, d, r = 10, 4, 50, 8, 12, 2
	param := func(shape ...int) *ag.Param { return ag.Zeros("p", shape...) }
	for _, c := range []struct {
		what              string
		trains            []int
		forward, backward float64
	}{
		{"nothing", nil, 2*rows*(m*d+r*m+d*r+d*m) + 2*labels*m*v, 0},
		// W2: its own gradient and the gradient of the head's input.
		{"w2", []int{4}, 2*rows*(m*d+r*m+d*r+d*m) + 2*labels*m*v, 2*rows*d*m + 2*labels*m*v},
		// A and B: their gradients, the gradient of x·Aᵀ, and the gradients of all later inputs.
		{"a b", []int{2, 3}, 2*rows*(m*d+r*m+d*r+d*m) + 2*labels*m*v, 2*rows*(d*r+m*r+d*r) + 2*rows*d*m + 2*labels*m*v},
		// The table: the gradient of every input, including the branch's.
		{"table", []int{0}, 2*rows*(m*d+r*m+d*r+d*m) + 2*labels*m*v, 2*rows*(m*d+d*r+m*r+d*m) + 2*labels*m*v},
	} {
		p := []*ag.Param{param(v, m), param(d, m), param(r, m), param(d, r), param(m, d), param(v, m)}
		for _, i := range c.trains {
			if err := p[i].Train(); err != nil {
				t.Fatal(err)
			}
		}
		g := ag.NewGraph(ag.Options{Rows: rows})
		x := ag.Embedding(g.Param(p[0]), g.Tokens(), ag.LowRank{})
		x = ag.Linear(x, g.Param(p[1]), ag.Var{}, ag.LowRank{A: g.Param(p[2]), B: g.Param(p[3]), Scale: 1})
		x = ag.Linear(x, g.Param(p[4]), ag.Var{}, ag.LowRank{})
		ag.CrossEntropy(x, g.Param(p[5]), ag.LowRank{}, ag.LossOptions{})
		if got := g.Work(labels); g.Err() != nil || got.Forward != c.forward || got.Backward != c.backward {
			t.Errorf("%s: %+v, want %v and %v; %v", c.what, got, c.forward, c.backward, g.Err())
		}
	}
}

// TestWork_ssd expects, in one chunk of q rows, C·B for each pair of rows and group, x for each pair and channel, and
// two products with the state.
func TestWork_ssd(t *testing.T) {
	const q, h, p, groups, n = 6, 4, 3, 2, 5
	const pairs = q * (q + 1) / 2
	g := ag.NewGraph(ag.Options{Rows: q})
	x := g.Embeds(h*p + 2*groups*n)
	zeros := func() ag.Var { return g.Param(ag.Zeros("p", h)) }
	dt := ag.Columns(x, 0, h)
	ag.SSD(ag.SSDInput{XBC: x, DT: dt, DTBias: zeros(), ALog: zeros(), D: zeros(), Groups: groups, State: n, Limit: [2]float64{0, 1}})
	if got, want := g.Work(0).Forward, 2.0*(pairs*groups*n+pairs*h*p+2*q*h*p*n); got != want || g.Err() != nil {
		t.Errorf("got %v, want %v; %v", got, want, g.Err())
	}
}

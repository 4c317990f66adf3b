package autograd_test

import (
	"strings"
	"testing"

	ag "mambatrain/autograd"
)

func TestDraw(t *testing.T) {
	table := param(t, "table", 1, 11, 4)
	g := ag.NewGraph(ag.Options{Rows: 5})
	ag.CrossEntropy(lookup(g, g.Param(table)), g.Param(table), ag.LowRank{}, ag.LossOptions{})
	var b strings.Builder
	if err := g.Draw().DOT(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`label="embedding\n5 × 4"`, `label="table\n11 × 4"`, `label="tokens\n5"`, `label="cross_entropy"`, "->"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
}

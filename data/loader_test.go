package data

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"mambatrain/internal/testfile"
)

// idRowsFile writes n documents of token ids. Document i has i+1 tokens, at most 20, all with id i.
func idRowsFile(t testing.TB, n int) string {
	var b strings.Builder
	for i := range n {
		ids := slices.Repeat([]int{i}, 2+i%19)
		raw, _ := json.Marshal(map[string]any{"input_ids": ids})
		b.Write(append(raw, '\n'))
	}
	return testfile.Write(t, "ids.jsonl", b.String())
}

func newLoader(t testing.TB, d *Dataset, batchSize int, seed uint64) *Loader {
	t.Helper()
	l, err := d.Loader(batchSize, seed)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLoader_everyDocumentOnce(t *testing.T) {
	const n = 103
	for _, packing := range []bool{false, true} {
		t.Run(fmt.Sprintf("packing=%v", packing), func(t *testing.T) {
			o := Default()
			o.Packing, o.MaxLength = packing, 32
			d := open(t, idRowsFile(t, n), nil, o)
			l := newLoader(t, d, 4, 7)
			var orders [][]int
			for epoch := range 2 {
				var rows []int
				for i := range l.Total() {
					b := l.At(epoch, i)
					if packing && len(b.Tokens) > 4*32 {
						t.Errorf("%d rows in a batch of at most 128", len(b.Tokens))
					}
					if !packing && b.Documents() != 4 && i != l.Total()-1 {
						t.Errorf("batch %d has %d documents, want 4", i, b.Documents())
					}
					checkBatch(t, b)
					rows = append(rows, b.Rows...)
				}
				orders = append(orders, slices.Clone(rows))
				slices.Sort(rows)
				if len(rows) != n || len(slices.Compact(rows)) != n {
					t.Errorf("epoch %d has %d documents, want each of %d once", epoch, len(rows), n)
				}
			}
			if slices.Equal(orders[0], orders[1]) {
				t.Error("two epochs have the same order")
			}
		})
	}
}

// checkBatch checks the invariants of a batch from idRowsFile.
func checkBatch(t *testing.T, b Batch) {
	t.Helper()
	if len(b.Tokens) != len(b.Labels) || len(b.Starts) != len(b.Rows) {
		t.Fatalf("%d tokens, %d labels, %d starts, %d rows", len(b.Tokens), len(b.Labels), len(b.Starts), len(b.Rows))
	}
	for k, row := range b.Rows {
		ids := b.Document(k).Tokens
		if want := 2 + row%19; len(ids) != want {
			t.Errorf("document of row %d has %d tokens, want %d", row, len(ids), want)
		}
		for _, id := range ids {
			if id != row {
				t.Errorf("row %d has token %d", row, id)
			}
		}
	}
	if want := len(b.Tokens) - len(b.Starts); b.Counted() != want {
		t.Errorf("%d labels counted, want %d", b.Counted(), want)
	}
}

func TestPermutation(t *testing.T) {
	for n := range 70 {
		p := newPermutation(n, 3, uint64(n))
		seen := map[int]bool{}
		for i := range n {
			k := p.at(i)
			if k < 0 || k >= n || seen[k] {
				t.Fatalf("n = %d: %d is repeated or out of range", n, k)
			}
			seen[k] = true
		}
	}
}

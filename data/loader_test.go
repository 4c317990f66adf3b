package data

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"mambatrain/internal/testfile"
)

// idRowsFile writes n documents of token ids; document i is i+1 tokens of id i, up to 20.
func idRowsFile(t testing.TB, n int) string {
	var b strings.Builder
	for i := range n {
		ids := slices.Repeat([]int{i}, 2+i%19)
		raw, _ := json.Marshal(map[string]any{"input_ids": ids})
		b.Write(append(raw, '\n'))
	}
	return testfile.Write(t, "ids.jsonl", b.String())
}

func newLoader(t testing.TB, d *Dataset, o LoaderOptions) *Loader {
	t.Helper()
	l, err := d.Loader(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func TestEpochHasEveryDocumentOnce(t *testing.T) {
	const n = 103
	for _, packing := range []bool{false, true} {
		t.Run(fmt.Sprintf("packing=%v", packing), func(t *testing.T) {
			o := Default()
			o.Packing, o.MaxLength = packing, 32
			d := open(t, idRowsFile(t, n), nil, o)
			l := newLoader(t, d, LoaderOptions{BatchSize: 4, Seed: 7})
			var orders [][]int
			for epoch := range 2 {
				var rows []int
				for range l.Len() {
					b, err := l.Next(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if b.Epoch != epoch {
						t.Fatalf("epoch %d, want %d", b.Epoch, epoch)
					}
					if packing && len(b.Tokens) > 4*32 {
						t.Errorf("%d rows in a batch of at most 128", len(b.Tokens))
					}
					if !packing && b.Documents() != 4 && b.Index != l.Len()-1 {
						t.Errorf("batch %d has %d documents, want 4", b.Index, b.Documents())
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
				t.Error("two epochs have one order")
			}
		})
	}
}

// checkBatch checks what every batch promises: idRowsFile's document i is tokens of id i.
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

func TestCursorResumes(t *testing.T) {
	d := open(t, idRowsFile(t, 50), nil, Default())
	straight := newLoader(t, d, LoaderOptions{BatchSize: 3, Seed: 1})
	resumed := newLoader(t, d, LoaderOptions{BatchSize: 3, Seed: 1})
	for i := range 40 {
		raw, err := json.Marshal(straight.Cursor())
		if err != nil {
			t.Fatal(err)
		}
		var c Cursor
		if err := json.Unmarshal(raw, &c); err != nil {
			t.Fatal(err)
		}
		if err := resumed.Seek(c); err != nil {
			t.Fatal(err)
		}
		want, err := straight.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got, err := resumed.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.Rows, want.Rows) || got.Epoch != want.Epoch {
			t.Fatalf("batch %d: rows %v of epoch %d, want %v of %d", i, got.Rows, got.Epoch, want.Rows, want.Epoch)
		}
	}
	other := newLoader(t, d, LoaderOptions{BatchSize: 3, Seed: 2})
	if err := other.Seek(straight.Cursor()); err == nil {
		t.Error("a cursor of another seed is taken")
	}
}

func TestRanksShareAnEpoch(t *testing.T) {
	d := open(t, idRowsFile(t, 50), nil, Default())
	alone := newLoader(t, d, LoaderOptions{BatchSize: 3, Seed: 1})
	want := map[int][]int{}
	for i := range alone.Len() {
		want[i] = alone.At(0, i).Rows
	}
	for _, c := range []struct{ ranks, shards int }{{2, 0}, {3, 3}, {2, 4}, {4, 8}} {
		got := map[int][]int{}
		for rank := range c.ranks {
			l := newLoader(t, d, LoaderOptions{BatchSize: 3, Seed: 1, Rank: rank, Ranks: c.ranks, Shards: c.shards})
			for range l.Len() {
				b, err := l.Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if b.Epoch != 0 {
					t.Fatalf("rank %d of %d left the epoch", rank, c.ranks)
				}
				if b.Documents() > 0 {
					got[b.Index] = b.Rows
				}
			}
			if c := l.Cursor(); c.Epoch != 1 || c.Next != 0 {
				t.Errorf("cursor after an epoch: %+v", c)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%+v: %d batches, want %d", c, len(got), len(want))
		}
		for i, rows := range want {
			if !slices.Equal(got[i], rows) {
				t.Errorf("%+v: batch %d: rows %v, want %v", c, i, got[i], rows)
			}
		}
	}
}

func TestPermutation(t *testing.T) {
	for n := range 70 {
		p := newPermutation(n, 3, uint64(n))
		seen := map[int]bool{}
		for i := range n {
			k := p.at(i)
			if k < 0 || k >= n || seen[k] {
				t.Fatalf("n = %d: %d stands twice or outside", n, k)
			}
			seen[k] = true
		}
	}
}

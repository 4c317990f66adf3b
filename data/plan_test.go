package data

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"mambatrain/data/source"
	"mambatrain/data/tokenizer"
	"mambatrain/internal/label"
	"mambatrain/internal/testfile"
)

// epochRows returns the source rows of an epoch, sorted.
func epochRows(l *Loader, epoch int) (rows []int) {
	for i := range l.Total() {
		rows = append(rows, l.At(epoch, i).Rows...)
	}
	slices.Sort(rows)
	return rows
}

func TestLoader_weights(t *testing.T) {
	var inputs []source.Input
	for k, weight := range []float64{1, 2.5, 0.5} {
		var b strings.Builder
		for i := range 20 {
			fmt.Fprintf(&b, "{\"input_ids\":[%d,%d]}\n", k*100, i)
		}
		inputs = append(inputs, source.Input{Path: testfile.Write(t, "ids.jsonl", b.String()), Weight: weight})
	}
	d, err := Open(t.Context(), inputs, nil, Default())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if got := d.EpochTokens(); got != 2*(20+50+10) {
		t.Errorf("an epoch has %v tokens, want 160", got)
	}
	for _, packing := range []bool{false, true} {
		d.config.Packing = packing
		l := newLoader(t, d, 3, 5)
		seen := map[[3]int]int{} // epoch, source, row
		perSource := map[[2]int]int{}
		for epoch := range 2 {
			for i := range l.Total() {
				b := l.At(epoch, i)
				for k, start := range b.Starts {
					source := b.Tokens[start] / 100
					seen[[3]int{epoch, source, b.Rows[k]}]++
					perSource[[2]int{epoch, source}]++
				}
			}
		}
		var halves [2][]int
		for epoch := range 2 {
			for source, want := range []int{20, 50, 10} {
				if got := perSource[[2]int{epoch, source}]; got != want {
					t.Errorf("packing %v: source %d has %d documents in epoch %d, want %d", packing, source, got, epoch, want)
				}
			}
			for row := range 20 {
				if n := seen[[3]int{epoch, 1, row}]; n != 2 && n != 3 {
					t.Errorf("packing %v: weight 2.5 gives row %d %d times", packing, row, n)
				}
				if seen[[3]int{epoch, 2, row}] > 0 {
					halves[epoch] = append(halves[epoch], row)
				}
			}
		}
		if same := slices.Equal(halves[0], halves[1]); same != packing {
			t.Errorf("packing %v: epochs have the same half of weight 0.5: %v", packing, same)
		}
	}
}

func TestLoader_order(t *testing.T) {
	d := open(t, idRowsFile(t, 60), nil, Default())
	order := func(seed uint64) (rows []int) {
		l := newLoader(t, d, 7, seed)
		for i := range l.Total() {
			rows = append(rows, l.At(3, i).Rows...)
		}
		return rows
	}
	if !slices.Equal(order(1), order(1)) {
		t.Error("the same seed gives two orders")
	}
	if slices.Equal(order(1), order(2)) {
		t.Error("two seeds give the same order")
	}
	d.config.Shuffle = false
	if got := order(1); !slices.IsSorted(got) {
		t.Errorf("without shuffle the order is %v", got)
	}
}

func TestLoader_packing(t *testing.T) {
	o := Default()
	o.Packing, o.MaxLength = true, 64
	d := open(t, idRowsFile(t, 500), nil, o)
	l := newLoader(t, d, 2, 1)
	least := (d.Stats().Tokens + 127) / 128
	if l.Total() > least+1 {
		t.Errorf("%d batches, %d would suffice for all tokens", l.Total(), least)
	}
	for _, limit := range []int{1 << 40, math.MaxInt} { // no limit in practice
		d.config.MaxLength = limit
		if r, err := d.Report(2, 1); err != nil || r.Batches != 1 || r.BudgetRows <= 0 {
			t.Errorf("max_length %d: %+v, %v, want one micro-batch", limit, r, err)
		}
	}
}

// TestLoader_carryState follows each document through the micro-batches by Batch.Carry.
func TestLoader_carryState(t *testing.T) {
	var b strings.Builder
	want := map[int]int{} // row → tokens
	for i := range 30 {
		want[i] = 2 + i*7%23
		fmt.Fprintf(&b, "{\"input_ids\":%s}\n", testfile.JSON(t, slices.Repeat([]int{i}, want[i])))
	}
	o := Default()
	o.Truncation, o.MaxLength, o.CarryState = "split", 4, true
	d := open(t, testfile.Write(t, "ids.jsonl", b.String()), nil, o)
	l := newLoader(t, d, 3, 9)
	var orders [2][]int
	for epoch := range 2 {
		got := map[int]int{}
		var before Batch
		for i := range l.Total() {
			b := l.At(epoch, i)
			if b.Documents() > 3 || len(b.Carry) != b.Documents() {
				t.Fatalf("%d documents, carry %v", b.Documents(), b.Carry)
			}
			for k, row := range b.Rows {
				if from := b.Carry[k]; from >= 0 && before.Rows[from] != row {
					t.Errorf("batch %d: row %d continues from row %d", i, row, before.Rows[from])
				} else if from < 0 && got[row] > 0 {
					t.Errorf("batch %d: row %d continues from nothing", i, row)
				}
				got[row] += len(b.Document(k).Tokens)
			}
			before = b
			orders[epoch] = append(orders[epoch], b.Rows...)
		}
		for row, n := range want {
			if got[row] != n {
				t.Errorf("epoch %d: row %d has %d tokens, want %d", epoch, row, got[row], n)
			}
		}
	}
	if slices.Equal(orders[0], orders[1]) {
		t.Error("two epochs have the same order")
	}
}

func TestSplit(t *testing.T) {
	o := Default()
	o.Truncation, o.MaxLength = "split", 5
	d, err := Open(t.Context(), []source.Input{{Path: idRowsFile(t, 100)}}, nil, o)
	if err != nil {
		t.Fatal(err)
	}
	train, eval, err := d.Split(0.2, 3)
	if err != nil {
		t.Fatal(err)
	}
	a := slices.Compact(epochRows(newLoader(t, train, 1, 0), 0))
	b := slices.Compact(epochRows(newLoader(t, eval, 1, 0), 0))
	if len(a) != 80 || len(b) != 20 {
		t.Errorf("%d and %d rows, want 80 and 20", len(a), len(b))
	}
	for _, row := range b {
		if slices.Contains(a, row) {
			t.Errorf("row %d is on both sides", row)
		}
	}
	if n := train.Stats().Tokens + eval.Stats().Tokens; n != d.Stats().Tokens {
		t.Errorf("the sides have %d tokens, want %d", n, d.Stats().Tokens)
	}
	if train.Fingerprint() == d.Fingerprint() || train.Fingerprint() == eval.Fingerprint() {
		t.Error("different data has the same fingerprint")
	}
	if err := train.Close(); err != nil {
		t.Error(err)
	}
	eval.Example(0)
	if err := eval.Close(); err != nil {
		t.Error(err)
	}
	if _, _, err := d.Split(1, 0); err == nil {
		t.Error("a fraction of 1 is accepted")
	}
}

func TestOpen_maxTrainSamples(t *testing.T) {
	o := Default()
	o.MaxTrainSamples = 30
	inputs := []source.Input{{Path: idRowsFile(t, 20)}, {Path: idRowsFile(t, 20)}, {Path: idRowsFile(t, 20)}}
	d, err := Open(t.Context(), inputs, nil, o)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if s := d.Stats(); s.Rows != 30 || s.Documents != 30 {
		t.Errorf("%+v, want 30 rows", s)
	}
}

func TestReport(t *testing.T) {
	d := open(t, idRowsFile(t, 38), nil, Default())
	r, err := d.Report(4, 1)
	if err != nil {
		t.Fatal(err)
	}
	tokens := 2 * (2 + 20) * 19 / 2 // each length from 2 to 20, twice
	if r.EpochTokens != tokens || r.EpochLabels != tokens-38 || r.Batches != 10 || r.Longest != 20 || r.MeanLength != 11 {
		t.Errorf("%+v", r)
	}
	if r.PaddedRows <= tokens || r.PaddingSaved() <= 0 || r.PaddingSaved() >= 1 {
		t.Errorf("%d padded rows, saved %v", r.PaddedRows, r.PaddingSaved())
	}
	n := 0
	for _, bin := range r.Histogram {
		n += bin.Documents
	}
	if n != 38 || len(r.Histogram) > histogramBins+1 {
		t.Errorf("a histogram of %d documents in %d bins", n, len(r.Histogram))
	}
	if r.Quantiles[2] != (Quantile{0.5, 11}) {
		t.Errorf("median %+v, want 11", r.Quantiles[2])
	}
	twice := testfile.Write(t, "ids.jsonl", "{\"input_ids\":[1,2]}\n{\"input_ids\":[1,2]}\n{\"input_ids\":[2,1]}\n")
	if n := open(t, twice, nil, Default()).duplicates(); n != 1 {
		t.Errorf("%d duplicates, want 1", n)
	}
}

func TestSegments(t *testing.T) {
	o := promptConfig()
	o.MaxLength, o.Shuffle = 64, false
	tok := tinyTokenizer(t)
	d := open(t, promptRowsFile(t), tok, o)
	b := newLoader(t, d, 2, 0).At(0, 0)
	var got []string
	for _, s := range b.Segments(tok) {
		got = append(got, fmt.Sprintf("%d %v %s", s.Document, s.Counted, s.Text))
	}
	want := []string{
		"0 false What is a river?", "0 true  A road.<|endoftext|>",
		"1 false And the sea?", "1 true  Where it ends, and where a good many others do.<|endoftext|>",
	}
	if !slices.Equal(got, want) {
		t.Errorf("segments %q, want %q", got, want)
	}
}

// A tokenizer that adds a space before every text, and removes it when decoding, does so once per document.
func TestSegments_spaceBeforeText(t *testing.T) {
	tok, err := tokenizer.Load("tokenizer/testdata/families/llama2.json")
	if err != nil {
		t.Fatal(err)
	}
	var b Batch
	for _, text := range []string{"Hello world", "漢 x"} {
		b.Starts = append(b.Starts, len(b.Tokens))
		for i, id := range tok.Encode(text) {
			b.Tokens = append(b.Tokens, id)
			b.Labels = append(b.Labels, label.Ignored)
			if i >= 4 {
				b.Labels[len(b.Labels)-1] = id
			}
		}
	}
	text := ""
	for _, s := range b.Segments(tok) {
		text += fmt.Sprintf("%v %q ", s.Counted, s.Text)
	}
	if want := `false "Hello" true " world" false "漢 x" `; text != want {
		t.Errorf("%s, want %s", text, want)
	}
}

package kernel

import (
	"math"
	"slices"
	"testing"
)

// TestScaleColumns compares the product, stored and added, with values computed by hand, on a range of columns.
func TestScaleColumns(t *testing.T) {
	x := Mat[float32]{[]float32{9, 1, 2, 9, 3, 4}, 2, 2, 3}
	x.Data = x.Data[1:]
	y := Dense([]float32{1, 1, 1, 1}, 2, 2)
	ScaleColumns(Set, y, x, []float32{2, 3}, []float32{5, 7})
	ScaleColumns(Add, y, x, []float32{2, 3}, []float32{5, 7})
	if want := []float32{20, 84, 60, 168}; !slices.Equal(y.Data, want) {
		t.Errorf("got %v, want %v", y.Data, want)
	}
}

// TestDotColumns checks that the sum is added, with values computed by hand.
func TestDotColumns(t *testing.T) {
	x, y := Dense([]float64{1, 2, 3, 4}, 2, 2), Dense([]float64{5, 6, 7, 8}, 2, 2)
	dst := []float64{1, 1}
	DotColumns(dst, x, y, []float64{2, -1})
	if want := []float64{53, -43}; !slices.Equal(dst, want) {
		t.Errorf("got %v, want %v", dst, want)
	}
}

// TestNorms checks row and column norms of a matrix given in blocks, some of them zero.
func TestNorms(t *testing.T) {
	blocks := slices.Values([]Mat[float32]{Dense([]float32{3, 0, 4}, 1, 3), Dense([]float32{0, 0, 0, 4, 0, 3}, 2, 3)})
	rows, columns := make([]float32, 3), make([]float32, 3)
	InverseRowNorms(rows, blocks)
	InverseColumnNorms(columns, blocks)
	if want := []float32{0.2, 0, 0.2}; !slices.Equal(rows, want) {
		t.Errorf("rows: got %v, want %v", rows, want)
	}
	if want := []float32{0.2, 0, 0.2}; !slices.Equal(columns, want) {
		t.Errorf("columns: got %v, want %v", columns, want)
	}
}

// TestDrop checks that about a fraction p is dropped, that the other elements are divided by 1−p, and that Rows is used.
func TestDrop(t *testing.T) {
	x := Dense(make([]float64, 40*50), 40, 50)
	fill(x.Data, 3)
	y := Dense(make([]float64, len(x.Data)), 40, 50)
	d := Dropout{Seed: 7, Share: 0.25, First: 2}
	Drop(y, x, d)
	dropped := 0
	for _, v := range y.Data {
		switch v {
		case 0:
			dropped++
		case 4:
		default:
			t.Fatalf("got %v, want 0 or 4", v)
		}
	}
	if share := float64(dropped) / float64(len(y.Data)); math.Abs(share-d.Share) > 0.05 {
		t.Errorf("%v of the elements are dropped, want about %v", share, d.Share)
	}
	last := Dense(make([]float64, 50), 1, 50)
	d.Rows = []int{39}
	Drop(last, x.Slice(0, 1, 0, 50), d)
	if !slices.Equal(last.Data, y.Row(39)) {
		t.Error("row 39 by number differs from row 39 of the whole")
	}
}

package label

import (
	"slices"
	"testing"
)

func TestTarget_isNextCountedLabel(t *testing.T) {
	document := []int{7, 0, -1, 3, Ignored, 9}
	var got []int
	for row := range document {
		got = append(got, Target(document, row))
	}
	if want := []int{0, Ignored, 3, Ignored, 9, Ignored}; !slices.Equal(got, want) {
		t.Errorf("targets %v, want %v", got, want)
	}
	if n := Count(document); n != 3 {
		t.Errorf("%d labels count, want 3", n)
	}
	if n := Count[int32](nil); n != 0 {
		t.Errorf("%d labels count without any rows", n)
	}
}

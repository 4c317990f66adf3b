package kernel

import "testing"

func TestSharers(t *testing.T) {
	for list, want := range map[string]int{"": 1, "0": 1, "0-3": 4, "0-3,8": 5, "2,4,6": 3, "x": 1} {
		if got := sharers(list); got != want {
			t.Errorf("%q: got %d, want %d", list, got, want)
		}
	}
}

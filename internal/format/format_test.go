package format

import "testing"

func TestCounted(t *testing.T) {
	for want, got := range map[string]string{"1 batch": Counted(1, "batch"), "2 batches": Counted(2, "batch"), "3 epochs": Counted(3, "epoch"), "1,000 rows": Counted(1000, "row")} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

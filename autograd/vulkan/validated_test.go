package vulkan

import (
	"os"
	"testing"
)

// TestValidated runs the work that the validation layer checks in TestValidation, and makes the mistake that
// MAMBA_TEST_MISTAKE names.
func TestValidated(t *testing.T) {
	forChild(t)
	d := open(t, testOptions())
	defer d.Close()
	report(t, SelfTest(d)...)
	switch os.Getenv("MAMBA_TEST_MISTAKE") {
	case "call":
		_ = d.pieces[0].Begin()
		_ = d.pieces[0].Begin()
	case "hazard":
		x := made(t, d, 1, 2)
		p, at := d.commands(), d.place(x)
		p.Fill(at.Buffer, at.at, 8, 1)
		p.Fill(at.Buffer, at.at, 8, 2) // without a barrier
		if err := d.Run(); err != nil {
			t.Error(err)
		}
	}
}

package main

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"mambatrain/autograd/kernel"
)

// A kernel that returns NaN, whose difference is infinite, is reported like any other that is wrong.
func TestDoctorResult_infinite(t *testing.T) {
	var r doctorResult
	errs := r.addKernels(kernel.Report{Checks: []kernel.Check{{Name: "scan", Difference: math.Inf(1)}}})
	if len(errs) != 1 || !strings.Contains(errs[0].Error(), "the scan kernel differs from its reference loop by +Inf") {
		t.Errorf("errors %v", errs)
	}
	b, err := json.Marshal(r)
	if err != nil || !strings.Contains(string(b), `{"name":"scan","ok":false,"difference":null,`) {
		t.Errorf("%s, %v", b, err)
	}
}

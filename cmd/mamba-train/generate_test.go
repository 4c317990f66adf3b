package main

import (
	"strings"
	"testing"
	"time"
)

// A text that a stop text ends at once is empty; the ids of what was cut do not stand for it.
func TestEmptyTexts(t *testing.T) {
	var out strings.Builder
	a := &app{out: &out, err: &strings.Builder{}}
	if err := a.printTexts([]text{{IDs: []int{336}}}, []string{"ab"}, false, true, time.Second); err != nil || out.String() != "ab\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

package main

import (
	"runtime/debug"
)

// gcPercent is the garbage, in percent of what is live, at which a collection starts. Nearly all memory of a model is in
// use for the whole run, so that collecting often costs little, while the usual 100 would let the memory double while
// weights are read and packed.
const gcPercent = 10

// collectEarly makes the process collect garbage early.
func collectEarly() { debug.SetGCPercent(gcPercent) }

package main

import (
	"runtime/debug"
)

// gcPercent is the garbage, as a percentage of live memory, at which a collection starts. Nearly all of a model's memory
// stays in use for the whole run, so frequent collections cost little, whereas the default of 100 would let the heap double
// while weights are read and packed.
const gcPercent = 10

// collectEarly makes the garbage collector run early.
func collectEarly() { debug.SetGCPercent(gcPercent) }

package main

import (
	"runtime/debug"
	"sync"
)

const (
	// gcPercent is the garbage, as a percentage of live memory, at which a collection starts. Nearly all of a model's
	// memory stays in use for the whole run, so frequent collections cost little, whereas the default of 100 would let the
	// heap double while weights are read and packed.
	gcPercent = 10

	// gcSlack is the garbage in bytes that starts no collection. With a percentage alone, a model of a few megabytes would
	// be collected dozens of times in a second.
	gcSlack = 16 << 20
)

// collectEarly makes the garbage collector run early. It returns a block that counts as live memory, gcPercent of which is
// gcSlack. The block is kept but never touched, so it takes only address space.
var collectEarly = sync.OnceValue(func() []byte {
	debug.SetGCPercent(gcPercent)
	return make([]byte, gcSlack*100/gcPercent)
})

package jinja

import (
	"context"
	"errors"
)

// Resource limits, because templates are untrusted.
const (
	maxSteps  = 10_000_000 // nodes evaluated and items visited
	maxText   = 16 << 20   // bytes of one string, and of the output
	maxMemory = 1 << 30    // total bytes allocated for strings and lists
	maxRange  = 100_000    // numbers of a range, as in Jinja2's sandbox
	maxCalls  = 200        // nested calls of macros and recursive loops, roughly Python's limit
	// deepestTree is the maximum depth of a template's tree.
	deepestTree = 2000
	// deepestValue is the maximum nesting of lists and dicts for operations that visit a whole value, and of generators
	// that read from each other.
	deepestValue = 500
	// itemSize is the memory charged for each item of a list.
	itemSize = 16
	maxItems = maxText / itemSize // in one list
	// generatorItems is the memory charged for a generator, in items.
	generatorItems = 32
)

var errManyItems = errors.New("a list has more than a million items")

var errTooDeep = errors.New("lists, dicts, or generators nested too deeply")

// limits counts the resources used by a run.
type limits struct {
	ctx           context.Context
	steps, memory int
	calls, reads  int // nested calls, and nested reads of generators
}

// step counts n steps and periodically checks whether the run was canceled.
func (l *limits) step(n int) error {
	before := l.steps
	l.steps += n
	if l.steps > maxSteps || n < 0 {
		return errors.New("the template runs too long: more than 10 million steps")
	}
	if before>>10 != l.steps>>10 {
		return l.ctx.Err()
	}
	return nil
}

// scan charges for an operation that reads each string among the values.
func (l *limits) scan(values ...Value) error {
	n := 0
	for _, v := range values {
		s, _ := asText(v)
		n += len(s) >> 4
	}
	return l.step(n)
}

// alloc charges for a string of n bytes that is about to be created.
func (l *limits) alloc(n int) error {
	if n < 0 || n > maxText {
		return errors.New("a string is longer than 16 MiB")
	}
	l.memory += n
	if l.memory > maxMemory {
		return errors.New("the template takes too much memory: more than 1 GiB of strings and lists")
	}
	return l.step(n >> 7)
}

// allocItems charges for a list of n items that is about to be created.
func (l *limits) allocItems(n int) error {
	if n < 0 || n > maxItems {
		return errManyItems
	}
	return l.alloc(n * itemSize)
}

// product returns a·b, or -1 if it is too large to be a size.
func product(a, b int) int {
	if a < 0 || b < 0 || a != 0 && b > maxText/a {
		return -1
	}
	return a * b
}

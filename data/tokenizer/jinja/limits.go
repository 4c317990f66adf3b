package jinja

import (
	"context"
	"errors"
)

// A template from a stranger gets this much of the machine.
const (
	maxSteps  = 10_000_000 // nodes evaluated and items visited
	maxText   = 16 << 20   // bytes of one string, and of the output
	maxMemory = 1 << 30    // bytes of all strings and lists ever made
	maxRange  = 100_000    // numbers of a range, as in Jinja2's sandbox
	maxCalls  = 200        // nested calls of macros and recursive loops, about as many as Python allows
	// deepestTree is how many nodes lie on a path from the root of a template to a leaf.
	deepestTree = 2000
	// deepestValue is how far lists and dicts may be nested where all of a value is visited.
	deepestValue = 500
	// itemSize is what one item of a list counts.
	itemSize = 16
	maxItems = maxText / itemSize // of one list
)

var errManyItems = errors.New("a list of more than a million items")

var errTooDeep = errors.New("lists or dicts nested too deeply")

// limits counts what a run has used.
type limits struct {
	ctx           context.Context
	steps, memory int
	calls         int
}

// step counts n steps, and asks now and then whether the run was canceled.
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

// alloc counts a string of n bytes that is about to be made.
func (l *limits) alloc(n int) error {
	if n < 0 || n > maxText {
		return errors.New("a text of more than 16 MiB")
	}
	l.memory += n
	if l.memory > maxMemory {
		return errors.New("the template takes too much memory: more than 1 GiB of texts and lists")
	}
	return l.step(n >> 7)
}

// allocItems counts a list of n items that is about to be made.
func (l *limits) allocItems(n int) error {
	if n < 0 || n > maxItems {
		return errManyItems
	}
	return l.alloc(n * itemSize)
}

// product is a·b, or -1 if it is too large to be the size of anything.
func product(a, b int) int {
	if a < 0 || b < 0 || a != 0 && b > maxText/a {
		return -1
	}
	return a * b
}

// Package sharedlib opens shared libraries installed on the machine and calls their C functions, without cgo.
//
// On Linux it needs the build tag mpi or vulkan, because a program that can open libraries must be linked dynamically.
// Windows and macOS programs always are, so there it works in the default build. Elsewhere [Open] fails.
package sharedlib

import (
	"errors"
	"strings"
)

// Library is an open library.
type Library struct {
	Path   string
	handle uintptr
}

// Scope determines who may use the names that a library defines.
type Scope uint8

const (
	Local  Scope = iota // only the caller
	Global              // also libraries opened later
)

// ErrUnsupported is returned by Open in a program that cannot open libraries.
var ErrUnsupported = errors.New("this program was built without support for shared libraries")

// Open opens the first of the paths that it can. A path without a directory is looked up where the system keeps its
// libraries. The error reports what failed for each path.
func Open(s Scope, paths ...string) (*Library, error) {
	if !supported {
		return nil, ErrUnsupported
	}
	var failed []string
	for _, p := range paths {
		handle, err := open(s, p)
		if err == nil {
			return &Library{p, handle}, nil
		}
		failed = append(failed, err.Error())
	}
	return nil, errors.New(strings.Join(failed, "\n  "))
}

// Symbol returns the address of a name that the library defines, or 0 if there is no such name.
func (l *Library) Symbol(name string) uintptr {
	p, err := symbol(l.handle, name)
	if err != nil {
		return 0
	}
	return p
}

// Package sharedlib opens libraries that are installed on the machine and calls their C functions, without cgo.
//
// On Linux it needs the tag mpi or vulkan: a program that can open libraries is linked dynamically there. Windows and macOS
// programs always are, so it works in the default build. Elsewhere [Open] fails.
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

// Scope says who may use the names that a library defines.
type Scope uint8

const (
	Local  Scope = iota // the caller alone
	Global              // the libraries that are opened later, too
)

// ErrUnsupported is the error of Open in a program that cannot open libraries.
var ErrUnsupported = errors.New("this program is built without support for shared libraries")

// Open opens the first library of the paths that can be opened. A path without a directory is searched where the system
// keeps its libraries. The error names what failed for each path.
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

// Symbol returns the address of a name that the library defines, 0 if there is no such name.
func (l *Library) Symbol(name string) uintptr {
	p, err := symbol(l.handle, name)
	if err != nil {
		return 0
	}
	return p
}

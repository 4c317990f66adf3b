package data

import (
	"errors"
	"fmt"
)

// ErrNotFound is wrapped by the errors of names that lead nowhere: a path, a pattern, a repository or split, a column.
var ErrNotFound = errors.New("data: not found")

// notFoundError is an ErrNotFound with a message of its own.
type notFoundError struct{ message string }

func notFound(format string, args ...any) error { return &notFoundError{fmt.Sprintf(format, args...)} }

func (e *notFoundError) Error() string        { return e.message }
func (e *notFoundError) Is(target error) bool { return target == ErrNotFound }

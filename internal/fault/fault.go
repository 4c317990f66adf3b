// Package fault reports everything that is wrong with settings at once. Each fault names the setting by its path and
// describes what is wrong with the value. Packages return faults as values; only the command line turns them into text.
package fault

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"unicode/utf8"
)

// Fault is one invalid setting.
type Fault struct {
	Origin  string // what set the value: a file, a variable, or a flag; "" if unknown
	Path    string // of the setting, such as train.learning_rate; "" if the problem is not in a single place
	Problem string // such as "must be positive, got -0.1"
	// Choices lists the words that the setting accepts, if it accepts nothing else.
	Choices []string
}

func (f Fault) Error() string {
	text := f.Problem
	for _, prefix := range []string{f.Path, f.Origin} {
		if prefix != "" {
			text = prefix + ": " + text
		}
	}
	return text
}

// List is a list of faults in the order of the settings. Its error text has one fault per line.
type List []Fault

// Add appends a fault.
func (l *List) Add(path, format string, args ...any) {
	*l = append(*l, Fault{Path: path, Problem: fmt.Sprintf(format, args...)})
}

// AddFrom appends a fault of a value with a known origin.
func (l *List) AddFrom(origin, path, format string, args ...any) {
	*l = append(*l, Fault{Origin: origin, Path: path, Problem: fmt.Sprintf(format, args...)})
}

// Include appends the faults of err with section prepended to their paths. An error without faults becomes one fault
// of the section itself. A nil err adds nothing.
func (l *List) Include(section string, err error) { l.IncludeFrom("", section, err) }

// IncludeFrom appends the faults of err, as Include does, with the origin of their values.
func (l *List) IncludeFrom(origin, section string, err error) {
	if err == nil {
		return
	}
	var faults List
	var one Fault
	switch {
	case errors.As(err, &faults):
	case errors.As(err, &one):
		faults = List{one}
	default:
		faults = List{{Problem: Plain(err)}}
	}
	for _, f := range faults {
		f.Path = join(section, f.Path)
		if origin != "" {
			f.Origin = origin
		}
		*l = append(*l, f)
	}
}

// join returns section and path joined, where path is a setting below section or an index such as [2].
func join(section, path string) string {
	if section == "" || path == "" || path[0] == '[' {
		return section + path
	}
	return section + "." + path
}

// Err returns l as an error, or nil if l is empty.
func (l List) Err() error {
	if len(l) == 0 {
		return nil
	}
	return l
}

func (l List) Error() string {
	lines := make([]string, len(l))
	for i, f := range l {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// Report returns the faults as text for an error about a single object, such as a damaged file. A List would instead
// tell the command line that the settings are wrong. The text contains the first few faults, one per line, and the
// number of the others.
func (l List) Report() string {
	const limit, longest = 8, 400
	var lines []string
	for _, f := range l[:min(len(l), limit)] {
		lines = append(lines, Shorten(f.Error(), longest))
	}
	if more := len(l) - limit; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(lines, "\n  ")
}

// Shorten returns text unchanged if it has at most limit bytes. Otherwise it returns both ends with the number of
// omitted bytes in between. Names and messages that come from a file can be of any length.
func Shorten(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	head, tail := 2*limit/3, len(text)-limit/3
	for head > 0 && !utf8.RuneStart(text[head]) {
		head--
	}
	for tail < len(text) && !utf8.RuneStart(text[tail]) {
		tail++
	}
	return fmt.Sprintf("%s… (%d bytes) …%s", text[:head], tail-head, text[tail:])
}

// Unwrap returns the faults as separate errors.
func (l List) Unwrap() []error {
	errs := make([]error, len(l))
	for i, f := range l {
		errs[i] = f
	}
	return errs
}

// Errors is a list of errors that are not about settings and are reported together. Its error text has one error per
// line. Unlike the errors of [errors.Join], it can be told from an error that happens to have several causes.
type Errors []error

// Join returns an [Errors] with the errors that are not nil, or nil if there are none.
func Join(errs ...error) error {
	var list Errors
	for _, err := range errs {
		if err != nil {
			list = append(list, err)
		}
	}
	if list == nil {
		return nil
	}
	return list
}

func (e Errors) Error() string   { return errors.Join(e...).Error() }
func (e Errors) Unwrap() []error { return e }

// ErrNotFound is matched by the errors of [NotFound].
var ErrNotFound = errors.New("not found")

// NotFound returns an error for a name that does not exist: a path, a pattern, a repository, a split, or a column. Its
// text is only the message.
func NotFound(format string, args ...any) error { return notFound(fmt.Sprintf(format, args...)) }

// NoFile is like [NotFound] for a file or directory: the error also matches [fs.ErrNotExist].
func NoFile(format string, args ...any) error { return noFile{NotFound(format, args...)} }

type noFile struct{ error }

func (e noFile) Is(target error) bool { return target == fs.ErrNotExist }
func (e noFile) Unwrap() error        { return e.error }

type notFound string

func (e notFound) Error() string        { return string(e) }
func (e notFound) Is(target error) bool { return target == ErrNotFound }

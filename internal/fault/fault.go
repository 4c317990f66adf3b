// Package fault reports everything that is wrong with settings at once. Each fault names the setting by its path and
// says what is wrong with the value. Packages return faults as values; only the command line turns them into text.
package fault

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Fault is one invalid setting.
type Fault struct {
	Path    string // of the setting, such as train.learning_rate; "" if the problem is not in a single place
	Problem string // such as "must be positive, got -0.1"
	// Choices lists the words that the setting accepts, if it accepts nothing else.
	Choices []string
}

func (f Fault) Error() string {
	if f.Path == "" {
		return f.Problem
	}
	return f.Path + ": " + f.Problem
}

// List is a list of faults in the order of the settings. Its error text has one fault per line.
type List []Fault

// Add appends a fault.
func (l *List) Add(path, format string, args ...any) {
	*l = append(*l, Fault{Path: path, Problem: fmt.Sprintf(format, args...)})
}

// Include appends the faults of err with section prepended to their paths. An error without faults becomes one fault
// of the section itself. A nil err adds nothing.
func (l *List) Include(section string, err error) {
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
	const most, longest = 8, 400
	var lines []string
	for _, f := range l[:min(len(l), most)] {
		lines = append(lines, Shorten(f.Error(), longest))
	}
	if more := len(l) - most; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(lines, "\n  ")
}

// Shorten returns text unchanged if it has at most most bytes. Otherwise it returns both ends with the number of
// omitted bytes in between. Names and messages that come from a file can be of any length.
func Shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	head, tail := 2*most/3, len(text)-most/3
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

// ErrNotFound is matched by the errors of [NotFound].
var ErrNotFound = errors.New("not found")

// NotFound returns an error for a name that does not exist: a path, a pattern, a repository, a split or a column. Its
// text is only the message.
func NotFound(format string, args ...any) error { return notFound(fmt.Sprintf(format, args...)) }

type notFound string

func (e notFound) Error() string        { return string(e) }
func (e notFound) Is(target error) bool { return target == ErrNotFound }

package fault

import (
	"io"
	"io/fs"
	"os"
	"strings"
)

// Plain returns the text of err without the Go library's jargon: the names of system calls, and EOF.
func Plain(err error) string { return strings.TrimSpace(plain(err.Error(), err)) }

func plain(text string, err error) string {
	switch e := err.(type) {
	case *fs.PathError:
		text = strings.ReplaceAll(text, e.Error(), e.Path+": "+e.Err.Error())
		return strings.ReplaceAll(text, e.Path+": "+e.Path+": ", e.Path+": ")
	case *os.LinkError:
		return strings.ReplaceAll(text, e.Error(), e.New+": "+e.Err.Error())
	case *os.SyscallError:
		return strings.ReplaceAll(text, e.Error(), e.Err.Error())
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			return plain(text, inner)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			text = plain(text, inner)
		}
	}
	if err == io.ErrUnexpectedEOF || err == io.EOF {
		if before, found := strings.CutSuffix(text, err.Error()); found {
			return before + "unexpected end of file"
		}
	}
	return text
}

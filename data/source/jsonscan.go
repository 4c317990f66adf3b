package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// jsonScanner splits a file into its objects, whatever its layout and name: the elements of an array, or consecutive
// values. It looks only at brackets and strings; the objects are parsed later.
type jsonScanner struct {
	*textInput
	array  bool
	ended  bool // the array has ended
	line   int  // line of the reader, from 1
	start  int  // line where the last object begins
	number int  // number of the last object in an array, from 1
}

func openJSONScanner(ctx context.Context, f *File) (*jsonScanner, error) {
	in, err := openText(ctx, f)
	if err != nil {
		return nil, err
	}
	s := &jsonScanner{textInput: in, line: 1}
	if c, err := s.skipSpace(); err == nil && c == '[' {
		s.array = true
		s.Discard(1)
	}
	return s, nil
}

// next returns the next object, or io.EOF after the last one.
func (s *jsonScanner) next() ([]byte, error) {
	c, err := s.skipSpace()
	s.start = s.line
	if err != nil && (err != io.EOF || s.array && !s.ended) {
		return nil, s.cut(err, "the array")
	}
	if !s.array {
		if err != nil {
			return nil, err
		}
		return s.value(c)
	}
	if s.ended {
		if err == nil {
			s.number = 0
			return nil, errors.New("text after the end of the array")
		}
		return nil, io.EOF
	}
	if s.number > 0 && c == ',' {
		s.Discard(1)
		if c, err = s.skipSpace(); err != nil || c == ']' {
			s.number++
			s.start = s.line
			if err == nil {
				err = errors.New("want an object after the comma")
			}
			return nil, s.cut(err, "the array")
		}
		s.start = s.line
	} else if c == ']' {
		s.Discard(1)
		s.ended = true
		return s.next()
	} else if s.number > 0 {
		return nil, fmt.Errorf("want a comma or the end of the array, got %q", c)
	}
	s.number++
	raw, err := s.value(c)
	if err == nil && raw[0] == '"' { // the datasets library reads a list of strings the same way
		raw = append(append([]byte(`{"text":`), raw...), '}')
	}
	return raw, err
}

// cut returns the error for a file that ends in the middle of something.
func (s *jsonScanner) cut(err error, what string) error {
	if err == io.EOF {
		return fmt.Errorf("%s is not terminated: the file is truncated", what)
	}
	return err
}

// skipSpace skips blanks and line endings and returns the next byte without consuming it.
func (s *jsonScanner) skipSpace() (byte, error) {
	for {
		c, err := s.ReadByte()
		switch {
		case err != nil:
			return 0, err
		case c == '\n':
			s.line++
		case c != ' ' && c != '\t' && c != '\r':
			return c, s.UnreadByte()
		}
	}
}

// value reads a value that begins with c.
func (s *jsonScanner) value(c byte) (raw []byte, err error) {
	what := map[byte]string{'{': "the object", '[': "the list"}[c]
	end := valueEnd{structured: what != "", inArray: s.array}
	if what == "" {
		what = "the value"
	}
	for {
		s.Peek(1)
		chunk, _ := s.Peek(s.Buffered())
		if len(chunk) == 0 {
			if _, err := s.ReadByte(); err != io.EOF || end.structured || end.inText {
				return nil, s.cut(err, what)
			}
			return raw, nil
		}
		n, found, err := end.find(chunk)
		if err != nil {
			return nil, err
		}
		if raw = append(raw, chunk[:n]...); len(raw) > s.source.maxRow() {
			return nil, s.source.tooLong(what)
		}
		s.line += bytes.Count(chunk[:n], []byte("\n"))
		s.Discard(n)
		if found && len(raw) == 0 {
			return nil, fmt.Errorf("want an object, got %q", c)
		}
		if found {
			return raw, nil
		}
	}
}

// valueEnd finds the end of a value that is read piecewise.
type valueEnd struct {
	structured bool // an object or list, which ends with its bracket
	inArray    bool // a comma ends any other value
	depth      int
	inText     bool
	escaped    bool
}

// find returns how many bytes of part belong to the value, and whether it ends there.
func (e *valueEnd) find(part []byte) (n int, found bool, err error) {
	for i, b := range part {
		switch {
		case e.escaped:
			e.escaped = false
		case e.inText && b == '\\':
			e.escaped = true
		case e.inText && b == '"':
			if e.inText = false; !e.structured {
				return i + 1, true, nil
			}
		case e.inText && b == '\n':
			return 0, false, errors.New("a string is not terminated on its line: the object is damaged")
		case e.inText:
		case b == '"':
			e.inText = true
		case b == '{' || b == '[':
			e.depth++
		case b == '}' || b == ']':
			if e.depth--; e.depth == 0 {
				return i + 1, true, nil
			}
			if e.depth < 0 {
				return i, true, nil
			}
		case !e.structured && (b == '\n' || b == ',' && e.inArray):
			return i, true, nil
		}
	}
	return len(part), false, nil
}

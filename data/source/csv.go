package source

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"mambatrain/internal/format"
)

// csvReader reads rows of separated values below a header line, by the rules of pandas. Every value is text; the fields
// missing from a short row are null.
type csvReader struct {
	source *File
	file   *textInput
	in     *csvScanner
	names  []string
	twice  map[string]bool // names that appear more than once in the header
	wanted map[string]bool
	failed error // the error that ends the rows early
}

func openCSV(ctx context.Context, f *File) (*csvReader, error) {
	file, err := openText(ctx, f)
	if err != nil {
		return nil, err
	}
	r := &csvReader{source: f, file: file, twice: map[string]bool{}}
	r.in = &csvScanner{in: file.Reader, max: f.maxRow(), line: 1}
	if r.in.delimiter, err = f.delimiter(file.Reader); err == nil {
		err = r.header()
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return r, nil
}

// header reads the first line. As in pandas, a column without a name is "Unnamed: 3", and a duplicate name becomes "x.1".
func (r *csvReader) header() error {
	header, line, err := r.in.record()
	if err == io.EOF {
		err = errors.New("the file is empty, want a header line")
	}
	if err != nil {
		return r.source.at("line "+strconv.Itoa(line), r.fault(err))
	}
	taken, next := map[string]bool{}, map[string]int{}
	for i, name := range header {
		if name == "" {
			name = "Unnamed: " + strconv.Itoa(i)
		}
		unique := name
		for taken[unique] {
			r.twice[name] = true
			next[name]++
			unique = name + "." + strconv.Itoa(next[name])
		}
		taken[unique] = true
		r.names = append(r.names, unique)
	}
	return nil
}

// valueBytes is roughly the memory that a value needs in addition to its text.
const valueBytes = 32

func (r *csvReader) Columns() []string                                     { return r.names }
func (r *csvReader) Late(context.Context, []string, int) ([]string, error) { return nil, nil }
func (r *csvReader) Close() error                                          { return r.file.Close() }

func (r *csvReader) Project(names []string) {
	r.wanted = map[string]bool{}
	for _, name := range names {
		r.wanted[name] = true
	}
}

func (r *csvReader) Next(ctx context.Context) (*Block, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for name := range r.twice {
		if r.wanted[name] {
			return nil, fmt.Errorf("data: %s: the header contains the column %q twice", r.source.Path, name)
		}
	}
	if r.failed != nil {
		return nil, r.failed
	}
	values := make([]valueColumn, len(r.names))
	var lines []int
	for size := 0; size < blockBytes && len(lines) < blockRows; {
		row, line, err := r.in.record()
		if err == io.EOF {
			break
		}
		if err == nil && len(row) > len(r.names) {
			err = fmt.Errorf("%s, but the header has %s", format.Counted(len(row), "field"), format.Counted(len(r.names), "column"))
		}
		if err != nil {
			r.failed = r.source.at("line "+strconv.Itoa(line), r.fault(err))
			break
		}
		lines = append(lines, line)
		size += len(values) * valueBytes
		for k := range values {
			var v any
			if k < len(row) {
				v = row[k]
				size += len(row[k])
			}
			values[k] = append(values[k], v)
		}
	}
	if len(lines) == 0 {
		return nil, cmp.Or(r.failed, io.EOF)
	}
	b := &Block{File: r.source, Rows: len(lines), Columns: make(map[string]Column, len(values))}
	b.place = func(i int) string { return "line " + strconv.Itoa(lines[i]) }
	for k, name := range r.names {
		b.Columns[name] = values[k]
	}
	return b, nil
}

func (r *csvReader) fault(err error) error {
	if err == errRowTooLong {
		return r.source.tooLong("the row")
	}
	return err
}

// csvScanner splits text into records like the parser of pandas: a quote is special only at the beginning of a field,
// anything after the closing quote belongs to the field, lines end in LF, CRLF, or CR, and blank lines are skipped.
type csvScanner struct {
	in        *bufio.Reader
	delimiter string
	max       int // maximum bytes per record
	line      int // number of the next line, from 1

	text []byte // of the current record
	ends []int  // ends of its fields in text
}

var (
	errRowTooLong = errors.New("row too long")
	errOpenQuote  = errors.New("unterminated quoted field")
)

// record returns the fields of the next record and the line where it begins, or io.EOF after the last one.
func (s *csvScanner) record() (fields []string, line int, err error) {
	s.text, s.ends = s.text[:0], s.ends[:0]
	if err := s.skipBlankLines(); err != nil {
		return nil, s.line, err
	}
	line = s.line
	for more := true; more; {
		if more, err = s.field(); err != nil {
			return nil, line, err
		}
		s.ends = append(s.ends, len(s.text))
	}
	all, start := string(s.text), 0
	for _, end := range s.ends {
		fields = append(fields, all[start:end])
		start = end
	}
	return fields, line, nil
}

// skipBlankLines skips to the first line that is not empty or blank.
func (s *csvScanner) skipBlankLines() error {
	for {
		blanks, err := s.peekBlanks()
		if err != nil {
			return err
		}
		next, err := s.in.Peek(blanks + 1)
		switch {
		case len(next) <= blanks:
			if blanks == 0 || err != io.EOF {
				return err
			}
			s.in.Discard(blanks)
			return io.EOF
		case next[blanks] == '\n' || next[blanks] == '\r':
			s.in.Discard(blanks + 1)
			s.endLine(next[blanks])
		default:
			return nil
		}
	}
}

// peekBlanks returns the number of blanks at the beginning of the line, or 0 if they fill the buffer.
func (s *csvScanner) peekBlanks() (int, error) {
	for n := 0; ; n++ {
		next, err := s.in.Peek(n + 1)
		if err == bufio.ErrBufferFull {
			return 0, nil
		}
		if len(next) <= n && err != io.EOF {
			return 0, err
		}
		if len(next) <= n || next[n] != ' ' && next[n] != '\t' || string(next[n]) == s.delimiter {
			return n, nil
		}
	}
}

// endLine counts a line that ends in c and consumes the second half of CRLF.
func (s *csvScanner) endLine(c byte) {
	s.line++
	if c == '\r' {
		if next, _ := s.in.Peek(1); len(next) > 0 && next[0] == '\n' {
			s.in.Discard(1)
		}
	}
}

// field reads a field into text and reports whether another one follows.
func (s *csvScanner) field() (more bool, err error) {
	const (
		atStart = iota
		plain
		quoted
		afterQuote // within a quoted field: the closing quote, or the first of two
	)
	state := atStart
	for {
		c, err := s.in.ReadByte()
		if err == io.EOF && state == quoted {
			err = errOpenQuote
		}
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if len(s.text)+len(s.ends) >= s.max {
			return false, errRowTooLong
		}
		if len(s.ends) >= maxFields {
			return false, fmt.Errorf("more than %s", format.Counted(maxFields, "field"))
		}
		switch {
		case state == quoted:
			if c == '"' {
				state = afterQuote
				continue
			}
			if c == '\n' || c == '\r' && !s.nextIs('\n') {
				s.line++
			}
		case c == '"' && state == atStart:
			state = quoted
			continue
		case c == '"' && state == afterQuote:
			state = quoted
		case c == '\n' || c == '\r':
			s.endLine(c)
			return false, nil
		case s.delimits(c):
			return true, nil
		default:
			state = plain
		}
		s.text = append(s.text, c)
	}
}

func (s *csvScanner) nextIs(c byte) bool {
	next, _ := s.in.Peek(1)
	return len(next) > 0 && next[0] == c
}

// delimits reports whether c begins a delimiter, and consumes the other bytes of a multibyte one.
func (s *csvScanner) delimits(c byte) bool {
	if c != s.delimiter[0] {
		return false
	}
	n := len(s.delimiter) - 1
	if n == 0 {
		return true
	}
	rest, _ := s.in.Peek(n)
	if string(rest) != s.delimiter[1:] {
		return false
	}
	s.in.Discard(n)
	return true
}

// delimiter returns the field separator: the one configured, otherwise a comma. If the header has no comma and another
// separator splits all of the first lines into the same number of fields, that one is used.
func (f *File) delimiter(in *bufio.Reader) (string, error) {
	if f.Delimiter != "" {
		return f.Delimiter, nil
	}
	head, err := in.Peek(bufferBytes)
	if err != nil && err != io.EOF && len(head) == 0 {
		return "", f.at("line 1", err)
	}
	best, most := ",", 1
	if n := headerFields(head, ","); n > 1 {
		return ",", nil
	}
	for _, delimiter := range []string{";", "\t", "|"} {
		if n := headerFields(head, delimiter); n > most {
			best, most = delimiter, n
		}
	}
	return best, nil
}

// headerFields returns the number of fields in each record of head, or 0 if it varies. For a comma, only the header counts.
func headerFields(head []byte, delimiter string) (n int) {
	// The last line may be incomplete.
	if end := bytes.LastIndexAny(head, "\r\n"); len(head) == bufferBytes && end >= 0 {
		head = head[:end+1]
	}
	s := csvScanner{in: bufio.NewReader(bytes.NewReader(head)), delimiter: delimiter, max: len(head) + 1, line: 1}
	for {
		_, _, err := s.record()
		if delimiter == "," {
			return len(s.ends)
		}
		if err != nil {
			return n
		}
		if n == 0 {
			n = len(s.ends)
		}
		if len(s.ends) != n {
			return 0
		}
	}
}

// unescapeTab replaces \t with a tab, which is hard to type in a shell.
func unescapeTab(delimiter string) string {
	if delimiter == `\t` {
		return "\t"
	}
	return delimiter
}

// checkDelimiter returns what is wrong with a value of data.csv_delimiter, or "".
func checkDelimiter(d string) string {
	if d = unescapeTab(d); d == "" || d != `"` && !strings.ContainsAny(d, "\r\n") && len([]rune(d)) == 1 {
		return ""
	}
	return fmt.Sprintf(`want one character such as ";", got %q`, d)
}

package source

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"strconv"
	"strings"
)

// textColumn is the name of the only column of a text file.
const textColumn = "text"

// documentReader reads the documents of a text file: paragraphs (separated by blank lines), lines, or the whole file.
type documentReader struct {
	source *File
	in     *textInput
	unit   string // paragraph, line, or file
	line   int    // lines read
	failed error  // the error that ends the documents early
}

// openTextDocuments reads plain "text" as paragraphs if the first 64 KiB have a blank line, else as lines.
func openTextDocuments(ctx context.Context, f *File) (*documentReader, error) {
	in, err := openText(ctx, f)
	if err != nil {
		return nil, err
	}
	_, unit, _ := strings.Cut(f.Format, ":")
	head, _ := in.Peek(bufferBytes)
	if bytes.IndexByte(head, '\n') < 0 && bytes.IndexByte(head, '\r') >= 0 {
		in.end = '\r'
	}
	if unit == "" {
		unit = "line"
		blank := "\n\n"
		if in.end == '\r' {
			blank = "\r\r"
		} else {
			head = bytes.ReplaceAll(head, []byte("\r"), nil)
		}
		if bytes.Contains(bytes.TrimSpace(head), []byte(blank)) {
			unit = "paragraph"
		}
	}
	return &documentReader{source: f, in: in, unit: unit}, nil
}

func (r *documentReader) Columns() []string { return []string{textColumn} }
func (r *documentReader) Project([]string)  {}
func (r *documentReader) Close() error      { return r.in.Close() }

func (r *documentReader) Late(context.Context, []string, int) ([]string, error) { return nil, nil }

func (r *documentReader) Next(ctx context.Context) (*Block, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if r.failed != nil {
		return nil, r.failed
	}
	var documents valueColumn
	var lines []int
	for size := 0; size < blockBytes && len(lines) < blockRows; {
		text, line, err := r.document()
		if err == io.EOF {
			break
		}
		if err != nil {
			r.failed = r.source.at("line "+strconv.Itoa(line), err)
			break
		}
		documents, lines = append(documents, text), append(lines, line)
		size += len(text)
	}
	if len(lines) == 0 {
		return nil, cmp.Or(r.failed, io.EOF)
	}
	return &Block{
		File: r.source, Rows: len(lines), Columns: map[string]Column{textColumn: documents},
		place: func(i int) string { return "line " + strconv.Itoa(lines[i]) },
	}, nil
}

// document returns the next document, without its line ending, and the line where it begins.
func (r *documentReader) document() (text string, line int, err error) {
	if r.unit == "file" {
		return r.wholeFile()
	}
	var document []byte
	for {
		before := len(document)
		document, err = r.in.line(document, "the "+r.unit)
		if err != nil && err != io.EOF {
			return "", cmp.Or(line, r.line+1), err
		}
		end := err == io.EOF
		if len(document) > before {
			r.line++
		}
		blank := len(bytes.TrimSpace(document[before:])) == 0
		if blank {
			document = document[:before]
		} else if line == 0 {
			line = r.line
		}
		if line > 0 && (end || blank || r.unit == "line") {
			return strings.TrimRight(string(document), "\r\n"), line, nil
		}
		if end {
			return "", 0, io.EOF
		}
	}
}

// wholeFile returns the whole file as one document.
func (r *documentReader) wholeFile() (text string, line int, err error) {
	if r.line > 0 {
		return "", 0, io.EOF
	}
	r.line = 1
	raw, err := io.ReadAll(io.LimitReader(r.in, int64(r.source.maxRow())+1))
	if len(raw) > r.source.maxRow() {
		err = r.source.tooLong("the file")
	}
	if err == nil && len(raw) == 0 {
		err = io.EOF
	}
	return string(raw), 1, err
}

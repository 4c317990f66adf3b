package source

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// textColumn is the name of the only column of a text file.
const textColumn = "text"

// paragraphProbe is how far into a text file a blank line is looked for: with one, its documents are paragraphs.
const paragraphProbe = 1 << 16

// documentReader reads the documents of a text file: paragraphs (parted by blank lines), lines, or the file as one.
type documentReader struct {
	source *File
	file   *textFile
	in     *bufio.Reader
	unit   string // paragraph, line or file
	line   int    // lines read
}

// openTextDocuments takes plain "text" for paragraphs where a blank line stands within the first 64 KiB, else for lines.
func openTextDocuments(f *File) (*documentReader, error) {
	file, err := openText(f.Path)
	if err != nil {
		return nil, err
	}
	in := bufio.NewReaderSize(file, paragraphProbe)
	skipByteOrderMark(in)
	_, unit, _ := strings.Cut(f.Format, ":")
	if unit == "" {
		unit = "line"
		head, _ := in.Peek(paragraphProbe)
		head = bytes.ReplaceAll(bytes.TrimSpace(head), []byte("\r"), nil)
		if bytes.Contains(head, []byte("\n\n")) {
			unit = "paragraph"
		}
	}
	return &documentReader{source: f, file: file, in: in, unit: unit}, nil
}

func (r *documentReader) Columns() []string { return []string{textColumn} }
func (r *documentReader) Project([]string)  {}
func (r *documentReader) Close() error      { return r.file.Close() }

func (r *documentReader) Next(ctx context.Context) (*Block, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var documents valueColumn
	var lines []int
	for size := 0; size < blockBytes && len(lines) < blockRows; {
		text, line, err := r.document()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("data: %s: line %d: %w", r.source.Path, r.line, err)
		}
		documents, lines = append(documents, text), append(lines, line)
		size += len(text)
	}
	if len(lines) == 0 {
		return nil, io.EOF
	}
	return &Block{
		File: r.source, Rows: len(lines), Columns: map[string]Column{textColumn: documents},
		place: func(i int) string { return "line " + strconv.Itoa(lines[i]) },
	}, nil
}

// document returns the next document, without the line end behind it, and the line it starts on.
func (r *documentReader) document() (text string, line int, err error) {
	if r.unit == "file" {
		if r.line > 0 {
			return "", 0, io.EOF
		}
		r.line = 1
		raw, err := io.ReadAll(r.in)
		if err == nil && len(raw) == 0 {
			err = io.EOF
		}
		return string(raw), 1, err
	}
	var document strings.Builder
	for {
		part, err := r.in.ReadString('\n')
		if err != nil && err != io.EOF {
			return "", 0, err
		}
		end := err == io.EOF
		if part != "" {
			r.line++
		}
		blank := strings.TrimSpace(part) == ""
		if !blank {
			if line == 0 {
				line = r.line
			}
			document.WriteString(part)
		}
		if line > 0 && (end || blank || r.unit == "line") {
			return strings.TrimRight(document.String(), "\r\n"), line, nil
		}
		if end {
			return "", 0, io.EOF
		}
	}
}

package source

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// csvReader reads rows of comma- or, in .tsv files, tab-separated values under a header line. Every value is text.
type csvReader struct {
	source *File
	file   *textFile
	in     *csv.Reader
	names  []string
}

func openCSV(f *File) (*csvReader, error) {
	file, err := openText(f.Path)
	if err != nil {
		return nil, err
	}
	buffered := bufio.NewReaderSize(file, 1<<16)
	skipByteOrderMark(buffered)
	in := csv.NewReader(buffered)
	if strings.HasSuffix(strings.TrimSuffix(f.Path, ".gz"), ".tsv") {
		in.Comma = '\t'
	}
	names, err := in.Read()
	if err == io.EOF {
		err = errors.New("empty, want a header line")
	}
	if err == nil && len(sortedUnique(names)) != len(names) {
		err = fmt.Errorf("the header names a column twice: %s", strings.Join(names, ", "))
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("data: %s: %w", f.Path, csvFault(err))
	}
	return &csvReader{f, file, in, names}, nil
}

func (r *csvReader) Columns() []string { return r.names }
func (r *csvReader) Project([]string)  {}
func (r *csvReader) Close() error      { return r.file.Close() }

func (r *csvReader) Next(ctx context.Context) (*Block, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	values := make([]valueColumn, len(r.names))
	var lines []int
	for size := 0; size < blockBytes && len(lines) < blockRows; {
		row, err := r.in.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("data: %s: %w", r.source.Path, csvFault(err))
		}
		line, _ := r.in.FieldPos(0)
		lines = append(lines, line)
		for k, v := range row {
			values[k] = append(values[k], v)
			size += len(v)
		}
	}
	if len(lines) == 0 {
		return nil, io.EOF
	}
	b := &Block{File: r.source, Rows: len(lines), Columns: make(map[string]Column, len(values))}
	b.place = func(i int) string { return "line " + strconv.Itoa(lines[i]) }
	for k, name := range r.names {
		b.Columns[name] = values[k]
	}
	return b, nil
}

// csvFault puts the line first, as the other formats do.
func csvFault(err error) error {
	var fault *csv.ParseError
	if errors.As(err, &fault) {
		return fmt.Errorf("line %d, column %d: %w", fault.Line, fault.Column, fault.Err)
	}
	return err
}

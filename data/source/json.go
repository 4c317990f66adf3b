package source

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
)

// jsonReader reads objects, one for each line or element of an array. Blocks carry them raw: parsing runs in parallel.
type jsonReader struct {
	source *File
	file   *textFile
	more   func() (raw []byte, err error) // the next object; io.EOF behind the last
	unit   string                         // what an object is: "line" or "element"
	number int                            // of the last object, from 1
	names  []string
	wanted []string
	head   *rawRows // read by columns, given out by the first next
}

// rawRows are the objects of a block and their numbers.
type rawRows struct {
	text    [][]byte
	numbers []int
}

func openJSONLines(f *File) (*jsonReader, error) {
	file, err := openText(f.Path)
	if err != nil {
		return nil, err
	}
	in := bufio.NewReaderSize(file, 1<<16)
	skipByteOrderMark(in)
	r := &jsonReader{source: f, file: file, unit: "line"}
	r.more = func() ([]byte, error) {
		for {
			line, err := in.ReadBytes('\n')
			if err != nil && err != io.EOF {
				return nil, err
			}
			r.number++
			if line = bytes.TrimSpace(line); len(line) > 0 {
				return line, nil
			}
			if err == io.EOF {
				return nil, io.EOF
			}
		}
	}
	return r.start()
}

func openJSONArray(f *File) (*jsonReader, error) {
	file, err := openText(f.Path)
	if err != nil {
		return nil, err
	}
	in := bufio.NewReaderSize(file, 1<<16)
	skipByteOrderMark(in)
	elements := json.NewDecoder(in)
	r := &jsonReader{source: f, file: file, unit: "element"}
	if open, err := elements.Token(); err != nil || open != json.Delim('[') {
		file.Close()
		return nil, fmt.Errorf("data: %s: want an array of objects", f.Path)
	}
	ended := false
	r.more = func() ([]byte, error) {
		if ended {
			return nil, io.EOF
		}
		if !elements.More() {
			if _, err := elements.Token(); err != nil {
				return nil, fmt.Errorf("the array does not end: %w", unexpectedEnd(err))
			}
			ended = true
			return nil, io.EOF
		}
		r.number++
		var raw json.RawMessage
		if err := elements.Decode(&raw); err != nil {
			return nil, unexpectedEnd(err)
		}
		return raw, nil
	}
	return r.start()
}

// unexpectedEnd keeps an end of file within an array from being taken for the end of the rows.
func unexpectedEnd(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// start reads the first block: the columns are the keys of its rows.
func (r *jsonReader) start() (*jsonReader, error) {
	rows, err := r.fill()
	if err == nil {
		seen := map[string]bool{}
		for i := range rows.text {
			var row map[string]json.RawMessage
			if err = r.parse(rows, i, &row); err != nil {
				break
			}
			for key := range row {
				if !seen[key] {
					seen[key] = true
					r.names = append(r.names, key)
				}
			}
		}
	}
	if err != nil && err != io.EOF {
		r.file.Close()
		return nil, err
	}
	r.names, r.head = sortedUnique(r.names), rows
	return r, nil
}

// fill reads a block's worth of objects.
func (r *jsonReader) fill() (*rawRows, error) {
	rows := &rawRows{}
	for size := 0; size < blockBytes && len(rows.text) < blockRows; {
		raw, err := r.more()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("data: %s: %s %d: %w", r.source.Path, r.unit, r.number, err)
		}
		size += len(raw)
		rows.text, rows.numbers = append(rows.text, raw), append(rows.numbers, r.number)
	}
	if len(rows.text) == 0 {
		return nil, io.EOF
	}
	return rows, nil
}

func (r *jsonReader) parse(rows *rawRows, i int, row *map[string]json.RawMessage) error {
	if err := json.Unmarshal(rows.text[i], row); err != nil || *row == nil {
		if err == nil {
			err = fmt.Errorf("got null")
		}
		return fmt.Errorf("data: %s: %s %d: want an object: %w", r.source.Path, r.unit, rows.numbers[i], err)
	}
	return nil
}

func (r *jsonReader) Columns() []string      { return r.names }
func (r *jsonReader) Project(names []string) { r.wanted = names }
func (r *jsonReader) Close() error           { return r.file.Close() }

func (r *jsonReader) Next(ctx context.Context) (*Block, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	rows := r.head
	r.head = nil
	if rows == nil {
		var err error
		if rows, err = r.fill(); err != nil {
			return nil, err
		}
	}
	return &Block{
		File: r.source, Rows: len(rows.text),
		place:  func(i int) string { return r.unit + " " + strconv.Itoa(rows.numbers[i]) },
		decode: func(b *Block) error { return r.decode(b, rows) },
	}, nil
}

// decode parses the wanted values of each object. A key that an object lacks is null there.
func (r *jsonReader) decode(b *Block, rows *rawRows) error {
	values := make([]valueColumn, len(r.wanted))
	b.Columns = make(map[string]Column, len(r.wanted))
	for k, name := range r.wanted {
		values[k] = make(valueColumn, b.Rows)
		b.Columns[name] = values[k]
	}
	for i := range b.Rows { // max_train_samples may want fewer than were read
		var row map[string]json.RawMessage
		if err := r.parse(rows, i, &row); err != nil {
			return err
		}
		for k, name := range r.wanted {
			raw, ok := row[name]
			if !ok {
				continue
			}
			v, err := jsonValue(raw)
			if err != nil {
				return fmt.Errorf("data: %s: column %q: %w", b.At(i), name, err)
			}
			values[k][i] = v
		}
	}
	return nil
}

// jsonValue parses a value; whole numbers become int64.
func jsonValue(raw []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	return plainNumbers(v)
}

func plainNumbers(v any) (any, error) {
	var err error
	switch x := v.(type) {
	case json.Number:
		if n, err := x.Int64(); err == nil {
			return n, nil
		}
		return x.Float64()
	case []any:
		for i := range x {
			if x[i], err = plainNumbers(x[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for key := range x {
			if x[key], err = plainNumbers(x[key]); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

// valueColumn holds parsed values.
type valueColumn []any

func (c valueColumn) Text(i int) (string, bool, error) {
	switch v := c[i].(type) {
	case nil:
		return "", false, nil
	case string:
		return v, true, nil
	default:
		return "", false, fmt.Errorf("is %s, want text", KindOf(v))
	}
}

func (c valueColumn) Ints(dst []int32, i int) ([]int32, bool, error) {
	if c[i] == nil {
		return dst, false, nil
	}
	list, ok := c[i].([]any)
	if !ok {
		return dst, false, fmt.Errorf("is %s, want a list of integers", KindOf(c[i]))
	}
	for j, v := range list {
		n, ok := v.(int64)
		if !ok || n < math.MinInt32 || n > math.MaxInt32 {
			return dst, false, fmt.Errorf("element %d is %v, want an integer of 32 bits", j, v)
		}
		dst = append(dst, int32(n))
	}
	return dst, true, nil
}

func (c valueColumn) Value(i int) (any, error) { return c[i], nil }

// KindOf names the kind of a value for messages: "a list".
func KindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a truth value"
	case int64, float64:
		return "a number"
	case string:
		return "text"
	case []any:
		return "a list"
	}
	return "an object"
}

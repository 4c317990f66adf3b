package source

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"

	"mambatrain/internal/fault"
	"mambatrain/internal/ordered"
	"mambatrain/internal/pyjson"
)

// jsonReader reads objects: the elements of an array, one per line, or one after another in any layout. Blocks contain
// the raw text, so that parsing runs in parallel.
type jsonReader struct {
	source *File
	in     *jsonScanner
	names  []string
	wanted []string
	head   *rawRows // read by openJSON, returned by the first Next
	failed error    // the error that ends the objects early
}

// rawRows are the objects of a block and their positions.
type rawRows struct {
	text    [][]byte
	lines   []int
	numbers []int // in an array, from 1; otherwise 0
}

// openJSON reads the first block. The columns are the keys of its rows.
func openJSON(ctx context.Context, f *File) (*jsonReader, error) {
	in, err := openJSONScanner(ctx, f)
	if err != nil {
		return nil, err
	}
	r := &jsonReader{source: f, in: in}
	if r.head, err = r.fill(); err == nil {
		if r.names, err = r.keys(r.head, nil); len(r.names) > 0 {
			err = nil // a row that cannot be parsed is reported when it is reached
		}
	}
	if err != nil && err != io.EOF {
		in.Close()
		return nil, err
	}
	return r, nil
}

// fill reads enough objects for a block.
func (r *jsonReader) fill() (*rawRows, error) {
	if r.failed != nil {
		return nil, r.failed
	}
	rows := &rawRows{}
	for size := 0; size < blockBytes && len(rows.text) < blockRows; {
		raw, err := r.in.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			r.failed = r.source.at(placeOf(r.in.start, r.in.number), err)
			break
		}
		size += len(raw)
		rows.text, rows.lines, rows.numbers = append(rows.text, raw), append(rows.lines, r.in.start), append(rows.numbers, r.in.number)
	}
	if len(rows.text) == 0 {
		return nil, cmp.Or(r.failed, io.EOF)
	}
	return rows, nil
}

// placeOf names an object by its line and, in an array, also by its number.
func placeOf(line, number int) string {
	if number > 0 {
		return fmt.Sprintf("line %d, element %d", line, number)
	}
	return "line " + strconv.Itoa(line)
}

// keys returns the sorted union of known and the keys of the rows, up to a row that cannot be parsed.
func (r *jsonReader) keys(rows *rawRows, known []string) (all []string, failed error) {
	seen := map[string]bool{}
	for _, name := range known {
		seen[name] = true
	}
	for i := range rows.text {
		row, err := r.parse(rows, i)
		if err != nil {
			failed = err
			break
		}
		for key := range row {
			if !seen[key] {
				seen[key] = true
				known = append(known, key)
			}
		}
	}
	slices.Sort(known)
	return known, failed
}

// parse returns the values of an object.
func (r *jsonReader) parse(rows *rawRows, i int) (row map[string]json.RawMessage, err error) {
	raw := rows.text[i]
	if raw[0] != '{' {
		return nil, r.source.at(placeOf(rows.lines[i], rows.numbers[i]), fmt.Errorf("want an object, got %s", describeJSON(raw)))
	}
	if err = json.Unmarshal(raw, &row); err != nil {
		if finite := withoutNonFinite(raw); finite != nil {
			row = nil
			err = json.Unmarshal(finite, &row)
		}
	}
	if err != nil {
		line := rows.lines[i]
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			line += bytes.Count(raw[:min(len(raw), int(syntax.Offset)-1)], []byte("\n"))
		}
		return nil, r.source.at(placeOf(line, rows.numbers[i]), fmt.Errorf("the object is not JSON: %w", err))
	}
	return row, nil
}

// describeJSON names a value that is not an object.
func describeJSON(raw []byte) string {
	switch raw[0] {
	case '[':
		return "a list"
	case '"':
		return "a text"
	}
	const limit = 40
	if len(raw) > limit {
		raw = append(raw[:limit:limit], "…"...)
	}
	return strconv.Quote(string(raw))
}

func (r *jsonReader) Columns() []string      { return r.names }
func (r *jsonReader) Project(names []string) { r.wanted = names }
func (r *jsonReader) Close() error           { return r.in.Close() }

// Late reads the file again, as far as necessary.
func (r *jsonReader) Late(ctx context.Context, names []string, rows int) (late []string, err error) {
	in, err := openJSONScanner(ctx, r.source)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	again := &jsonReader{source: r.source, in: in}
	all := slices.Clone(r.names)
	for seen := 0; (rows == 0 || seen < rows) && (names == nil || len(late) < len(names)); {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		block, err := again.fill()
		if err == io.EOF {
			break
		}
		if err != nil {
			return late, nil // the error is reported when the rows are read
		}
		if rows > 0 && len(block.text) > rows-seen {
			block.text = block.text[:rows-seen]
		}
		if seen += len(block.text); seen <= len(r.head.text) {
			continue
		}
		block.keep(names)
		if all, err = again.keys(block, all); err != nil {
			return late, nil
		}
		late = slices.DeleteFunc(slices.Clone(all), func(name string) bool {
			return slices.Contains(r.names, name) || names != nil && !slices.Contains(names, name)
		})
	}
	return late, nil
}

// keep drops the rows that cannot contain any of the names. nil means all names.
func (rows *rawRows) keep(names []string) {
	if names == nil {
		return
	}
	kept := rawRows{}
	for i, raw := range rows.text {
		if slices.ContainsFunc(names, func(name string) bool { return bytes.Contains(raw, []byte(name)) }) || bytes.Contains(raw, []byte(`\u`)) {
			kept.text, kept.lines, kept.numbers = append(kept.text, raw), append(kept.lines, rows.lines[i]), append(kept.numbers, rows.numbers[i])
		}
	}
	*rows = kept
}

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
		place:  func(i int) string { return placeOf(rows.lines[i], rows.numbers[i]) },
		decode: func(b *Block) error { return r.decode(b, rows) },
	}, nil
}

// decode parses the wanted values of each object. A missing key is null.
func (r *jsonReader) decode(b *Block, rows *rawRows) error {
	values := make([]valueColumn, len(r.wanted))
	b.Columns = make(map[string]Column, len(r.wanted))
	for k, name := range r.wanted {
		values[k] = make(valueColumn, b.Rows)
		b.Columns[name] = values[k]
	}
	for i := range b.Rows { // max_train_samples may have lowered Rows
		row, err := r.parse(rows, i)
		if err != nil {
			return err
		}
		for k, name := range r.wanted {
			raw, ok := row[name]
			if !ok {
				continue
			}
			v, err := ParseJSON(raw)
			if err != nil {
				return fmt.Errorf("data: %s: column %q: %w", b.At(i), name, err)
			}
			values[k][i] = v
		}
	}
	return nil
}

// Python writes non-finite numbers as NaN, Infinity, and -Infinity, which are not JSON. They are parsed as these marks,
// which no real file contains.
const (
	nanMark      = "1.16180339e9001"
	infinityMark = "1.27182818e9001"
)

// withoutNonFinite returns raw with NaN and Infinity replaced by marks, or nil if there are none.
func withoutNonFinite(raw []byte) (out []byte) {
	last := 0
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '"':
			for i++; i < len(raw) && raw[i] != '"'; i++ {
				if raw[i] == '\\' {
					i++
				}
			}
		case 'N', 'I':
			word, mark := "NaN", nanMark
			if raw[i] == 'I' {
				word, mark = "Infinity", infinityMark
			}
			if bytes.HasPrefix(raw[i:], []byte(word)) {
				out = append(append(out, raw[last:i]...), mark...)
				i += len(word) - 1
				last = i + 1
			}
		}
	}
	if out == nil {
		return nil
	}
	return append(out, raw[last:]...)
}

// ParseJSON parses a value. Whole numbers become int64 or uint64, and objects keep the order of their keys.
func ParseJSON(raw []byte) (any, error) {
	if half := pyjson.LoneSurrogate(raw); half != "" {
		return nil, fmt.Errorf("%s is half of a surrogate pair: the text is invalid", half)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	var err error
	if bytes.IndexByte(raw, '{') < 0 { // faster, and there is no key order to keep
		err = d.Decode(&v)
	} else {
		v, err = ordered.Decode(d)
	}
	if err != nil {
		return nil, err
	}
	return plainNumbers(v)
}

func plainNumbers(v any) (any, error) {
	var err error
	switch x := v.(type) {
	case json.Number:
		switch x {
		case nanMark:
			return math.NaN(), nil
		case infinityMark:
			return math.Inf(1), nil
		case "-" + infinityMark:
			return math.Inf(-1), nil
		}
		if n, err := x.Int64(); err == nil {
			return n, nil
		}
		if n, err := strconv.ParseUint(x.String(), 10, 64); err == nil {
			return n, nil
		}
		f, err := x.Float64()
		if err != nil {
			return nil, fmt.Errorf("the number %s is out of range", x)
		}
		return f, nil
	case []any:
		for i := range x {
			if x[i], err = plainNumbers(x[i]); err != nil {
				return nil, err
			}
		}
	case *ordered.Object:
		for _, key := range x.Keys() {
			inner, _ := x.Get(key)
			if inner, err = plainNumbers(inner); err != nil {
				return nil, err
			}
			x.Set(key, inner)
		}
	}
	return v, nil
}

// valueColumn is a column of parsed values.
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
		if _, isFloat := v.(float64); isFloat {
			return dst, false, fmt.Errorf("element %d is the floating-point number %s, want a 32-bit integer", j, fault.Value(v))
		}
		if !ok || n < math.MinInt32 || n > math.MaxInt32 {
			return dst, false, fmt.Errorf("element %d is %s, want a 32-bit integer", j, fault.Value(v))
		}
		dst = append(dst, int32(n))
	}
	return dst, true, nil
}

func (c valueColumn) Value(i int) (any, error) { return c[i], nil }

// KindOf names the kind of a value for messages, such as "a list".
func KindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case int64, uint64, float64:
		return "a number"
	case string:
		return "text"
	case []any:
		return "a list"
	}
	return "an object"
}

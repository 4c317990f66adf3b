package data

import (
	"context"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// Rows reads the rows of the inputs one by one, in order, with all their columns, as a template sees them: nil, bool,
// int64, float64, string, []any and map[string]any. Of the options, format and max_train_samples count. A row with an
// error is the last.
func Rows(ctx context.Context, inputs []Input, o Options) iter.Seq2[map[string]any, error] {
	return func(yield func(map[string]any, error) bool) {
		resolved, err := resolve(ctx, inputs, &o)
		if err != nil {
			yield(nil, err)
			return
		}
		left := o.MaxTrainSamples
		for _, in := range resolved {
			for _, f := range in.files {
				for row, err := range f.rows(ctx) {
					if !yield(row, err) || err != nil {
						return
					}
					if left--; left == 0 {
						return
					}
				}
			}
		}
	}
}

// rows reads a file row by row.
func (f *sourceFile) rows(ctx context.Context) iter.Seq2[map[string]any, error] {
	return func(yield func(map[string]any, error) bool) {
		r, err := f.open(memory.DefaultAllocator)
		if err != nil {
			yield(nil, err)
			return
		}
		defer r.close()
		r.project(r.columns())
		for {
			b, err := r.next(ctx)
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
			list, err := b.values()
			b.release()
			for _, row := range list {
				if !yield(row, nil) {
					return
				}
			}
			if err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

// values returns the rows of a block. They outlive it.
func (b *block) values() (rows []map[string]any, err error) {
	defer b.recovered(&err)
	if b.decode != nil {
		if err := b.decode(b); err != nil {
			return nil, err
		}
	}
	for i := range b.rows {
		row := make(map[string]any, len(b.columns))
		for name, c := range b.columns {
			v, err := c.value(i)
			if err != nil {
				return rows, fmt.Errorf("data: %s: column %q: %w", b.at(i), name, err)
			}
			row[name] = cloneText(v)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// cloneText copies the texts in v out of a block's memory.
func cloneText(v any) any {
	switch v := v.(type) {
	case string:
		return strings.Clone(v)
	case []any:
		for i := range v {
			v[i] = cloneText(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = cloneText(v[key])
		}
	}
	return v
}

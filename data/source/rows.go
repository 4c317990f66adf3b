package source

import (
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"mambatrain/internal/ordered"
)

// Rows iterates over the rows of the inputs, in order, with all their columns, as a template sees them: nil, bool,
// int64, float64, string, []any, and map[string]any. Iteration ends after the first error.
func Rows(ctx context.Context, inputs []Input, c Config) iter.Seq2[map[string]any, error] {
	return func(yield func(map[string]any, error) bool) {
		sets, err := Resolve(ctx, inputs, c)
		if err != nil {
			yield(nil, err)
			return
		}
		left := c.MaxTrainSamples
		for _, in := range sets {
			for _, f := range in.Files {
				for row, err := range f.rows(ctx, max(0, left)) {
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

// rows iterates over the rows of a file. Only the first limit rows are searched for columns, or all of them if limit is 0.
func (f *File) rows(ctx context.Context, limit int) iter.Seq2[map[string]any, error] {
	return func(yield func(map[string]any, error) bool) {
		r, err := f.Open(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		defer r.Close()
		late, err := r.Late(ctx, nil, limit)
		if err != nil {
			yield(nil, err)
			return
		}
		r.Project(slices.Concat(r.Columns(), late))
		for {
			b, err := r.Next(ctx)
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
			list, err := b.values()
			b.Release()
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

// values returns the rows of a block. They remain valid after its release.
func (b *Block) values() (rows []map[string]any, err error) {
	err = b.Read(func() error {
		for i := range b.Rows {
			row := make(map[string]any, len(b.Columns))
			for name, c := range b.Columns {
				v, err := c.Value(i)
				if err != nil {
					return fmt.Errorf("data: %s: column %q: %w", b.At(i), name, err)
				}
				row[name] = cloneText(ordered.Plain(v))
			}
			rows = append(rows, row)
		}
		return nil
	})
	return rows, err
}

// cloneText copies the texts in v out of the memory of a block.
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

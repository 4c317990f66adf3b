package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
)

const (
	blockBytes = 1 << 20 // target size of a block of rows
	blockRows  = 4096    // maximum rows in a block
	pageBuffer = 1 << 18 // read-ahead per column of a Parquet file
)

// parquetReader reads one row group after another, so that an error can name its row group.
type parquetReader struct {
	source *File
	input  *os.File
	memory *arena
	budget *budget
	file   *file.Reader
	arrow  *pqarrow.FileReader
	schema *arrow.Schema
	json   map[string]*jsonParts // by column
	batch  int64                 // rows per block
	leaves []int                 // column chunks to read; nil = all
	group  int                   // current row group
	rows   pqarrow.RecordReader
	done   int64 // rows of the group already returned
	first  int   // rows before the group
}

func openParquet(f *File, m memory.Allocator) (*parquetReader, error) {
	input, err := openFile(f.Path)
	if err != nil {
		return nil, err
	}
	r, err := newParquetReader(f, input, m)
	if err != nil {
		input.Close()
		return nil, err
	}
	return r, nil
}

func newParquetReader(f *File, input *os.File, m memory.Allocator) (r *parquetReader, err error) {
	defer func() { err = parquetFault(f.Path, -1, err, recover()) }()
	info, err := input.Stat()
	if err != nil {
		return nil, err
	}
	limit := newBudget(m, f, info.Size())
	a := newArena(limit)
	properties := parquet.NewReaderProperties(a)
	properties.BufferedStreamEnabled, properties.BufferSize = true, pageBuffer
	in, err := file.NewParquetReader(input, file.WithReadProps(properties))
	if err != nil {
		return nil, err
	}
	r = &parquetReader{source: f, input: input, memory: a, budget: limit, file: in}
	if err = r.checkArrowSchema(); err == nil {
		err = r.limitRows(blockRows)
	}
	if err == nil {
		r.schema, err = r.arrow.Schema()
		r.findJSON()
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// findJSON finds the columns that contain JSON.
func (r *parquetReader) findJSON() {
	r.json = map[string]*jsonParts{}
	for i := range r.arrow.Manifest.Fields {
		f := &r.arrow.Manifest.Fields[i]
		r.json[f.Field.Name] = jsonInParquet(f, r.file.MetaData().Schema)
	}
}

// batchRows returns the number of rows in a block of about blockBytes.
func batchRows(in *file.Reader) int64 {
	var bytes int64
	for i := range in.NumRowGroups() {
		bytes += in.MetaData().RowGroup(i).TotalByteSize()
	}
	each := bytes/max(1, in.NumRows()) + 1
	return min(blockRows, max(1, blockBytes/each))
}

func (r *parquetReader) Columns() (names []string) {
	for _, f := range r.schema.Fields() {
		names = append(names, f.Name)
	}
	return names
}

func (r *parquetReader) Late(context.Context, []string, int) ([]string, error) { return nil, nil }

func (r *parquetReader) Project(names []string) {
	r.leaves = []int{}
	descriptors := r.file.MetaData().Schema
	for i := range descriptors.NumColumns() {
		if slices.Contains(names, descriptors.Column(i).ColumnPath()[0]) {
			r.leaves = append(r.leaves, i)
		}
	}
}

// wants reports whether a column chunk is read.
func (r *parquetReader) wants(leaf int) bool {
	return r.leaves == nil || slices.Contains(r.leaves, leaf)
}

func (r *parquetReader) Next(ctx context.Context) (b *Block, err error) {
	defer func() {
		if err != io.EOF {
			err = parquetFault(r.source.Path, r.group, err, recover())
		}
	}()
	for ; r.group < r.file.NumRowGroups(); r.group++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		want := r.file.MetaData().RowGroup(r.group).NumRows()
		r.budget.begin()
		if want > 0 && r.rows == nil {
			if err := r.checkPages(); err != nil {
				return nil, err
			}
			if r.rows, err = r.arrow.GetRecordReader(ctx, r.leaves, []int{r.group}); err != nil {
				return nil, err
			}
		}
		if want > 0 && r.done < want {
			return r.block(want)
		}
		r.closeGroup()
		r.first += int(want)
	}
	return nil, io.EOF
}

// block returns the next rows of the current group, which has want rows in total.
func (r *parquetReader) block(want int64) (*Block, error) {
	record, err := r.rows.Read()
	if err == io.EOF {
		return nil, fmt.Errorf("%d rows, want %d", r.done, want)
	}
	if err != nil {
		return nil, err
	}
	record.Retain()
	r.memory.retain()
	start := r.first + int(r.done)
	r.done += record.NumRows()
	b := recordBlock(r.source, record, r.json)
	b.free = func() { record.Release(); r.memory.release() }
	if r.done > want {
		b.Release()
		return nil, fmt.Errorf("more rows than the %d given in the footer", want)
	}
	group := r.group
	b.place = func(i int) string { return fmt.Sprintf("row group %d, row %d", group, start+i) }
	return b, nil
}

func (r *parquetReader) closeGroup() {
	if r.rows != nil {
		r.rows.Release()
		r.rows = nil
	}
	r.done = 0
}

func (r *parquetReader) Close() error {
	r.closeGroup()
	err := r.file.Close()
	r.memory.release()
	return err
}

// parquetFault adds the file and row group to an error. It also turns a panic of the underlying reader, which some
// damaged files cause, into an error.
func parquetFault(path string, group int, err error, panicked any) error {
	if panicked != nil {
		err = fmt.Errorf("damaged: %v", panicked)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case group < 0:
		return fmt.Errorf("data: %s: not a readable Parquet file: %w", path, err)
	}
	return fmt.Errorf("data: %s: row group %d: %w", path, group, err)
}

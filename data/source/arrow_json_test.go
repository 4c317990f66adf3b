package source

import (
	"bytes"
	"errors"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/schema"

	"mambatrain/internal/testfile"
)

// Values that the datasets library stores as JSON are decoded, wherever they are in a row.
func TestJSONColumns(t *testing.T) {
	for name, content := range map[string]string{"a.arrow": jsonArrow(t), "a.parquet": jsonParquet(t)} {
		path := testfile.Write(t, name, content)
		var rows []string
		for row, err := range Rows(t.Context(), []Input{{Path: path}}, Config{}) {
			if err != nil {
				t.Fatal(err)
			}
			rows = append(rows, testfile.JSON(t, row))
		}
		checkTexts(t, rows, `{"messages":[{"n":1,"role":"user"},{"role":"tool"}],"text":"plain"}`, `{"messages":null,"text":{"a":[1]}}`)
		if got, want := textsOf(t, path, Config{}, []string{"text"}), `text=plain|text={"a":[1]}`; got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// jsonField returns a field of JSON text.
func jsonField(name string) arrow.Field {
	return arrow.Field{Name: name, Type: arrow.BinaryTypes.String, Nullable: true,
		Metadata: arrow.MetadataFrom(map[string]string{ipc.ExtensionTypeKeyName: jsonExtension})}
}

// jsonTexts and jsonElements are the values of the columns text and messages; only the first row has messages.
var (
	jsonTexts    = []string{`"plain"`, `{"a":[1]}`}
	jsonElements = []string{`{"role":"user","n":1}`, `{"role":"tool"}`}
)

// jsonArrow returns an Arrow stream with JSON in a column and in a list.
func jsonArrow(t *testing.T) string {
	fields := arrow.NewSchema([]arrow.Field{jsonField("text"), {Name: "messages", Type: arrow.ListOfField(jsonField("item")), Nullable: true}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, fields)
	defer b.Release()
	b.Field(0).(*array.StringBuilder).AppendValues(jsonTexts, nil)
	list := b.Field(1).(*array.ListBuilder)
	list.Append(true)
	list.ValueBuilder().(*array.StringBuilder).AppendValues(jsonElements, nil)
	list.AppendNull()
	record := b.NewRecord()
	defer record.Release()
	var out bytes.Buffer
	w := ipc.NewWriter(&out, ipc.WithSchema(fields))
	if err := errors.Join(w.Write(record), w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// jsonParquet returns a Parquet file with the same rows.
func jsonParquet(t *testing.T) string {
	node := func(name string) *schema.PrimitiveNode {
		return schema.MustPrimitive(schema.NewPrimitiveNodeLogical(name, parquet.Repetitions.Optional, schema.JSONLogicalType{}, parquet.Types.ByteArray, -1, -1))
	}
	list, err := schema.ListOfWithName("messages", node("element"), parquet.Repetitions.Optional, -1)
	if err != nil {
		t.Fatal(err)
	}
	root, err := schema.NewGroupNode("schema", parquet.Repetitions.Required, schema.FieldList{node("text"), list}, -1)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := file.NewParquetWriter(&out, root)
	group := w.AppendRowGroup()
	for _, c := range []struct {
		values      []string
		definitions []int16
		repetitions []int16
	}{
		{jsonTexts, []int16{1, 1}, nil},
		{jsonElements, []int16{3, 3, 0}, []int16{0, 1, 0}},
	} {
		column, err := group.NextColumn()
		if err != nil {
			t.Fatal(err)
		}
		var values []parquet.ByteArray
		for _, v := range c.values {
			values = append(values, parquet.ByteArray(v))
		}
		_, err = column.(*file.ByteArrayColumnChunkWriter).WriteBatch(values, c.definitions, c.repetitions)
		if err := errors.Join(err, column.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(group.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

package source

import (
	"fmt"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
	"github.com/apache/arrow/go/v17/parquet/schema"
)

// jsonParts tells which parts of a column are JSON text; nil means none. The datasets library stores values in this form
// whose keys or types differ from row to row, such as messages with and without tool calls, and decodes them when it
// reads them.
type jsonParts struct {
	whole bool         // every value is JSON
	parts []*jsonParts // otherwise: the elements of a list, or the fields of an object
}

func (p *jsonParts) isWhole() bool { return p != nil && p.whole }

// part returns part i: of a list, part 0 is its elements; of an object, part i is field i.
func (p *jsonParts) part(i int) *jsonParts {
	if p == nil || i >= len(p.parts) {
		return nil
	}
	return p.parts[i]
}

// joinParts returns a value with these parts, or nil if none of them has JSON.
func joinParts(parts []*jsonParts) *jsonParts {
	if !slices.ContainsFunc(parts, func(p *jsonParts) bool { return p != nil }) {
		return nil
	}
	return &jsonParts{parts: parts}
}

// jsonExtension is the name of Arrow's extension type for JSON.
const jsonExtension = "arrow.json"

// jsonInArrow finds the JSON in a field of an Arrow file.
func jsonInArrow(f arrow.Field) *jsonParts {
	if name, _ := f.Metadata.GetValue(ipc.ExtensionTypeKeyName); name == jsonExtension {
		return &jsonParts{whole: true}
	}
	var parts []*jsonParts
	switch t := f.Type.(type) {
	case arrow.ListLikeType:
		parts = append(parts, jsonInArrow(t.ElemField()))
	case *arrow.StructType:
		for _, child := range t.Fields() {
			parts = append(parts, jsonInArrow(child))
		}
	}
	return joinParts(parts)
}

// jsonInParquet finds the JSON in a field of a Parquet file.
func jsonInParquet(f *pqarrow.SchemaField, columns *schema.Schema) *jsonParts {
	if len(f.Children) == 0 {
		if f.ColIndex < 0 || f.ColIndex >= columns.NumColumns() {
			return nil
		}
		if _, ok := columns.Column(f.ColIndex).LogicalType().(schema.JSONLogicalType); !ok {
			return nil
		}
		return &jsonParts{whole: true}
	}
	var parts []*jsonParts
	for i := range f.Children {
		parts = append(parts, jsonInParquet(&f.Children[i], columns))
	}
	return joinParts(parts)
}

// jsonText returns row i of a column of JSON text: the text in a string, otherwise the JSON itself.
func (c arrowColumn) jsonText(i int) (string, bool, error) {
	v, err := c.decodeJSON(i)
	if text, ok := v.(string); ok || v == nil {
		return text, ok, err
	}
	c.json = nil
	return c.Text(i)
}

// decodeJSON returns row i of a column of JSON text.
func (c arrowColumn) decodeJSON(i int) (any, error) {
	c.json = nil
	s, ok, err := c.Text(i)
	if err != nil || !ok {
		return nil, err
	}
	v, err := ParseJSON([]byte(s))
	if err != nil {
		return nil, fmt.Errorf("is not JSON: %w", err)
	}
	return v, nil
}

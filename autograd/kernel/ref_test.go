package kernel

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"testing"
)

// Files named _ref.go contain only the plain loops: no vector code, tasks, or scratch memory.
func TestReferenceLoops_arePlain(t *testing.T) {
	barred := []string{"unsafe", "active", "hasVectors", "is32", "f32s", "f32Mat", "For", "runTasks", "borrow", "giveBack"}
	files, err := filepath.Glob("*_ref.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, name := range files {
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok && slices.Contains(barred, id.Name) {
				t.Errorf("%v: %s", set.Position(id.Pos()), id.Name)
			}
			return true
		})
	}
}

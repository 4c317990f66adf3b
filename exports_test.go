package mambatrain_test

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// forTests lists packages that exist for the tests of other packages. Uses in tests count for these.
var forTests = []string{"autograd/devicetest", "autograd/gradtest", "data/hub/hubtest", "internal/testfile", "studio/studiotest"}

// offered lists names that may be used only by programs outside this module, with the reason why they are exported.
var offered = map[string]string{
	"autograd.Array.Mat":         "operations in other modules read their inputs with it",
	"autograd.Call.Fail":         "operations in other modules use it",
	"autograd.Overwriter":        "operations in other modules use it",
	"autograd.Program.Float64s":  "programs read values in double precision with it",
	"autograd.Recurrent":         "operations in other modules use it",
	"autograd.Saver":             "operations in other modules use it",
	"autograd.Scratcher":         "operations in other modules use it",
	"autograd.Stateful":          "operations in other modules use it",
	"autograd.Worker":            "operations in other modules use it",
	"lora.BiasAll":               "a value of Config.Bias",
	"lora.BiasLoraOnly":          "a value of Config.Bias",
	"lora.BiasNone":              "a value of Config.Bias",
	"lora.Load":                  "programs load adapters into their own models with it",
	"data/tokenizer/jinja.Tuple": "a value that templates create",
	"mamba.Block.Forward":        "models built from blocks use it",
	"mamba.Mamba2":               "models built from layers use it",
	"mamba.Model.ForwardEmbeds":  "models whose input is not token ids use it",
	"mamba.Model.Starts":         "package lora calls it through an interface",
	"mamba.Starter":              "mixers in other modules implement it",
	"mamba.NoToken":              "a value of the token ids in Config",
	"trainer/mpi.InProcess":      "tests run ranks in one process with it",

	"autograd.DeviceSizer": "operations in other modules use it",
}

// Every exported name must be used by another package, a command, or an example. Uses in tests do not count.
func TestExportedNamesAreUsed(t *testing.T) {
	m := loadModule(t)
	used, tested := map[string]bool{}, map[string]bool{}
	for _, p := range m.packages {
		m.addUses(p, p.GoFiles, "", used)
		m.addUses(p, examples(p.TestGoFiles), "", used)
		m.addUses(p, examples(p.XTestGoFiles), "_test", used)
	}
	for _, p := range m.packages {
		if slices.ContainsFunc(append(p.TestImports, p.XTestImports...), func(path string) bool {
			return slices.Contains(forTests, strings.TrimPrefix(path, "mambatrain/"))
		}) {
			m.addUses(p, p.TestGoFiles, "", tested)
			m.addUses(p, p.XTestGoFiles, "_test", tested)
		}
	}
	m.addTypes(used)
	m.addTypes(tested)
	for _, p := range m.packages {
		for _, name := range m.exported(p) {
			short := strings.TrimPrefix(name, "mambatrain/")
			_, excepted := offered[short]
			switch {
			case !used[name] && !tested[name] && !excepted:
				t.Errorf("%s is used nowhere else", short)
			case used[name] && excepted:
				t.Errorf("%s is used: remove it from the list", short)
			}
			delete(offered, short)
		}
	}
	for name := range offered {
		t.Errorf("%s is on the list but not exported", name)
	}
}

// examples returns the files whose Example functions document a package.
func examples(files []string) (list []string) {
	for _, f := range files {
		if strings.HasPrefix(f, "example") {
			list = append(list, f)
		}
	}
	return list
}

// listedPackage is the output of go list for a package.
type listedPackage struct {
	ImportPath, Dir, Name, Export      string
	GoFiles, TestGoFiles, XTestGoFiles []string
	TestImports, XTestImports          []string
}

// module is this module, with the types of everything it imports.
type module struct {
	fset       *token.FileSet
	importer   types.Importer
	packages   []listedPackage
	files      map[string]*ast.File
	interfaces []*types.Named
}

func loadModule(t *testing.T) *module {
	t.Helper()
	cmd := exec.Command("go", "list", "-tags", "mpi,vulkan", "-export", "-deps", "-json=ImportPath,Dir,Name,Export,GoFiles,TestGoFiles,XTestGoFiles,TestImports,XTestImports", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	m := &module{fset: token.NewFileSet(), files: map[string]*ast.File{}}
	exports := map[string]string{}
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var p listedPackage
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		exports[p.ImportPath] = p.Export
		if strings.HasPrefix(p.ImportPath, "mambatrain/") {
			m.packages = append(m.packages, p)
		}
	}
	m.importer = importer.ForCompiler(m.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	for _, path := range append([]string{"io", "fmt", "io/fs", "sort", "flag", "encoding/json", "go.yaml.in/yaml/v3", "github.com/spf13/pflag", "gonum.org/v1/plot"}, m.paths()...) {
		p, err := m.importer.Import(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range p.Scope().Names() {
			named, ok := p.Scope().Lookup(name).Type().(*types.Named)
			if i, face := p.Scope().Lookup(name).Type().Underlying().(*types.Interface); ok && face && i.NumMethods() > 0 {
				m.interfaces = append(m.interfaces, named)
			}
		}
	}
	m.interfaces = append(m.interfaces, types.Universe.Lookup("error").Type().(*types.Named))
	return m
}

func (m *module) paths() (list []string) {
	for _, p := range m.packages {
		if p.Name != "main" {
			list = append(list, p.ImportPath)
		}
	}
	return list
}

// addUses adds the names in other packages of the module that files of p use. suffix is _test for an external test
// package.
func (m *module) addUses(p listedPackage, files []string, suffix string, used map[string]bool) {
	if len(files) == 0 {
		return
	}
	var list []*ast.File
	for _, name := range files {
		path := filepath.Join(p.Dir, name)
		if m.files[path] == nil {
			m.files[path], _ = parser.ParseFile(m.fset, path, nil, parser.SkipObjectResolution) // go list has already compiled it
		}
		list = append(list, m.files[path])
	}
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}, Selections: map[*ast.SelectorExpr]*types.Selection{}}
	config := types.Config{Importer: m.importer, Error: func(error) {}} // a few test files do not type-check on their own
	self, _ := config.Check(p.ImportPath+suffix, m.fset, list, info)
	for _, o := range info.Uses {
		if o.Pkg() != nil && o.Pkg() != self {
			used[nameOf(o)] = true
		}
	}
	for _, name := range self.Scope().Names() {
		m.addInterfaces(self.Scope().Lookup(name), used)
	}
}

// addInterfaces adds the interfaces in other packages that a type implements: a package may check for an optional
// interface.
func (m *module) addInterfaces(o types.Object, used map[string]bool) {
	if _, ok := o.(*types.TypeName); !ok || types.IsInterface(o.Type()) {
		return
	}
	for _, i := range m.interfaces {
		if x := i.Obj(); x.Pkg() != nil && x.Pkg().Path() != o.Pkg().Path() && has(o.Type(), i) {
			used[nameOf(x)] = true
		}
	}
}

// has reports whether a type or a pointer to it implements an interface.
func has(t types.Type, i *types.Named) bool {
	face := i.Underlying().(*types.Interface)
	return i.TypeParams().Len() == 0 && (types.Implements(t, face) || types.Implements(types.NewPointer(t), face))
}

// addTypes adds the types that used names refer to, such as results and fields, and the constants of these types.
func (m *module) addTypes(used map[string]bool) {
	w := typeWalker{used: used, seen: map[types.Type]bool{}}
	for _, path := range m.paths() {
		pkg, _ := m.importer.Import(path)
		for _, name := range pkg.Scope().Names() {
			o := pkg.Scope().Lookup(name)
			if used[nameOf(o)] {
				w.walk(o.Type())
			}
			if named, ok := o.Type().(*types.Named); ok {
				for i := range named.NumMethods() {
					if f := named.Method(i); used[nameOf(f)] {
						w.walk(f.Type())
					}
				}
			}
		}
	}
	for _, path := range m.paths() {
		pkg, _ := m.importer.Import(path)
		for _, name := range pkg.Scope().Names() {
			if c, ok := pkg.Scope().Lookup(name).(*types.Const); ok && used[path+"."+typeName(c.Type())] {
				used[nameOf(c)] = true
			}
		}
	}
}

type typeWalker struct {
	used map[string]bool
	seen map[types.Type]bool
}

// walk adds the named types in t.
func (w typeWalker) walk(t types.Type) {
	if w.seen[t] {
		return
	}
	w.seen[t] = true
	switch t := types.Unalias(t).(type) {
	case *types.Named:
		if o := t.Obj(); o.Pkg() != nil && strings.HasPrefix(o.Pkg().Path(), "mambatrain/") {
			w.used[nameOf(o)] = true
			w.walk(t.Underlying())
		}
		for i := range t.TypeArgs().Len() {
			w.walk(t.TypeArgs().At(i))
		}
	case *types.Signature:
		w.walk(t.Params())
		w.walk(t.Results())
	case *types.Tuple:
		for i := range t.Len() {
			w.walk(t.At(i).Type())
		}
	case *types.Struct:
		for i := range t.NumFields() {
			if f := t.Field(i); f.Exported() {
				w.walk(f.Type())
			}
		}
	case *types.Interface:
		for i := range t.NumMethods() {
			w.walk(t.Method(i).Type())
		}
	case *types.Map:
		w.walk(t.Key())
		w.walk(t.Elem())
	case interface{ Elem() types.Type }: // a pointer, slice, array, or channel
		w.walk(t.Elem())
	}
}

// nameOf returns package.Name or package.Type.Method.
func nameOf(o types.Object) string {
	if f, ok := o.(*types.Func); ok {
		o = f.Origin()
		if recv := f.Signature().Recv(); recv != nil {
			return o.Pkg().Path() + "." + typeName(recv.Type()) + "." + o.Name()
		}
	}
	return o.Pkg().Path() + "." + o.Name()
}

func typeName(t types.Type) string {
	if p, ok := types.Unalias(t).(*types.Pointer); ok {
		t = p.Elem()
	}
	if n, ok := types.Unalias(t).(*types.Named); ok {
		return n.Obj().Name()
	}
	return ""
}

// exported returns the functions, types, variables, constants, and methods that p exports, without the methods of
// interfaces.
func (m *module) exported(p listedPackage) (list []string) {
	if p.Name == "main" {
		return nil
	}
	pkg, _ := m.importer.Import(p.ImportPath)
	for _, name := range pkg.Scope().Names() {
		o := pkg.Scope().Lookup(name)
		if !o.Exported() {
			continue
		}
		list = append(list, nameOf(o))
		named, ok := o.Type().(*types.Named)
		if _, isType := o.(*types.TypeName); !ok || !isType {
			continue
		}
		for i := range named.NumMethods() {
			if f := named.Method(i); f.Exported() && !m.implements(named, f.Name()) {
				list = append(list, nameOf(f))
			}
		}
	}
	return list
}

// byConvention lists methods that the standard library calls without a named interface, and the Validate method of
// every Config.
var byConvention = []string{"Unwrap", "Is", "As", "Validate"}

// implements reports whether a method belongs to an interface that the type implements.
func (m *module) implements(t *types.Named, method string) bool {
	if slices.Contains(byConvention, method) {
		return true
	}
	return slices.ContainsFunc(m.interfaces, func(i *types.Named) bool {
		face := i.Underlying().(*types.Interface)
		for k := range face.NumMethods() {
			if face.Method(k).Name() == method {
				return t.TypeParams().Len() > 0 || has(t, i)
			}
		}
		return false
	})
}

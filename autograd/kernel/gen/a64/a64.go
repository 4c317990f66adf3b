// Package a64 writes arm64 vector code for the Go assembler. It encodes the instructions that the assembler lacks; they are written as
// WORD, with their GNU syntax in a comment. Registers are virtual until a function is complete. Then they are allocated by linear scan,
// without spilling.
package a64

import (
	"fmt"
	"go/ast"
	"go/parser"
	"math"
)

// reg is a register; num is its number after allocation.
type reg struct {
	vector     bool
	num        int
	start, end int // first and last instruction that names it
}

// V is a vector register of four float32, X a general one.
type (
	V struct{ *reg }
	X struct{ *reg }
)

type operand struct {
	reg      *reg
	shift    int // of its number in the encoding
	def, use bool
}

func def(r *reg, shift int) operand { return operand{r, shift, true, false} }
func use(r *reg, shift int) operand { return operand{r, shift, false, true} }
func mod(r *reg, shift int) operand { return operand{r, shift, true, true} }

// inst is an instruction, or a label. In the texts %0, %1 … stand for the registers' numbers.
type inst struct {
	word        uint32
	gnu, plan9  string // plan9 is empty where the assembler lacks it
	regs        []operand
	label, goal string // a label, or the target of a jump
}

// Func is a function under construction.
type Func struct {
	name, sig       string
	params, results []*ast.Field
	code            []inst
	file            *File
	consts          *X
}

// File collects functions and their constants.
type File struct {
	funcs  []*Func
	pairs  []uint32 // in two equal vectors of four, at the front of the table
	consts []uint32 // in vectors of four
	pairAt map[uint32]int
	at     map[[4]uint32]int
}

// pairRoom is the size in bytes of the front of the table, within reach of LDP.
const pairRoom = 1024

// NewFile returns an empty file.
func NewFile() *File { return &File{pairAt: map[uint32]int{}, at: map[[4]uint32]int{}} }

// Func starts a function. sig is "func(…)" in Go syntax.
func (f *File) Func(name, sig string) *Func {
	e, err := parser.ParseExpr(sig)
	if err != nil {
		panic(err)
	}
	t := e.(*ast.FuncType)
	fn := &Func{name: name, sig: sig, file: f, params: t.Params.List}
	if t.Results != nil {
		fn.results = t.Results.List
		if r := fn.results[0]; r.Names == nil {
			r.Names = []*ast.Ident{ast.NewIdent("ret")}
		}
	}
	f.funcs = append(f.funcs, fn)
	return fn
}

// slot returns the stack offset of the named parameter or result, or -1 if it does not exist, and the size of all of them.
func (f *Func) slot(name string) (offset, size int, kind string) {
	offset = -1
	for _, fields := range [][]*ast.Field{f.params, f.results} {
		if len(fields) > 0 {
			size = (size + 7) &^ 7
		}
		for _, p := range fields {
			k, n := "pointer", 8
			if id, ok := p.Type.(*ast.Ident); ok {
				if k = id.Name; k == "float32" {
					n = 4
				}
			}
			for _, id := range p.Names {
				size = (size + n - 1) &^ (n - 1)
				if id.Name == name {
					offset, kind = size, k
				}
				size += n
			}
		}
	}
	return offset, size, kind
}

// V and X return fresh registers.
func (f *Func) V() V { return V{&reg{vector: true, num: -1, start: -1}} }
func (f *Func) X() X { return X{&reg{num: -1, start: -1}} }

// Row returns n fresh vectors.
func (f *Func) Row(n int) []V {
	r := make([]V, n)
	for i := range r {
		r[i] = f.V()
	}
	return r
}

func (f *Func) emit(i inst) { f.code = append(f.code, i) }

func (f *Func) op(word uint32, gnu string, regs ...operand) {
	f.emit(inst{word: word, gnu: gnu, regs: regs})
}

func (f *Func) plan9(plan9, gnu string, regs ...operand) {
	f.emit(inst{plan9: plan9, gnu: gnu, regs: regs})
}

// Param loads a parameter: an int or a pointer.
func (f *Func) Param(name string) X {
	x := f.X()
	o, _, _ := f.slot(name)
	if o < 0 {
		panic("no parameter " + name)
	}
	f.plan9(fmt.Sprintf("MOVD %s+%d(FP), R%%0", name, o), fmt.Sprintf("ldr x%%0, [sp, #%d]", 8+o), def(x.reg, 0))
	return x
}

// ParamBits loads the bits of a float32 parameter.
func (f *Func) ParamBits(name string) X {
	x := f.X()
	o, _, _ := f.slot(name)
	f.plan9(fmt.Sprintf("MOVWU %s+%d(FP), R%%0", name, o), fmt.Sprintf("ldr w%%0, [sp, #%d]", 8+o), def(x.reg, 0))
	return x
}

// ParamV loads a float32 parameter into all lanes.
func (f *Func) ParamV(name string) V {
	v, w := f.V(), f.V()
	o, _, _ := f.slot(name)
	f.plan9(fmt.Sprintf("FMOVS %s+%d(FP), F%%0", name, o), fmt.Sprintf("ldr s%%0, [sp, #%d]", 8+o), def(w.reg, 0))
	f.Dup(v, w, 0)
	return v
}

// Result stores lane 0 as a result: "ret" if it has no name.
func (f *Func) Result(name string, v V) {
	o, _, kind := f.slot(name)
	if kind == "float64" {
		f.plan9(fmt.Sprintf("FMOVD F%%0, %s+%d(FP)", name, o), fmt.Sprintf("str d%%0, [sp, #%d]", 8+o), use(v.reg, 0))
	} else {
		f.plan9(fmt.Sprintf("FMOVS F%%0, %s+%d(FP)", name, o), fmt.Sprintf("str s%%0, [sp, #%d]", 8+o), use(v.reg, 0))
	}
}

// Const loads a vector of four equal float32 values from the file's table. Consts and Words load four separate values.
func (f *Func) Const(x float32) V { return f.Bits(math.Float32bits(x)) }
func (f *Func) Bits(b uint32) V   { return f.load([4]uint32{b, b, b, b}) }
func (f *Func) Consts(x ...float32) V {
	var b [4]uint32
	for i, v := range x {
		b[i] = math.Float32bits(v)
	}
	return f.load(b)
}

// Words loads four integers.
func (f *Func) Words(b [4]uint32) V { return f.load(b) }

func (f *Func) load(b [4]uint32) V {
	at, ok := f.file.at[b]
	if !ok {
		at = pairRoom + 4*len(f.file.consts)
		f.file.at[b] = at
		f.file.consts = append(f.file.consts, b[:]...)
	}
	v := f.V()
	f.LD(v, f.table(), at)
	return v
}

// ConstPair loads two vectors, each of four equal float32 values, by one instruction.
func (f *Func) ConstPair(x float32) (V, V) {
	b := math.Float32bits(x)
	at, ok := f.file.pairAt[b]
	if !ok {
		at = 4 * len(f.file.pairs)
		f.file.pairAt[b] = at
		f.file.pairs = append(f.file.pairs, b, b, b, b, b, b, b, b)
	}
	v, w := f.V(), f.V()
	f.LDP(v, w, f.table(), at)
	return v, w
}

// table returns the register that points at the table.
func (f *Func) table() X {
	if f.consts == nil {
		panic("no table: call UseConsts first")
	}
	return *f.consts
}

// UseConsts points a register at the table that Const and similar methods read.
func (f *Func) UseConsts() {
	x := f.X()
	f.plan9("MOVD $·neonConsts(SB), R%0", "mov x%0, sp", def(x.reg, 0))
	f.consts = &x
}

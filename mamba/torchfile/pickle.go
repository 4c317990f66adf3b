package torchfile

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"mambatrain/internal/fault"
)

// A pickle is a program for a small stack machine that builds Python objects; Python's own reader lets it call any
// function. This reader builds only what a file of tensors needs: plain values, containers, storages, and tensors. Any
// other opcode or global is reported by name. The number of values is limited, and no function here descends further
// into a value than tensors are nested: a few bytes can describe a tuple of 2¹⁰⁰ elements or one that is nested a
// million levels deep.

// Values on the machine's stack are nil, bool, int64, float64, string, tuple, *list, *dict, global, storage, and
// view.
type (
	tuple  []any
	list   struct{ items []any }
	global string // "module.name"
	mark   struct{}
)

// dict is a Python dictionary in insertion order. Keys that are not strings are dropped: no checkpoint uses them.
type dict struct {
	keys   []string
	values map[string]any
}

func (d *dict) set(key, value any) error {
	k, ok := key.(string)
	if !ok {
		return nil
	}
	if _, has := d.values[k]; has {
		return fmt.Errorf("%s appears twice", fault.Shorten(k, maxShown))
	}
	if d.values == nil { // most dictionaries in a checkpoint are empty
		d.values = map[string]any{}
	}
	d.keys = append(d.keys, k)
	d.values[k] = value
	return nil
}

// nameOf returns Python's name for the kind of value x is.
func nameOf(x any) string {
	switch x.(type) {
	case nil:
		return "None"
	case bool:
		return "bool"
	case int64:
		return "int"
	case float64:
		return "float"
	case string:
		return "str"
	case tuple:
		return "tuple"
	case *list:
		return "list"
	case *dict:
		return "dict"
	case view:
		return "tensor"
	case storage:
		return "storage"
	case mark:
		return "mark"
	}
	return "function"
}

// storage is a torch storage: a block of memory in the file.
type storage struct {
	kind     string // FloatStorage, HalfStorage, …
	key      string
	elements int64
}

// view is a tensor, a strided view of a storage.
type view struct {
	storage      storage
	offset       int64
	size, stride []int64
}

// allowed are the globals used by checkpoints of tensors.
var allowed = map[string]bool{
	"collections.OrderedDict":         true,
	"torch._utils._rebuild_tensor_v2": true,
	"torch._utils._rebuild_parameter": true,
	"torch.FloatStorage":              true,
	"torch.HalfStorage":               true,
	"torch.BFloat16Storage":           true,
	"torch.DoubleStorage":             true,
	"torch.LongStorage":               true,
	"torch.IntStorage":                true,
	"torch.ShortStorage":              true,
	"torch.CharStorage":               true,
	"torch.ByteStorage":               true,
	"torch.BoolStorage":               true,
}

const (
	// maxString limits the length of a string in a pickle.
	maxString = 1 << 20
	// maxValues limits the number of values in a pickle, including memo entries. A tensor takes about 40.
	maxValues = 4 << 20
	// maxDims limits the dimensions of a tensor.
	maxDims = 8
	// maxShown limits the length of a string from the pickle in a message.
	maxShown = 100
)

// unpickler is the stack machine.
type unpickler struct {
	r     *bufio.Reader
	stack []any
	memo  map[uint32]any
	made  int // values so far
}

// unpickle runs the program in r and returns the object it builds.
func unpickle(r io.Reader) (any, error) {
	u := &unpickler{r: bufio.NewReader(r), memo: map[uint32]any{}}
	for {
		op, err := u.r.ReadByte()
		if err != nil {
			return nil, truncated(err)
		}
		if op == '.' {
			return u.pop()
		}
		if err := u.step(op); err != nil {
			return nil, fmt.Errorf("pickle: %w", err)
		}
		if u.made > maxValues {
			return nil, errors.New("pickle: it creates more values than a list of tensors needs")
		}
	}
}

func truncated(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("unexpected end of data")
	}
	return err
}

// step executes one opcode. Names are those in Python's pickletools.
func (u *unpickler) step(op byte) error {
	switch op {
	case 0x80, 0x95: // PROTO, FRAME: skip the argument
		_, err := u.argument(op)
		return err
	case '(':
		u.push(mark{})
	case ')', ']', '}', 'N', 0x88, 0x89:
		u.push(constant(op))
	case 'K', 'M', 'J', 0x8a, 'G':
		return u.number(op)
	case 'X', 0x8c, 0x8d:
		return u.text(op)
	case 'c', 0x93:
		return u.global(op)
	case 'q', 'r', 0x94, 'h', 'j':
		return u.remember(op)
	case 0x85, 0x86, 0x87:
		return u.tupleOf(int(op-0x85) + 1)
	case 't', 'l', 'd', 'e', 'u':
		return u.collect(op)
	case 'a', 's':
		return u.add(op)
	case 'Q':
		return u.persistent()
	case 'R':
		return u.reduce()
	case 'b': // BUILD: attributes of an object, which tensors do not use
		_, err := u.pop()
		return err
	case '0':
		_, err := u.pop()
		return err
	default:
		return fmt.Errorf("opcode %#02x is not used in files of tensors", op)
	}
	return nil
}

func constant(op byte) any {
	switch op {
	case ')':
		return tuple{}
	case ']':
		return &list{}
	case '}':
		return &dict{}
	case 0x88:
		return true
	case 0x89:
		return false
	}
	return nil
}

func (u *unpickler) push(x any) {
	u.made++
	u.stack = append(u.stack, x)
}

func (u *unpickler) pop() (any, error) {
	n := len(u.stack)
	if n == 0 {
		return nil, errors.New("stack underflow")
	}
	x := u.stack[n-1]
	u.stack = u.stack[:n-1]
	if _, is := x.(mark); is {
		return nil, errors.New("found a mark, want a value")
	}
	return x, nil
}

// top returns the top of the stack without popping it.
func (u *unpickler) top() (any, error) {
	if len(u.stack) == 0 {
		return nil, errors.New("stack underflow")
	}
	return u.stack[len(u.stack)-1], nil
}

// popMark pops everything above the last mark.
func (u *unpickler) popMark() ([]any, error) {
	for i := len(u.stack) - 1; i >= 0; i-- {
		if _, is := u.stack[i].(mark); is {
			items := append([]any(nil), u.stack[i+1:]...)
			u.stack = u.stack[:i]
			return items, nil
		}
	}
	return nil, errors.New("no mark on the stack")
}

// argumentBytes are the lengths of the opcodes' arguments.
var argumentBytes = [256]int{0x80: 1, 0x95: 8, 'K': 1, 'M': 2, 'J': 4, 0x8a: 1, 'G': 8, 'X': 4, 0x8c: 1, 0x8d: 8, 'q': 1, 'h': 1, 'r': 4, 'j': 4}

// argument reads the argument of an opcode.
func (u *unpickler) argument(op byte) ([]byte, error) { return u.bytes(argumentBytes[op]) }

// bytes reads n bytes; n is small or bounded by the caller.
func (u *unpickler) bytes(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(u.r, b); err != nil {
		return nil, truncated(err)
	}
	return b, nil
}

func (u *unpickler) number(op byte) error {
	b, err := u.argument(op)
	if err != nil {
		return err
	}
	switch op {
	case 'K':
		u.push(int64(b[0]))
	case 'M':
		u.push(int64(binary.LittleEndian.Uint16(b)))
	case 'J':
		u.push(int64(int32(binary.LittleEndian.Uint32(b))))
	case 'G':
		u.push(math.Float64frombits(binary.BigEndian.Uint64(b)))
	case 0x8a: // LONG1: a length, then that many bytes, little-endian, in two's complement
		if b[0] > 8 {
			return fmt.Errorf("integer of %d bytes", b[0])
		}
		digits, err := u.bytes(int(b[0]))
		if err != nil {
			return err
		}
		u.push(signed(digits))
	}
	return nil
}

func signed(little []byte) int64 {
	x := int64(0)
	for i, d := range little {
		x |= int64(d) << (8 * i)
	}
	if n := len(little); n > 0 && n < 8 && little[n-1]&0x80 != 0 {
		x -= 1 << (8 * n)
	}
	return x
}

func (u *unpickler) text(op byte) error {
	b, err := u.argument(op)
	if err != nil {
		return err
	}
	var wide [8]byte
	copy(wide[:], b)
	n := binary.LittleEndian.Uint64(wide[:])
	if n > maxString {
		return fmt.Errorf("string of %d bytes", n)
	}
	b, err = u.bytes(int(n))
	if err != nil {
		return err
	}
	u.push(string(b))
	return nil
}

// global pushes a function or class by name if it is allowed.
func (u *unpickler) global(op byte) error {
	var module, name string
	if op == 'c' {
		for _, s := range []*string{&module, &name} {
			line, err := u.r.ReadSlice('\n')
			if err != nil {
				return truncated(err)
			}
			*s = strings.TrimSuffix(string(line), "\n")
		}
	} else {
		n, err := u.pop()
		if err != nil {
			return err
		}
		m, err := u.pop()
		if err != nil {
			return err
		}
		module, _ = m.(string)
		name, _ = n.(string)
	}
	full := module + "." + name
	if !allowed[full] {
		return fmt.Errorf("it refers to %q, which is not allowed in a file of tensors", fault.Shorten(full, maxShown))
	}
	u.push(global(full))
	return nil
}

// remember stores the top of the stack in the memo or pushes an entry of the memo.
func (u *unpickler) remember(op byte) error {
	i := uint32(len(u.memo)) // MEMOIZE numbers its entries consecutively
	if op != 0x94 {
		b, err := u.argument(op)
		if err != nil {
			return err
		}
		var wide [4]byte
		copy(wide[:], b)
		i = binary.LittleEndian.Uint32(wide[:])
	}
	if op == 'h' || op == 'j' {
		x, ok := u.memo[i]
		if !ok {
			return fmt.Errorf("memo %d does not exist", i)
		}
		u.push(x)
		return nil
	}
	x, err := u.top()
	u.memo[i] = x
	u.made++
	return err
}

func (u *unpickler) tupleOf(n int) error {
	if len(u.stack) < n {
		return errors.New("too few values on the stack")
	}
	at := len(u.stack) - n
	t := append(tuple(nil), u.stack[at:]...)
	u.stack = u.stack[:at]
	u.push(t)
	return nil
}

// collect builds a container from everything above the mark, or adds it to the container below.
func (u *unpickler) collect(op byte) error {
	items, err := u.popMark()
	if err != nil {
		return err
	}
	switch op {
	case 't':
		u.push(tuple(items))
		return nil
	case 'l':
		u.push(&list{items})
		return nil
	case 'd':
		u.push(&dict{})
	}
	return u.extend(op != 'e', items)
}

// add implements APPEND and SETITEM: one element or one pair.
func (u *unpickler) add(op byte) error {
	items := make([]any, 1, 2)
	if op == 's' {
		items = items[:2]
	}
	for i := len(items) - 1; i >= 0; i-- {
		x, err := u.pop()
		if err != nil {
			return err
		}
		items[i] = x
	}
	return u.extend(op == 's', items)
}

func (u *unpickler) extend(pairs bool, items []any) error {
	x, err := u.top()
	if err != nil {
		return err
	}
	switch c := x.(type) {
	case *list:
		if !pairs {
			c.items = append(c.items, items...)
			return nil
		}
	case *dict:
		if pairs && len(items)%2 == 0 {
			for i := 0; i < len(items); i += 2 {
				if err := c.set(items[i], items[i+1]); err != nil {
					return err
				}
			}
			return nil
		}
	}
	return fmt.Errorf("cannot add elements to a %s", nameOf(x))
}

// persistent builds a storage from its id: ("storage", class, key, device, elements).
func (u *unpickler) persistent() error {
	x, err := u.pop()
	if err != nil {
		return err
	}
	id, _ := x.(tuple)
	if len(id) != 5 || id[0] != any("storage") {
		return errors.New("a persistent id is not a storage")
	}
	class, okClass := id[1].(global)
	key, okKey := id[2].(string)
	n, okN := id[4].(int64)
	kind, isStorage := strings.CutPrefix(string(class), "torch.")
	if !okClass || !okKey || !okN || n < 0 || !isStorage || !strings.HasSuffix(kind, "Storage") {
		return errors.New("malformed storage")
	}
	u.push(storage{kind, key, n})
	return nil
}

// reduce calls one of the allowed functions.
func (u *unpickler) reduce() error {
	x, err := u.pop()
	if err != nil {
		return err
	}
	args, ok := x.(tuple)
	f, err := u.pop()
	if err != nil || !ok {
		return errors.Join(err, errors.New("the arguments of a call are not a tuple"))
	}
	switch {
	case f == any(global("collections.OrderedDict")) && len(args) == 0:
		u.push(&dict{})
		return nil
	case f == any(global("torch._utils._rebuild_parameter")) && len(args) > 0:
		if t, is := args[0].(view); is {
			u.push(t)
			return nil
		}
	case f == any(global("torch._utils._rebuild_tensor_v2")) && len(args) >= 4:
		return u.tensor(args)
	}
	name, ok := f.(global)
	if !ok {
		name = global("a " + nameOf(f))
	}
	return fmt.Errorf("unsupported call of %s with %d arguments", name, len(args))
}

func (u *unpickler) tensor(args tuple) error {
	s, ok := args[0].(storage)
	offset, okOffset := args[1].(int64)
	size, okSize := int64s(args[2])
	stride, okStride := int64s(args[3])
	if !ok || !okOffset || offset < 0 || !okSize || !okStride || len(size) != len(stride) {
		return errors.New("malformed tensor")
	}
	u.push(view{s, offset, size, stride})
	return nil
}

func int64s(x any) ([]int64, bool) {
	t, ok := x.(tuple)
	if len(t) > maxDims {
		return nil, false
	}
	v := make([]int64, len(t))
	for i := range t {
		n, isInt := t[i].(int64)
		if !isInt || n < 0 {
			return nil, false
		}
		v[i] = n
	}
	return v, ok
}

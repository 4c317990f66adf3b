package torchfile

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"sort"
	"strings"

	"mambatrain/autograd/kernel"
	"mambatrain/internal/fault"
	"mambatrain/internal/inputfile"
	"mambatrain/nn/weights"
)

// archive is one file written by torch.save: a zip archive with a pickle that describes the tensors, and one
// uncompressed entry for each storage.
type archive struct {
	path  string
	file  *os.File
	size  int64
	zip   *zip.Reader
	names []string
	views map[string]view
	data  map[string]*zip.File // storages by key
}

// storageTypes are the element types that can be converted. Others are listed with their torch names.
var storageTypes = map[string]weights.DType{"FloatStorage": weights.F32, "HalfStorage": weights.F16, "BFloat16Storage": weights.BF16}

// maxPickle is the maximum size of the description of the tensors, which takes about 200 bytes for each.
const maxPickle = 16 << 20

// openArchive reads the descriptions of all tensors and checks them against the storages.
func openArchive(file string) (*archive, error) {
	f, err := inputfile.Open(file)
	if err != nil {
		return nil, fmt.Errorf("torchfile: %w", err)
	}
	a := &archive{path: file, file: f, views: map[string]view{}, data: map[string]*zip.File{}}
	if err := a.read(); err != nil {
		f.Close()
		return nil, fmt.Errorf("torchfile: %s: %w", file, err)
	}
	return a, nil
}

func (a *archive) read() error {
	info, err := a.file.Stat()
	if err != nil {
		return err
	}
	a.size = info.Size()
	a.zip, err = zip.NewReader(a.file, a.size)
	if errors.Is(err, zip.ErrFormat) {
		return errors.New("is not a zip archive; save files from PyTorch versions before 1.6 again with a newer version")
	}
	if err != nil {
		return err
	}
	var program *zip.File
	seen := map[string]bool{}
	for _, f := range a.zip.File {
		if seen[f.Name] {
			return fmt.Errorf("%s: appears twice", f.Name)
		}
		seen[f.Name] = true
		dir, base := path.Split(f.Name)
		switch {
		case base == "data.pkl" && program != nil:
			return fmt.Errorf("%s and %s: want one data.pkl", program.Name, f.Name)
		case base == "data.pkl":
			program = f
		case base == "byteorder":
			if order, err := readEntry(f, 16); err != nil || strings.TrimSpace(string(order)) != "little" {
				return fmt.Errorf("byte order %q: want little", order)
			}
		case path.Base(path.Clean(dir)) == "data":
			if a.data[base] != nil {
				return fmt.Errorf("%s and %s: want one storage %q", a.data[base].Name, f.Name, base)
			}
			a.data[base] = f
		}
	}
	if program == nil {
		return errors.New("has no data.pkl: it was not written by torch.save")
	}
	// torch.save does not compress. An entry that claims to be larger than the file would decompress to far more than
	// it should contain.
	if program.UncompressedSize64 > uint64(min(a.size, maxPickle)) {
		return fmt.Errorf("%s: %d bytes in a file of %d: too large for a list of tensors", program.Name, program.UncompressedSize64, a.size)
	}
	r, err := program.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	object, err := unpickle(io.LimitReader(r, int64(program.UncompressedSize64)))
	if err != nil {
		return err
	}
	d, ok := object.(*dict)
	if !ok {
		return fmt.Errorf("contains a %s, want a dictionary of tensors", nameOf(object))
	}
	return a.list(d)
}

// list lists the tensors of a state dictionary, which may be nested in "state_dict" or "model".
func (a *archive) list(d *dict) error {
	for _, wrapper := range []string{"state_dict", "model"} {
		if inner, ok := d.values[wrapper].(*dict); ok {
			d = inner
		}
	}
	var faults fault.List
	for _, name := range d.keys {
		x, ok := d.values[name].(view)
		if !ok {
			continue // not a tensor, such as a number stored with the weights
		}
		if err := a.check(x); err != nil {
			faults.Add(name, "%v", err)
		}
		a.names, a.views[name] = append(a.names, name), x
	}
	sort.Strings(a.names)
	if len(faults) > 0 {
		return fmt.Errorf("%d damaged tensors:\n  %s", len(faults), faults.Report())
	}
	if len(a.names) == 0 {
		return errors.New("contains no tensors")
	}
	return nil
}

// check checks a tensor against its storage, and the storage against its bytes. It accepts types that cannot be
// converted: only the caller knows which tensors it needs.
func (a *archive) check(x view) error {
	f, ok := a.data[x.storage.key]
	if !ok {
		return fmt.Errorf("storage %q is missing", x.storage.key)
	}
	size := int64(storageTypes[x.storage.kind].Size())
	if size == 0 {
		return nil
	}
	all := x.storage.elements
	bytes := f.UncompressedSize64
	if f.Method != zip.Store || f.CompressedSize64 != bytes || bytes > uint64(a.size) || all > a.size || bytes != uint64(all*size) {
		return fmt.Errorf("storage %q has %d bytes, want %d elements of %s, uncompressed", x.storage.key, bytes, all, x.storage.kind)
	}
	n, last := int64(1), x.offset // number of elements, and index of the last one
	inside := x.offset <= all
	for i, dim := range x.size {
		if inside = inside && (dim < 1 || n <= all/dim) && (dim < 2 || last < all && x.stride[i] <= (all-1-last)/(dim-1)); !inside {
			break
		}
		n *= dim
		last += max(0, dim-1) * x.stride[i]
	}
	if !inside || n > 0 && last >= all {
		return fmt.Errorf("shape %v with strides %v at offset %d exceeds its storage of %d elements", x.size, x.stride, x.offset, all)
	}
	return nil
}

func (a *archive) tensor(name string) Tensor {
	x := a.views[name]
	y := Tensor{Name: name, DType: storageTypes[x.storage.kind], in: a}
	if y.DType == "" {
		y.DType = weights.DType(x.storage.kind)
	}
	for _, dim := range x.size {
		y.Shape = append(y.Shape, int(dim))
	}
	return y
}

// float32s reads a tensor in row-major order.
func (a *archive) float32s(name string) ([]float32, error) {
	x := a.views[name]
	if storageTypes[x.storage.kind] == "" { // check accepts any shape
		return nil, fmt.Errorf("torchfile: %s: tensor %s: is %s, want FloatStorage, BFloat16Storage, or HalfStorage", a.path, name, x.storage.kind)
	}
	all, err := a.storage(x.storage)
	if err != nil {
		return nil, fmt.Errorf("torchfile: %s: tensor %s: %w", a.path, name, err)
	}
	n := int64(1)
	for _, dim := range x.size {
		n *= dim
	}
	if n == 0 || contiguous(x) {
		return all[x.offset:][:n], nil
	}
	v := make([]float32, n)
	index := make([]int64, len(x.size))
	at := x.offset
	for i := range v {
		v[i] = all[at]
		for d := len(index) - 1; d >= 0; d-- { // increment the index, like an odometer
			index[d]++
			at += x.stride[d]
			if index[d] < x.size[d] {
				break
			}
			at -= x.size[d] * x.stride[d]
			index[d] = 0
		}
	}
	return v, nil
}

func contiguous(x view) bool {
	step := int64(1)
	for d := len(x.size) - 1; d >= 0; d-- {
		if x.size[d] != 1 && x.stride[d] != step {
			return false
		}
		step *= x.size[d]
	}
	return true
}

// storage reads a storage as float32.
func (a *archive) storage(s storage) ([]float32, error) {
	r, err := a.data[s.key].Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	v := make([]float32, s.elements)
	size := storageTypes[s.kind].Size()
	buf, bits := make([]byte, 1<<16), make([]uint16, 1<<15)
	for at := 0; at < len(v); {
		n := min(len(v)-at, len(buf)/size)
		if _, err := io.ReadFull(r, buf[:n*size]); err != nil {
			return nil, truncated(err)
		}
		decode(v[at:at+n], buf[:n*size], bits, storageTypes[s.kind])
		at += n
	}
	if _, err := r.Read(buf[:1]); !errors.Is(err, io.EOF) { // at EOF the zip reader verifies the checksum
		return nil, fmt.Errorf("storage %s: %w", s.key, err)
	}
	return v, nil
}

func decode(v []float32, b []byte, bits []uint16, dtype weights.DType) {
	if dtype == weights.F32 {
		for i := range v {
			v[i] = math.Float32frombits(uint32(b[4*i]) | uint32(b[4*i+1])<<8 | uint32(b[4*i+2])<<16 | uint32(b[4*i+3])<<24)
		}
		return
	}
	for i := range v {
		bits[i] = uint16(b[2*i]) | uint16(b[2*i+1])<<8
	}
	if dtype == weights.BF16 {
		kernel.WidenBF16(v, bits[:len(v)])
	} else {
		kernel.WidenFP16(v, bits[:len(v)])
	}
}

func readEntry(f *zip.File, limit int64) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, limit))
}

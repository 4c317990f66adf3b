package weights

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/nlpodyssey/safetensors"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
	"mambatrain/internal/atomicfile"
	"mambatrain/internal/quant"
)

// Entry is a tensor to be written. Values is called just before the tensor is written, and its result may be
// overwritten afterwards, so only one tensor of a checkpoint is in memory at a time.
type Entry struct {
	Name  string
	Shape []int
	// DType is the type in the file: F32, BF16, or F16 for floating-point values, I64 for integers.
	DType DType
	// Values returns []float32, []uint16 (bits of bfloat16), or []int.
	Values func() (any, error)
	// Blocks, if not nil, returns the tensor's bytes in a GGUF file if they are stored as this type, and nil otherwise.
	Blocks func(as quant.Type) ([]byte, error)
}

// FromParam returns an entry for p under its own name, written as type as. p is read just before it is written.
func FromParam(p *ag.Param, as DType) Entry {
	return Entry{Name: p.Name, Shape: p.Shape(), DType: as, Values: func() (any, error) {
		if p.Value != nil {
			return p.Value.Data(), nil
		}
		return p.Float32Copy(), nil
	}}
}

// FromFloat32s returns an entry for values that are already in memory.
func FromFloat32s(name string, shape []int, v []float32, as DType) Entry {
	return Entry{Name: name, Shape: shape, DType: as, Values: func() (any, error) { return v, nil }}
}

// FromInts returns an I64 entry.
func FromInts(name string, v []int) Entry {
	return Entry{Name: name, Shape: []int{len(v)}, DType: I64, Values: func() (any, error) { return v, nil }}
}

// FromTensor returns an entry that copies a tensor of an open checkpoint under another name and type. A quantized type
// is written as F32, because safetensors files do not support it.
func FromTensor(name string, x Tensor, as DType) Entry {
	as = as.Unquantized()
	return Entry{Name: name, Shape: x.Shape, DType: as, Blocks: x.blocks, Values: func() (any, error) {
		if x.DType == BF16 && as == BF16 {
			v := make([]uint16, x.Size())
			return v, x.readBF16(v)
		}
		return x.Float32s()
	}}
}

// Float32s returns the values of a floating-point tensor.
func (e Entry) Float32s() ([]float32, error) {
	v, err := e.Values()
	if err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case []float32:
		return v, nil
	case []uint16:
		wide := make([]float32, len(v))
		kernel.WidenBF16(wide, v)
		return wide, nil
	}
	return nil, fmt.Errorf("weights: tensor %s: has %T, want floating-point numbers", e.Name, v)
}

// bytes returns the tensor's size in the file.
func (e Entry) bytes() int64 {
	n := int64(e.DType.Size())
	for _, dim := range e.Shape {
		n *= int64(dim)
	}
	return n
}

func (e Entry) encode() ([]byte, error) {
	v, err := e.Values()
	if err != nil {
		return nil, err
	}
	var b []byte
	switch v := v.(type) {
	case []float32:
		b = encodeFloat32s(v, e.DType)
	case []uint16:
		if e.DType == BF16 {
			b = encodeUint16s(v)
			break
		}
		wide := make([]float32, len(v))
		kernel.WidenBF16(wide, v)
		b = encodeFloat32s(wide, e.DType)
	case []int:
		if e.DType == I64 {
			b = encodeInts(v)
		}
	}
	if b == nil && e.bytes() > 0 {
		return nil, fmt.Errorf("weights: tensor %s: cannot write %T as %s", e.Name, v, e.DType)
	}
	if int64(len(b)) != e.bytes() {
		return nil, fmt.Errorf("weights: tensor %s: got %d bytes of values, but shape %v needs %d", e.Name, len(b), e.Shape, e.bytes())
	}
	return b, nil
}

func encodeFloat32s(v []float32, as DType) []byte {
	switch as {
	case F32:
		if littleEndian {
			return float32Bytes(v)
		}
		b := make([]byte, 0, 4*len(v))
		for _, x := range v {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
		}
		return b
	case BF16, F16:
		bits := make([]uint16, len(v))
		if as == BF16 {
			kernel.ToBF16(bits, v)
		} else {
			kernel.ToFP16(bits, v)
		}
		return encodeUint16s(bits)
	}
	return nil
}

func encodeUint16s(v []uint16) []byte {
	b := make([]byte, 0, 2*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint16(b, x)
	}
	return b
}

func encodeInts(v []int) []byte {
	b := make([]byte, 0, 8*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint64(b, uint64(int64(x)))
	}
	return b
}

// view adapts an Entry to the safetensors library. The library's Data cannot return an error, so the error is stored.
type view struct {
	Entry
	err *error
}

func (v view) DType() safetensors.DType {
	d, err := safetensors.ParseDType(string(v.Entry.DType))
	if err != nil && *v.err == nil {
		*v.err = fmt.Errorf("weights: tensor %s: %w", v.Name, err)
	}
	return d
}

func (v view) Shape() []uint64 {
	shape := make([]uint64, len(v.Entry.Shape))
	for i, dim := range v.Entry.Shape {
		shape[i] = uint64(dim)
	}
	return shape
}

func (v view) DataLen() uint64 { return uint64(v.bytes()) }

func (v view) Data() []byte {
	if *v.err != nil {
		return nil
	}
	b, err := v.encode()
	*v.err = err
	return b
}

// Save writes tensors to a safetensors file at path, which appears whole or not at all. metadata is free-form text for
// the header. Torch's format mark is added, because some libraries reject files without it.
func Save(path string, tensors []Entry, metadata map[string]string) error {
	var failed error
	views := make(map[string]view, len(tensors))
	for _, s := range tensors {
		if _, twice := views[s.Name]; twice {
			return fmt.Errorf("weights: %s: tensor %s: is a duplicate", path, s.Name)
		}
		views[s.Name] = view{s, &failed}
	}
	meta := map[string]string{"format": "pt"}
	for k, v := range metadata {
		meta[k] = v
	}
	err := atomicfile.Write(path, func(w io.Writer) error {
		err := safetensors.SerializeToWriter(views, meta, w)
		return errors.Join(failed, err)
	})
	if err != nil && failed == nil {
		err = fmt.Errorf("weights: %w", err)
	}
	return err
}

// DefaultShardBytes is the size above which the Hugging Face libraries split weights into several files.
const DefaultShardBytes = 5_000_000_000

// SaveShards writes a model's weights to dir, in the given order: as model.safetensors or, if that would exceed limit
// bytes, as shards with an index. A tensor larger than limit gets its own file. If limit is 0, the weights are not
// split. Weight files of an earlier save are removed last.
func SaveShards(dir string, tensors []Entry, metadata map[string]string, limit int64) error {
	shards, total := cut(tensors, limit)
	if len(shards) <= 1 {
		if err := Save(filepath.Join(dir, ModelFile), tensors, metadata); err != nil {
			return err
		}
		return removeStale(dir, []string{ModelFile})
	}
	type meta struct {
		Parameters int64 `json:"total_parameters"`
		Size       int64 `json:"total_size"`
	}
	var index struct {
		Metadata  meta              `json:"metadata"`
		WeightMap map[string]string `json:"weight_map"`
	}
	index.Metadata.Size, index.WeightMap = total, map[string]string{}
	keep := []string{IndexFile}
	for i, shard := range shards {
		name := fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		if err := Save(filepath.Join(dir, name), shard, metadata); err != nil {
			return err
		}
		keep = append(keep, name)
		for _, s := range shard {
			index.WeightMap[s.Name] = name
			index.Metadata.Parameters += s.bytes() / int64(s.DType.Size())
		}
	}
	b, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return err
	}
	if err := atomicfile.WriteFile(filepath.Join(dir, IndexFile), append(b, '\n')); err != nil {
		return fmt.Errorf("weights: %w", err)
	}
	return removeStale(dir, keep)
}

// cut distributes the tensors over shards of up to limit bytes and returns the shards and the total size.
func cut(tensors []Entry, limit int64) ([][]Entry, int64) {
	var shards [][]Entry
	total, room := int64(0), int64(0)
	for _, s := range tensors {
		n := s.bytes()
		total += n
		if len(shards) == 0 || limit > 0 && n > room {
			shards, room = append(shards, nil), limit
		}
		room -= n
		last := len(shards) - 1
		shards[last] = append(shards[last], s)
	}
	return shards, total
}

func removeStale(dir string, keep []string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("weights: %w", err)
	}
	for _, e := range entries {
		if name := e.Name(); IsModelFile(name) && !slices.Contains(keep, name) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				return fmt.Errorf("weights: %w", err)
			}
		}
	}
	return nil
}

// shardName matches the names that SaveShards gives to shards.
var shardName = regexp.MustCompile(`^model-[0-9]{5}-of-[0-9]{5}\.safetensors$`)

// IsModelFile reports whether name is a file name that SaveShards uses. Names such as model.safetensors.bak and
// model-backup.safetensors are not.
func IsModelFile(name string) bool {
	return name == ModelFile || name == IndexFile || shardName.MatchString(name)
}

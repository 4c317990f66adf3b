package weights

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"mambatrain/internal/gguf"
)

// stored is a tensor in a GGUF file.
type stored struct {
	gguf.StoredTensor
	isA  bool      // A = −exp(A_log) stands where the checkpoint has A_log
	mean []float32 // the row that follows those of the file, more times
	more int
}

// openGGUF opens a GGUF file, which reads as the checkpoint of a Hugging Face model does: names, shapes and A_log are those that
// the tensors have there. The type of a quantized tensor is llama.cpp's name of it.
func (r *Reader) openGGUF(path string) error {
	f, err := gguf.Open(path)
	if err != nil {
		return fmt.Errorf("weights: %w", err)
	}
	r.files = append(r.files, f)
	for _, t := range f.Tensors {
		name, shape := f.Parameter(t.Tensor)
		if _, twice := r.byName[name]; twice {
			return fmt.Errorf("weights: %s: tensors %s and another are both %s", path, t.Name, name)
		}
		r.byName[name] = Tensor{
			Name: name, DType: DType(t.Type.String()), Shape: shape, path: path,
			stored: &stored{StoredTensor: t, isA: strings.HasSuffix(name, ".A_log")},
		}
		r.names = append(r.names, name)
	}
	slices.Sort(r.names)
	return nil
}

// allBlocks returns the blocks in the mapped file, or a copy of them with those of the rows that follow.
func (s *stored) allBlocks() ([]byte, error) {
	blocks, err := s.Blocks()
	if err != nil || s.more == 0 {
		return blocks, err
	}
	return slices.Concat(blocks, slices.Repeat(s.Type.Encode(s.mean), s.more)), nil
}

// pieces hands the elements to use, a piece of whole blocks at a time.
func (s *stored) pieces(use func(v []float32)) error {
	block := s.Type.Block()
	n := max(1, chunk/4/block) * block
	size := 1
	for _, d := range s.Dims {
		size *= d
	}
	v, b := make([]float32, min(n, size)), make([]byte, s.Type.Bytes(min(n, size)))
	for at := 0; at < size; at += n {
		v := v[:min(n, size-at)]
		b := b[:s.Type.Bytes(len(v))]
		if _, err := s.ReadAt(b, int64(s.Type.Bytes(at))); err != nil {
			return fmt.Errorf("weights: tensor %s: %w", s.Name, err)
		}
		s.Type.Dequantize(v, b)
		if s.isA {
			for i, a := range v {
				v[i] = float32(math.Log(-float64(a)))
			}
		}
		use(v)
	}
	for range s.more {
		use(slices.Clone(s.mean))
	}
	return nil
}

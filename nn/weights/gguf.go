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
	isA  bool      // the file has A = −exp(A_log) instead of A_log
	mean []float32 // a row that follows the rows in the file, repeated more times
	more int
}

// openGGUF opens a GGUF file as if it were a Hugging Face checkpoint: names, shapes, and A_log are converted to those of
// the checkpoint. A quantized tensor's type is llama.cpp's name for it.
func (r *Reader) openGGUF(path string) error {
	f, err := gguf.Open(path)
	if err != nil {
		return fmt.Errorf("weights: %w", err)
	}
	r.files = append(r.files, f)
	for _, t := range f.Tensors {
		name, shape := f.Parameter(t.Tensor)
		if _, twice := r.byName[name]; twice {
			return fmt.Errorf("weights: %s: tensor %s and another are both %s", path, t.Name, name)
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

// allBlocks returns the blocks in the mapped file, or a copy that includes the additional rows.
func (s *stored) allBlocks() ([]byte, error) {
	blocks, err := s.Blocks()
	if err != nil || s.more == 0 {
		return blocks, err
	}
	return slices.Concat(blocks, slices.Repeat(s.Type.Encode(s.mean), s.more)), nil
}

// pieces passes the elements to use in pieces of whole blocks.
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

package weights

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"sort"

	"github.com/nlpodyssey/safetensors"
)

const (
	// maxHeader bounds the JSON that is parsed before the sizes in it can be checked. A header has some 150 bytes for a
	// tensor; parsing takes a small multiple of its length.
	maxHeader = 16 << 20
	// minBytesPerValue bounds how many JSON values a header may hold for its length: {"a":{"dtype":"F32","shape":[1,1],
	// "data_offsets":[0,4]}} has five commas in some 50 bytes. A list of bare digits would take 25 times its length.
	minBytesPerValue = 5
)

// readHeader parses the header of a safetensors file of the given size and checks it: tensors fill the rest of the
// file without gap or overlap, and each one's bytes are what its type and shape ask for.
func readHeader(r io.ReaderAt, size int64) ([]Tensor, map[string]string, error) {
	var length [8]byte
	if size < 8 {
		return nil, nil, fmt.Errorf("not a safetensors file: %d bytes long", size)
	}
	if _, err := r.ReadAt(length[:], 0); err != nil {
		return nil, nil, err
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n > uint64(size-8) || n > maxHeader {
		return nil, nil, fmt.Errorf("not a safetensors file: header of %d bytes in a file of %d", n, size)
	}
	header := make([]byte, n)
	if _, err := r.ReadAt(header, 8); err != nil {
		return nil, nil, err
	}
	if values := bytes.Count(header, []byte{','}); values > len(header)/minBytesPerValue {
		return nil, nil, fmt.Errorf("header: %d values in %d bytes, more than a list of tensors can have", values, n)
	}
	var meta safetensors.Metadata
	if err := json.Unmarshal(header, &meta); err != nil {
		return nil, nil, fmt.Errorf("header: %w", err)
	}
	infos := meta.Tensors()
	tensors := make([]Tensor, 0, len(infos))
	for name, info := range infos {
		x, err := checkedTensor(name, info, size-8-int64(n))
		if err != nil {
			return nil, nil, err
		}
		x.offset += 8 + int64(n)
		tensors = append(tensors, x)
	}
	sort.Slice(tensors, func(i, j int) bool {
		a, b := tensors[i], tensors[j]
		if a.offset != b.offset {
			return a.offset < b.offset
		}
		return a.bytes() < b.bytes() || a.bytes() == b.bytes() && a.Name < b.Name
	})
	end := 8 + int64(n)
	for _, x := range tensors {
		if x.offset != end {
			return nil, nil, fmt.Errorf("tensor %s: begins at byte %d, the one before it ends at %d", x.Name, x.offset, end)
		}
		end += x.bytes()
	}
	if end != size {
		return nil, nil, fmt.Errorf("tensors end at byte %d, the file has %d", end, size)
	}
	return tensors, meta.Metadata(), nil
}

// checkedTensor checks one header entry against the bytes that follow the header; its offset counts from there.
func checkedTensor(name string, info *safetensors.TensorInfo, data int64) (Tensor, error) {
	x := Tensor{Name: name, DType: DType(info.DType.String()), Shape: make([]int, len(info.Shape))}
	from, to := info.DataOffsets[0], info.DataOffsets[1]
	if to < from || to > uint64(data) {
		return x, fmt.Errorf("tensor %s: bytes %d to %d, the file has %d: truncated or damaged", name, from, to, data)
	}
	length := info.DType.Size()
	for i, dim := range info.Shape {
		if dim > math.MaxInt32 || dim > 0 && length > math.MaxInt64/dim {
			return x, fmt.Errorf("tensor %s: shape %v is too large", name, info.Shape)
		}
		length *= dim
		x.Shape[i] = int(dim)
	}
	if length != to-from {
		return x, fmt.Errorf("tensor %s: %s %v takes %d bytes, the header gives it %d", name, x.DType, info.Shape, length, to-from)
	}
	x.offset = int64(from)
	return x, nil
}

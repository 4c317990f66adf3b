package weights

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"sort"

	"mambatrain/internal/pyjson"
)

const (
	// maxHeader bounds the JSON that is parsed before the sizes in it can be checked. A header has about 150 bytes per
	// tensor. Parsing takes a small multiple of its length.
	maxHeader = 16 << 20
	// minBytesPerValue bounds the number of JSON values in a header relative to its length:
	// {"a":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]}} has five commas in about 50 bytes. Parsing a list of
	// single digits would take 25 times its length in memory.
	minBytesPerValue = 5
	// maxTensors bounds the number of tensors in a header. The largest models have about 10,000.
	maxTensors = 1 << 16
	// metadataKey is the only entry of a header that is not a tensor.
	metadataKey = "__metadata__"
)

// readHeader parses and checks the header of a safetensors file of the given size: the tensors must fill the remainder
// of the file without gaps or overlaps, and each size must match its type and shape.
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
		return nil, nil, fmt.Errorf("header: %d values in %d bytes, too many for a list of tensors", values, n)
	}
	tensors, metadata, err := parseHeader(header, size-8-int64(n))
	if err != nil {
		return nil, nil, fmt.Errorf("header: %w", err)
	}
	for i := range tensors {
		tensors[i].offset += 8 + int64(n)
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
			return nil, nil, fmt.Errorf("tensor %s: starts at byte %d, but the previous one ends at %d", x.Name, x.offset, end)
		}
		end += x.bytes()
	}
	if end != size {
		return nil, nil, fmt.Errorf("tensors end at byte %d, but the file has %d bytes", end, size)
	}
	return tensors, metadata, nil
}

// parseHeader parses the JSON object in the header and returns the tensors, with offsets relative to the end of the
// header, and the metadata. data is the number of bytes after the header. A duplicate name is an error, because other
// libraries differ in which of the two they use.
func parseHeader(header []byte, data int64) (tensors []Tensor, metadata map[string]string, err error) {
	seen := map[string]bool{}
	all := json.NewDecoder(bytes.NewReader(header))
	err = object(all, func(dec *json.Decoder, name string) error {
		if seen[name] {
			return fmt.Errorf("tensor %s: appears twice", name)
		}
		seen[name] = true
		if len(seen) > maxTensors {
			return errors.New("more tensors than any model has")
		}
		if name == metadataKey {
			return dec.Decode(&metadata)
		}
		x, err := parseTensor(dec, name, data)
		tensors = append(tensors, x)
		return err
	})
	if _, end := all.Token(); err == nil && !errors.Is(end, io.EOF) {
		err = errors.New("unexpected data after the object")
	}
	return tensors, metadata, err
}

// object calls value for each key of the JSON object that dec reads next. value must consume the key's value.
func object(dec *json.Decoder, value func(dec *json.Decoder, key string) error) error {
	if open, err := dec.Token(); err != nil {
		return pyjson.Explain(nil, err)
	} else if open != json.Delim('{') {
		return errors.New("want an object")
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return pyjson.Explain(nil, err)
		}
		if err := value(dec, key.(string)); err != nil {
			return pyjson.Explain(nil, err)
		}
	}
	_, err := dec.Token()
	return pyjson.Explain(nil, err)
}

// parseTensor parses one entry and checks it against the number of bytes after the header. Its offset is relative to
// the end of the header.
func parseTensor(dec *json.Decoder, name string, data int64) (Tensor, error) {
	x := Tensor{Name: name}
	var shape, offsets []uint64
	seen := map[string]bool{}
	err := object(dec, func(dec *json.Decoder, key string) error {
		if seen[key] {
			return fmt.Errorf("%s appears twice", key)
		}
		seen[key] = true
		switch key {
		case "dtype":
			return dec.Decode(&x.DType)
		case "shape":
			return dec.Decode(&shape)
		case "data_offsets":
			return dec.Decode(&offsets)
		}
		return fmt.Errorf("%q is not a known key of a tensor", key)
	})
	switch {
	case err != nil:
		return x, fmt.Errorf("tensor %s: %w", name, err)
	case len(seen) != 3 || shape == nil || len(offsets) != 2:
		return x, fmt.Errorf("tensor %s: want dtype, shape, and two data_offsets", name)
	case x.DType.Size() == 0:
		return x, fmt.Errorf("tensor %s: unknown type %q", name, x.DType)
	}
	from, to := offsets[0], offsets[1]
	if to < from || to > uint64(data) {
		return x, fmt.Errorf("tensor %s: bytes %d to %d are outside the file of %d bytes, which is truncated or damaged", name, from, to, data)
	}
	length := uint64(x.DType.Size())
	x.Shape = make([]int, len(shape))
	for i, dim := range shape {
		if dim > math.MaxInt32 || dim > 0 && length > math.MaxInt64/dim {
			return x, fmt.Errorf("tensor %s: shape %v is too large", name, shape)
		}
		length *= dim
		x.Shape[i] = int(dim)
	}
	if length != to-from {
		return x, fmt.Errorf("tensor %s: %s %v takes %d bytes, but the header gives it %d", name, x.DType, shape, length, to-from)
	}
	x.offset = int64(from)
	return x, nil
}

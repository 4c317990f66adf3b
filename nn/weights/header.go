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
	// maxHeader bounds the JSON that is parsed before the sizes in it can be checked. A header has some 150 bytes for a
	// tensor; parsing takes a small multiple of its length.
	maxHeader = 16 << 20
	// minBytesPerValue bounds how many JSON values a header may have for its length: {"a":{"dtype":"F32","shape":[1,1],
	// "data_offsets":[0,4]}} has five commas in some 50 bytes. A list of bare digits would take 25 times its length.
	minBytesPerValue = 5
	// maxTensors bounds the tensors of a header. The largest models have some 10,000.
	maxTensors = 1 << 16
	// metadataKey is the entry of a header that is no tensor.
	metadataKey = "__metadata__"
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
			return nil, nil, fmt.Errorf("tensor %s: begins at byte %d, the one before it ends at %d", x.Name, x.offset, end)
		}
		end += x.bytes()
	}
	if end != size {
		return nil, nil, fmt.Errorf("tensors end at byte %d, the file has %d", end, size)
	}
	return tensors, metadata, nil
}

// parseHeader reads the header's object: tensors, whose offsets count from its end and which have data bytes together, and
// the metadata. A name that occurs twice is an error: peers differ in which of the two they take.
func parseHeader(header []byte, data int64) (tensors []Tensor, metadata map[string]string, err error) {
	seen := map[string]bool{}
	all := json.NewDecoder(bytes.NewReader(header))
	err = object(all, func(dec *json.Decoder, name string) error {
		if seen[name] {
			return fmt.Errorf("tensor %s: occurs twice", name)
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
		err = errors.New("something follows the object")
	}
	return tensors, metadata, err
}

// object calls value for each key of the one JSON object that dec reads; value consumes the key's value.
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

// parseTensor reads one entry and checks it against the bytes that follow the header; its offset counts from there.
func parseTensor(dec *json.Decoder, name string, data int64) (Tensor, error) {
	x := Tensor{Name: name}
	var shape, offsets []uint64
	seen := map[string]bool{}
	err := object(dec, func(dec *json.Decoder, key string) error {
		if seen[key] {
			return fmt.Errorf("%s occurs twice", key)
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
		return fmt.Errorf("%q is not a key of a tensor", key)
	})
	switch {
	case err != nil:
		return x, fmt.Errorf("tensor %s: %w", name, err)
	case len(seen) != 3 || shape == nil || len(offsets) != 2:
		return x, fmt.Errorf("tensor %s: want dtype, shape and two data_offsets", name)
	case x.DType.Size() == 0:
		return x, fmt.Errorf("tensor %s: type %q is unknown", name, x.DType)
	}
	from, to := offsets[0], offsets[1]
	if to < from || to > uint64(data) {
		return x, fmt.Errorf("tensor %s: bytes %d to %d, the file has %d: truncated or damaged", name, from, to, data)
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
		return x, fmt.Errorf("tensor %s: %s %v takes %d bytes, the header gives it %d", name, x.DType, shape, length, to-from)
	}
	x.offset = int64(from)
	return x, nil
}

package lora

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"slices"

	"mambatrain/nn/weights"
)

// Fingerprint returns a hash of a model's weight files: of names, shapes and values as float32 numbers. It does not
// depend on how the tensors are spread over files, nor on the type of their elements as long as no value is rounded.
// A small piece of one tensor is in memory at a time.
func Fingerprint(t *weights.Reader) (string, error) {
	h := sha256.New()
	var buf []byte
	for _, name := range t.Names() {
		x, _ := t.Tensor(name)
		fmt.Fprintf(h, "%q %v\n", name, x.Shape)
		err := x.Pieces(func(v []float32) {
			for w := range slices.Chunk(v, 1<<14) {
				buf = buf[:0]
				for _, f := range w {
					buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(f))
				}
				h.Write(buf)
			}
		})
		if err != nil {
			return "", err
		}
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}

// CheckBase says whether the adapter was trained on the weights of the given fingerprint. An adapter without a record of
// its base passes.
func (d *Directory) CheckBase(fingerprint string) error {
	if d.Base == "" || d.Base == fingerprint {
		return nil
	}
	return fmt.Errorf("lora: %s: was trained on other weights than these: its base's hash is %s, theirs is %s", d.Path, d.Base, fingerprint)
}

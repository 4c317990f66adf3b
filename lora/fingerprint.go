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

// Fingerprint returns a hash of a model's weight files: of the names, shapes, and values of the tensors, as float32.
// It does not depend on how the tensors are distributed over files, nor on their types if no values are rounded. Only
// a small part of one tensor is in memory at a time.
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

// CheckBase returns an error if the adapter was trained on weights with a different fingerprint. If the adapter does
// not record its base, CheckBase returns nil.
func (d *Directory) CheckBase(fingerprint string) error {
	if d.Base == "" || d.Base == fingerprint {
		return nil
	}
	return fmt.Errorf("lora: %s: it was trained on different weights: the hash of its base is %s, but that of these weights is %s", d.Path, d.Base, fingerprint)
}

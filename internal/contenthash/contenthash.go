// Package contenthash names things by their contents.
package contenthash

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// Sum returns the SHA-256 of the parts in hex. The length of each part is hashed before it, so moving a boundary
// between parts changes the sum.
func Sum(parts ...[]byte) string {
	h := sha256.New()
	var size [8]byte
	for _, p := range parts {
		binary.LittleEndian.PutUint64(size[:], uint64(len(p)))
		h.Write(size[:])
		h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

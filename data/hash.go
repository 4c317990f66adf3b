package data

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// contentHash returns the SHA-256 of the parts, each with its length before it, in hex.
func contentHash(parts ...[]byte) string {
	h := sha256.New()
	var size [8]byte
	for _, p := range parts {
		binary.LittleEndian.PutUint64(size[:], uint64(len(p)))
		h.Write(size[:])
		h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

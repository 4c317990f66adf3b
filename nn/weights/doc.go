// Package weights reads and writes tensors in safetensors files, whole or in shards.
//
// [Open] reads the header of a file, of a directory or of a sharded checkpoint and checks every size against the file
// before anything is allocated. Tensors are then read one at a time, straight into the memory that keeps them. [Save]
// and [SaveShards] write one tensor at a time; a file appears whole or not at all.
package weights

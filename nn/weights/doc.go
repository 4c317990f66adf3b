// Package weights reads and writes tensors in safetensors files, single or sharded.
//
// [Open] reads the headers of a file, a directory, or a sharded checkpoint and checks every size against the file before
// allocating anything. Tensors are then read one at a time, directly into their destination. [Save] and [SaveShards]
// write one tensor at a time, and each file appears whole or not at all.
package weights

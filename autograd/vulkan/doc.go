// Package vulkan computes on a GPU of any vendor through Vulkan 1.2. It implements [kernel.Device].
//
// A kernel consists of a Go file that prepares the dispatch and a shader next to it that runs on the device. From top
// to bottom:
//
//   - A method such as [Device.RMSNorm] adds its operands to a call and declares whether each is read or written. This
//     tells the recorder which dispatches depend on each other.
//   - The recorder writes commands. It adds a barrier only before a dispatch that accesses what an earlier one wrote,
//     or that writes what an earlier one reads. It submits commands in pieces, so that the device works while the host
//     records.
//   - Shaders receive addresses as push constants. There are no descriptor sets and no limit on the size of a matrix.
//
// Shaders are written in GLSL, compiled to SPIR-V by go generate, and embedded. All sums are split according to shapes
// alone and added in a fixed order, without atomics, so a device always computes the same bits.
//
// On Linux, programs must be built with the tag vulkan, or [Open] fails. They are linked dynamically, without cgo.
package vulkan

// Package vulkan computes on a GPU of any vendor through Vulkan 1.2: it implements [kernel.Device].
//
// A kernel is a Go file, which prepares the dispatch, and a shader next to it, which is what the device runs. From top to bottom:
//
//   - A method such as [Device.RMSNorm] names its operands in a call. Each says whether it is read or written, so that the
//     recorder knows which dispatches depend on each other.
//   - The recorder writes commands, with a barrier only in front of a dispatch that touches what an earlier one wrote, or that
//     writes what an earlier one reads. It submits them in pieces, so that the device is busy while the host records.
//   - Shaders get addresses as push constants. There are no descriptor sets, and no limit on the size of a matrix.
//
// Shaders are GLSL, compiled to SPIR-V by go generate and embedded. All sums are cut by shapes alone and added in a fixed order,
// without atomics: a device computes the same bits every time.
//
// On Linux, programs need the tag vulkan: without it [Open] fails. They are linked dynamically, without cgo.
package vulkan

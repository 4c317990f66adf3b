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
//   - Shaders receive addresses as push constants. There are no descriptor sets, and the only limit on the size of
//     an array is that its elements are indexed by 32-bit integers.
//
// A kernel may consist of several dispatches: those of a selective scan and of a state space duality are listed in
// scan.glsl and ssd.glsl, and a long sum is computed in parts that sum_parts.comp adds. A .glsl file is shared by several
// shaders.
//
// The other files:
//
//   - call.go and recorder.go: from a method to commands, barriers, and submission
//   - compiler.go: from an embedded shader to a pipeline, on first use
//   - memory.go, temporary.go, transfer.go: arrays that represent device memory, memory needed only until the next Run,
//     and copies between arrays and the host
//   - choose.go and device.go: which device is opened, and what it supports
//   - cases.go and selftest.go: every kernel compared with its loop in float64, for tests and doctor --device
//   - profile.go: the time that each shader takes
//
// Shaders are written in GLSL, compiled to SPIR-V by go generate, and embedded. All sums are split according to shapes
// alone and added in a fixed order, without atomics, so a device always computes the same bits.
//
// On Linux, programs must be built with the tag vulkan, or [Open] fails. They are linked dynamically, without cgo.
package vulkan

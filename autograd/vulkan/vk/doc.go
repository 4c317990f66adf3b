// Package vk contains the part of Vulkan 1.2 needed for compute: one queue of one device, buffers accessed by address,
// compute pipelines with push constants, command buffers, timeline semaphores, and timestamps.
//
// Structures have the layout that vulkan_core.h gives them on 64-bit machines. Device functions are looked up with
// vkGetDeviceProcAddr, so that calls bypass the loader. Nothing in this package is safe for concurrent use.
package vk

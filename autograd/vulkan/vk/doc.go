// Package vk contains the part of Vulkan 1.2 needed for compute: one queue of one device, buffers accessed by address,
// compute pipelines with push constants, command buffers, a timeline semaphore and timestamps.
//
// Structures have the layout of vulkan_core.h on 64-bit machines. Functions of a device come from vkGetDeviceProcAddr,
// which bypasses the loader's dispatch. Nothing in this package is safe for concurrent use.
package vk

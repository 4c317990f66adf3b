// Package vk is the part of Vulkan 1.2 that compute needs: one queue of one device, buffers reached by address, compute pipelines
// with push constants, command buffers, a timeline semaphore, timestamps.
//
// Structures have the layout of vulkan_core.h on 64-bit machines. Functions of a device come from vkGetDeviceProcAddr, past
// the loader's dispatch. Nothing here is safe for concurrent use.
package vk

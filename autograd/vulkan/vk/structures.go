package vk

import "unsafe"

// structureType is a VkStructureType.
type structureType uint32

const (
	applicationInfo          structureType = 0
	instanceCreateInfo       structureType = 1
	deviceQueueCreateInfo    structureType = 2
	deviceCreateInfo         structureType = 3
	submitInfo               structureType = 4
	memoryAllocateInfo       structureType = 5
	semaphoreCreateInfo      structureType = 9
	queryPoolCreateInfo      structureType = 11
	bufferCreateInfo         structureType = 12
	shaderModuleCreateInfo   structureType = 16
	pipelineCacheCreateInfo  structureType = 17
	pipelineShaderStageInfo  structureType = 18
	computePipelineInfo      structureType = 29
	pipelineLayoutCreateInfo structureType = 30
	commandPoolCreateInfo    structureType = 39
	commandBufferAllocInfo   structureType = 40
	commandBufferBeginInfo   structureType = 42
	memoryBarrierInfo        structureType = 46
	vulkan12Features         structureType = 51
	subgroupProperties       structureType = 1000094000
	maintenance3Properties   structureType = 1000168000
	physicalDeviceFeatures2  structureType = 1000059000
	physicalDeviceProps2     structureType = 1000059001
	driverProperties         structureType = 1000196000
	memoryAllocateFlagsInfo  structureType = 1000060000
	semaphoreTypeCreateInfo  structureType = 1000207002
	timelineSubmitInfo       structureType = 1000207003
	semaphoreWaitInfo        structureType = 1000207004
	bufferDeviceAddressInfo  structureType = 1000244001
)

// header is the beginning of every extensible structure.
type header struct {
	kind structureType
	_    uint32
	next unsafe.Pointer
}

// cString returns s as a C string.
func cString(s string) *byte {
	b := append([]byte(s), 0)
	return &b[0]
}

// cStrings returns the number of strings and a C array of them, or nil if there are none.
func cStrings(list []string) (uint32, **byte) {
	if len(list) == 0 {
		return 0, nil
	}
	all := make([]*byte, len(list))
	for i, s := range list {
		all[i] = cString(s)
	}
	return uint32(len(list)), &all[0]
}

// goString returns the bytes before the first zero.
func goString(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

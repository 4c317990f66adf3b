package mamba

import (
	"testing"

	"mambatrain/autograd/vulkan/vulkantest"
)

// TestVulkanGolden runs the reference's cases on a Vulkan device, within the CPU's tolerances.
func TestVulkanGolden(t *testing.T) {
	vulkantest.Use(t, vulkantest.Options())
	for name, test := range map[string]func(*testing.T){"forward": TestForward, "gradients": TestGradients, "packed": TestPackedGolden} {
		t.Run(name, test)
	}
}

// TestVulkanFeeder checks that prompts fed on a Vulkan device leave the same state as on the CPU.
func TestVulkanFeeder(t *testing.T) {
	vulkantest.Use(t, vulkantest.Options())
	eachFamily(t, checkDeviceFeeder)
}

package lora_test

import (
	"testing"

	"mambatrain/autograd/vulkan/vulkantest"
)

// TestVulkanGolden runs the reference's cases on a Vulkan device, within the CPU's tolerances.
func TestVulkanGolden(t *testing.T) {
	vulkantest.Use(t, vulkantest.Options())
	t.Run("float", TestGolden)
	t.Run("quantized", TestGolden_quantized)
}

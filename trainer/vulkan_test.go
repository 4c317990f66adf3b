package trainer_test

import (
	"testing"

	"mambatrain/autograd/vulkan/vulkantest"
)

// TestVulkanCurves runs the peers' training runs of one model on a Vulkan device, within the CPU's tolerance.
func TestVulkanCurves(t *testing.T) {
	vulkantest.Use(t, vulkantest.Options())
	t.Run("full", func(t *testing.T) { followFull(t, baseModel(t, ""), curvesOf(""), 0) })
	t.Run("lora", func(t *testing.T) { followLoRA(t, baseModel(t, ""), curvesOf(""), 0) })
}

// TestVulkanResumesBitForBit checks that a run on a Vulkan device has the same bits after a stop.
func TestVulkanResumesBitForBit(t *testing.T) {
	vulkantest.Use(t, vulkantest.Options())
	checkResumes(t, 3)
}

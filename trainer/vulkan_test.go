package trainer_test

import (
	"strings"
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

// TestVulkanResumesBitForBit_validated checks that the validation layer reports nothing about runs whose weights remain
// on the device, are saved, and are restored.
func TestVulkanResumesBitForBit_validated(t *testing.T) {
	vulkantest.Use(t, vulkantest.Options())
	if got := vulkantest.Validate(t, "^TestVulkanResumesBitForBit$"); len(got) > 0 {
		t.Errorf("the validation layer reports\n%.2000s", strings.Join(got, ""))
	}
}

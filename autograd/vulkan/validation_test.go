package vulkan_test

import (
	"strings"
	"testing"

	"mambatrain/autograd/vulkan/vulkantest"
)

// TestValidation checks that the validation layer reports nothing about the kernels, and that it does report deliberate
// mistakes: a wrong call, and two copies to the same place without a barrier between them. The layer does not know which
// memory shaders access, so TestDeclaredAccess and TestConflict check the barriers between dispatches.
func TestValidation(t *testing.T) {
	vulkantest.Use(t, vulkantest.Options())
	for _, staged := range []string{"0", "1"} {
		if got := vulkantest.Validate(t, "^TestValidated$", "MAMBA_TRAIN_DEVICE_STAGED="+staged); len(got) > 0 {
			t.Errorf("staged %s: the validation layer reports\n%.2000s", staged, strings.Join(got, ""))
		}
	}
	for mistake, want := range map[string]string{"call": "VUID-vkBeginCommandBuffer", "hazard": "SYNC-HAZARD-WRITE"} {
		got := strings.Join(vulkantest.Validate(t, "^TestValidated$", "MAMBA_TEST_MISTAKE="+mistake), "")
		if !strings.Contains(got, want) {
			t.Errorf("the validation layer does not report %s:\n%.2000s", want, got)
		}
	}
}

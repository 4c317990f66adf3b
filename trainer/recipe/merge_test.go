package recipe

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"mambatrain/nn/weights"
)

// Writing tensors stops at the first one after the context is canceled.
func TestWritingStopsWhenCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	list := until(ctx, []weights.Entry{weights.FromInts("a", []int{1}), weights.FromInts("b", []int{2})})
	if _, err := list[0].Values(); err != nil {
		t.Error(err)
	}
	cancel()
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if err := weights.Save(path, list, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

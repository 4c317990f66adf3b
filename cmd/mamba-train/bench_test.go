package main

import (
	"context"
	"testing"
	"time"

	"mambatrain/autograd/kernel"
	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/mamba"
)

// TestBench_serialShare checks that parallel work before a step, such as packing weights, is not counted as part of it,
// even if only one step is measured.
func TestBench_serialShare(t *testing.T) {
	kernel.For(2, 1, func(int, int) { time.Sleep(2 * time.Millisecond) })
	b := benchmark{benchFlags: benchFlags{steps: 1}, wait: &cli.Wait{}}
	if err := b.repeat(context.Background(), func() error { time.Sleep(time.Millisecond); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(b.serial) != 1 || b.serial[0] != 1 {
		t.Errorf("serial shares %v of a step without parallel work, want 1", b.serial)
	}
}

// TestBytesPerToken checks that the embedding table counts only if it is also the head.
func TestBytesPerToken(t *testing.T) {
	m, err := mamba.Load("../../mamba/testdata/golden/base/model", mamba.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tied := bytesPerToken(m)
	if m.Untie(); bytesPerToken(m) != tied {
		t.Errorf("%v bytes with a tied head, %v with the same head untied", tied, bytesPerToken(m))
	}
}

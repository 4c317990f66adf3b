package lora

import (
	"context"
	"fmt"
	"math"
	"slices"

	"mambatrain/internal/fault"
	"mambatrain/nn/weights"
)

// UnmergeFiles undoes MergeFiles. It returns the tensors of base, bit for bit, after checking that merged is the
// result of merging the adapters into base. It allows for rounding in merged's types. Any other difference is an
// error that names the tensors: merged has been modified since, or comes from a different base.
func UnmergeFiles(ctx context.Context, merged, base *weights.Reader, tie Tie, adapters ...Term) ([]weights.Entry, error) {
	m, err := MergeFiles(base, MergeOptions{Tie: tie}, adapters...)
	if err != nil {
		return nil, err
	}
	var faults fault.List
	all := merged.Names()
	names, used := indexed(all), make([]bool, len(all))
	for _, s := range m.Entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		i := names.find(s.Name)
		if i < 0 || used[i] {
			faults.Add(s.Name, "is missing")
			continue
		}
		used[i] = true
		problem, err := compare(merged, all[i], s)
		if err != nil {
			return nil, err
		}
		if problem != "" {
			faults.Add(s.Name, "%s", problem)
		}
	}
	for i, name := range all {
		if !used[i] {
			faults.Add(name, "is not in the base")
		}
	}
	if len(faults) > 0 {
		return nil, fmt.Errorf("lora: unmerge: %s is not the result of merging these adapters into this base:\n  %s", merged.Path(), faults.Report())
	}
	var sources []weights.Entry
	for _, name := range base.Names() {
		t, _ := base.Tensor(name)
		sources = append(sources, weights.FromTensor(name, t, t.DType))
	}
	return sources, nil
}

// unmergeTolerance is the maximum error of a merged value relative to the tensor's largest value: one rounding of its
// type plus that of the float32 sum.
var unmergeTolerance = map[weights.DType]float64{weights.F32: 1e-6, weights.BF16: 1.0 / 256, weights.F16: 1.0 / 1024}

// compare returns how a merged tensor in its file differs from its expected value, or "" if it does not.
func compare(merged *weights.Reader, name string, s weights.Entry) (string, error) {
	t, _ := merged.Tensor(name)
	if !slices.Equal(t.Shape, s.Shape) {
		return fmt.Sprintf("is %v, want %v", t.Shape, s.Shape), nil
	}
	got, err := t.Float32s()
	if err != nil {
		return "", err
	}
	want, err := s.Float32s()
	if err != nil {
		return "", err
	}
	largest, off := 0.0, 0.0
	for i, w := range want {
		largest = max(largest, math.Abs(float64(w)))
		off = max(off, math.Abs(float64(w)-float64(got[i])))
	}
	if !(off <= unmergeTolerance[t.DType.Unquantized()]*largest) {
		return fmt.Sprintf("differs by up to %.3g", off), nil
	}
	return "", nil
}

package lora

import "fmt"

// Merge folds the adapter into the model's weights, computing in float32, and removes it from its slots. Parameters
// trained in full replace those of the base. Weights in other forms become float32. A tied head is untied if the table or
// the head changes, because the two then differ; the model must be an [Untier]. The adapter cannot be enabled, trained,
// saved, or restored afterwards.
func (a *Adapter) Merge() error {
	if err := a.checkMerged("merge"); err != nil {
		return err
	}
	if !a.enabled {
		return fmt.Errorf("lora: merge: the adapter is not enabled")
	}
	if len(a.starts) > 0 {
		return errMergeInitialState
	}
	if head := tiedHead(a.model); head.Linear != nil {
		for _, l := range a.layers {
			if l.Weight() != head.Weight() {
				continue
			}
			if err := untie(a.model, head); err != nil {
				return err
			}
			break
		}
	}
	for _, l := range a.layers {
		w := l.Weight()
		w.Unpack()
		if w.IsBF16() {
			w.Value = float32Copy(w)
		}
		l.change().fold(w.Float32s(), w.Shape()[0], w.Shape()[1], 1)
		w.Invalidate()
		l.SetLowRank(nil)
	}
	a.layers, a.overrides, a.enabled, a.merged = nil, nil, false, true
	return nil
}

// checkMerged returns an error if the adapter has been merged into its model and therefore has no parameters left.
func (a *Adapter) checkMerged(action string) error {
	if a.merged {
		return fmt.Errorf("lora: %s: the adapter has been merged into the model", action)
	}
	return nil
}

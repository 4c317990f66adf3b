package trainer

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	ag "mambatrain/autograd"
	"mambatrain/trainer/checkpoint"
)

// mayChange lists the settings that may differ when a run resumes: they control what is written and when, not the
// numbers.
var mayChange = []string{
	"per_device_eval_batch_size", "logging_steps", "logging_dir", "save_steps", "save_total_limit", "sample_prompts",
	"segment_store",
}

// addedLater lists the settings that earlier versions did not record. In their checkpoints, these count as unchanged.
var addedLater = []string{"base", "data.max_length", "data.train.weight", frozenKey, evalDataKey}

// Keys of settings that a configuration does not contain.
const (
	frozenKey   = "frozen weights"
	evalDataKey = "data.eval"
)

// layersKey is the key of a list that earlier versions recorded in the order of the configuration. It is now sorted.
const layersKey = "lora.layers_to_transform"

// changes compares the settings of an earlier session of the run with the current ones.
func (t *Trainer) changes(was map[string]string) []checkpoint.Change {
	return slices.DeleteFunc(checkpoint.Changes(was, t.progress.Settings), func(c checkpoint.Change) bool {
		_, recorded := was[c.Key]
		return !recorded && slices.Contains(addedLater, c.Key) || c.Key == layersKey && slices.Equal(elements(c.Was), elements(c.Is))
	})
}

// elements returns the elements of a list such as [1 0], sorted.
func elements(list string) []string {
	return slices.Sorted(strings.FieldsSeq(strings.Trim(list, "[]")))
}

// identity returns all settings that affect the numbers of a run, as text, by configuration key.
func (t *Trainer) identity() map[string]string {
	id := maps.Clone(t.task.Identity)
	if id == nil {
		id = map[string]string{}
	}
	c := t.config
	c.GradientAccumulationSteps *= t.task.Ranks.Shards
	addSettings(id, reflect.ValueOf(c))
	for _, key := range mayChange {
		delete(id, "train."+key)
	}
	if c.MaxSteps > 0 {
		delete(id, "train.num_train_epochs")
	}
	if len(t.task.Eval) == 0 || !c.evaluationDecides() {
		delete(id, "train.eval_steps")
	} else if data := t.deciding().Fingerprint; data != "" {
		id[evalDataKey] = data
	}
	frozen := slices.DeleteFunc(slices.Clone(t.task.Params), (*ag.Param).Trainable)
	if len(c.Trainable) > 0 && len(frozen) > 0 { // Identity names the base of an adapter
		id[frozenKey] = weightsChecksum(frozen)
	}
	if c.SegmentTokens == 0 {
		delete(id, "train.segment_tokens") // checkpoints written before segments existed do not have it
	}
	id["lora.lora_plus_ratio"] = fmt.Sprint(t.task.LoRAPlusRatio)
	id["seed"] = fmt.Sprint(t.task.Seed)
	id["max_tokens"] = fmt.Sprint(t.task.Rows)
	return id
}

// addSettings adds the fields of a struct under their train section keys.
func addSettings(id map[string]string, section reflect.Value) {
	for i := range section.NumField() {
		if field := section.Type().Field(i); field.Anonymous {
			addSettings(id, section.Field(i))
		} else {
			id["train."+field.Tag.Get("yaml")] = fmt.Sprint(section.Field(i).Interface())
		}
	}
}

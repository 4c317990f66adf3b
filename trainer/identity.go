package trainer

import (
	"fmt"
	"maps"
	"reflect"
)

// mayChange lists the settings that may differ when a run resumes: they control what is written and when, not the
// numbers.
var mayChange = []string{
	"per_device_eval_batch_size", "logging_steps", "logging_dir", "save_steps", "save_total_limit", "sample_prompts",
	"segment_store",
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

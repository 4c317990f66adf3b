package trainer

import (
	"maps"
	"testing"
)

// Checkpoints written by earlier versions contain these texts: a run can resume from them only if they do not change.
func TestIdentity_asRecorded(t *testing.T) {
	want := map[string]string{
		"data.shuffle": "true", "lora.lora_plus_ratio": "16", "max_tokens": "12", "seed": "11",
		"train.adam_beta1": "0.9", "train.adam_beta2": "0.999", "train.adam_epsilon": "1e-08", "train.decay_rule": "mamba",
		"train.early_stopping_patience": "3", "train.eval_steps": "0", "train.gradient_accumulation_steps": "8",
		"train.label_smoothing_factor": "0", "train.learning_rate": "0.05", "train.load_best_model_at_end": "false",
		"train.lr_scheduler_kwargs": "map[lr_end:1e-06 power:2]", "train.lr_scheduler_type": "polynomial",
		"train.max_grad_norm": "1", "train.max_steps": "-1", "train.metric_for_best_model": "eval_short_loss",
		"train.momentum": "0", "train.neftune_noise_alpha": "0", "train.nesterov": "false", "train.num_train_epochs": "3",
		"train.on_nonfinite": "stop", "train.optim": "adamw", "train.per_device_train_batch_size": "8",
		"train.trainable": "[mixer norm_f]", "train.warmup_steps": "2", "train.weight_decay": "0.1",
	}
	r := newRun()
	r.LRSchedulerType, r.LRSchedulerKwargs = "polynomial", map[string]any{"power": 2, "lr_end": 1e-6}
	r.EarlyStoppingPatience, r.Trainable = 3, []string{"mixer", "norm_f"}
	r.task.Identity, r.task.LoRAPlusRatio, r.task.Ranks.Shards = map[string]string{"data.shuffle": "true"}, 16, 4
	tr, err := New(r.Config, r.task)
	if err != nil {
		t.Fatal(err)
	}
	if got := tr.identity(); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}

	// Neither the number of epochs nor eval_steps affects the numbers here.
	r.MaxSteps, r.EarlyStoppingPatience = 14, 0
	delete(want, "train.num_train_epochs")
	delete(want, "train.eval_steps")
	want["train.max_steps"], want["train.early_stopping_patience"] = "14", "0"
	if tr, err = New(r.Config, r.task); err != nil {
		t.Fatal(err)
	}
	if got := tr.identity(); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

package config

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"mambatrain/internal/fault"
	"mambatrain/internal/inputfile"
	"mambatrain/internal/spelling"
	"mambatrain/trainer/recipe"
)

// Key is a configuration key: its path, such as train.learning_rate, and its place in a Config.
type Key struct {
	Path       string
	Place      reflect.Value
	namesFiles bool // its value is or contains paths of files or directories
}

// Keys lists all keys in the order of the file, each with its default.
func Keys() []Key { return keysIn(withSections()) }

// withSections returns the defaults with every optional section present.
func withSections() *recipe.Config {
	c := recipe.Default()
	c.LoRA, c.Distributed = recipe.DefaultLoRA(), recipe.DefaultDistributed()
	return &c
}

// keysIn lists the keys of c. It omits sections that are nil.
func keysIn(c *recipe.Config) []Key { return keysOf("", reflect.ValueOf(c).Elem()) }

func keysOf(prefix string, section reflect.Value) (list []Key) {
	for i := range section.NumField() {
		tag := section.Type().Field(i).Tag
		name, _, _ := strings.Cut(tag.Get("yaml"), ",")
		path, place := prefix+name, section.Field(i)
		if name == "-" {
			continue
		}
		if section.Type().Field(i).Anonymous { // ,inline
			list = append(list, keysOf(prefix, place)...)
			continue
		}
		if place.Kind() == reflect.Pointer {
			if place.IsNil() {
				continue
			}
			place = place.Elem()
		}
		if _, value := place.Interface().(yaml.Marshaler); place.Kind() == reflect.Struct && !value {
			list = append(list, keysOf(path+".", place)...)
			continue
		}
		list = append(list, Key{path, place, tag.Get("path") != ""})
	}
	return list
}

// schema describes the keys that exist.
type schema struct {
	settings map[string]reflect.Type
	sections map[string]bool // "" is the whole document
	paths    []string        // of keys, in order
}

// optionalSections have a different meaning when absent than when empty.
var optionalSections = []string{"lora", "distributed"}

func newSchema() schema {
	s := schema{map[string]reflect.Type{}, map[string]bool{"": true}, nil}
	for _, k := range Keys() {
		s.settings[k.Path] = k.Place.Type()
		s.paths = append(s.paths, k.Path)
		if section, _, ok := strings.Cut(k.Path, "."); ok {
			s.sections[section] = true
		}
	}
	return s
}

// fileSettings is the content of a configuration file: a node for each key, and whether each optional section is present.
type fileSettings struct {
	nodes    map[string]*yaml.Node
	sections map[string]bool
}

// readSource reads the source's text, or its file if no text is given.
func (s schema) readSource(src Source, faults *fault.List) fileSettings {
	if src.Text != nil {
		return s.read(src.Text, src.File, faults)
	}
	return s.readFile(src.File, faults)
}

// readFile reads a configuration file and adds unknown and duplicate keys to faults. If the file cannot be read at all,
// nodes is nil.
func (s schema) readFile(path string, faults *fault.List) fileSettings {
	raw, err := inputfile.ReadAny(context.Background(), path, inputfile.MaxConfig)
	if err != nil {
		faults.Include("", err)
		return fileSettings{}
	}
	return s.read(raw, path, faults)
}

func (s schema) read(raw []byte, origin string, faults *fault.List) fileSettings {
	found := fileSettings{map[string]*yaml.Node{}, map[string]bool{}}
	if err := checkCharacters(raw); err != nil {
		faults.AddFrom(origin, "", "%v", err)
		return fileSettings{}
	}
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	var doc, more yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return found
	} else if err != nil {
		faults.AddFrom(origin, "", "%s", strings.TrimPrefix(err.Error(), "yaml: "))
		return fileSettings{}
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		faults.AddFrom(origin, "", "contains more than one YAML document")
	}
	switch root := resolve(doc.Content[0]); {
	case root.Kind == yaml.MappingNode:
		s.readSection(root, "", origin, &found, faults)
	case !isNull(root):
		faults.AddFrom(origin, "", "%v", mismatch("a mapping of keys to values", root))
		return fileSettings{}
	}
	return found
}

// checkCharacters returns an error for a file that is not UTF-8 text, with the line, which the YAML library does not
// report. The library also reads UTF-16 with a byte order mark.
func checkCharacters(raw []byte) error {
	if bytes.HasPrefix(raw, []byte{0xff, 0xfe}) || bytes.HasPrefix(raw, []byte{0xfe, 0xff}) {
		return nil
	}
	n := 0
	for line := range bytes.Lines(raw) {
		n++
		if !utf8.Valid(line) {
			return fmt.Errorf("line %d: is not UTF-8: save the file as UTF-8", n)
		}
		if i := bytes.IndexFunc(line, isControl); i >= 0 {
			return fmt.Errorf("line %d: contains the control character %U", n, line[i])
		}
	}
	return nil
}

// isControl reports whether r is one of the ASCII characters that YAML does not allow.
func isControl(r rune) bool { return r == 0x7f || r < ' ' && !strings.ContainsRune("\t\n\r", r) }

// readSection adds the keys in a section to found.
func (s schema) readSection(n *yaml.Node, section, origin string, found *fileSettings, faults *fault.List) {
	if n.Kind != yaml.MappingNode {
		faults.AddFrom(origin, section, "%v", mismatch("a mapping of keys to values", n))
		return
	}
	first := map[string]int{}
	for key, v := range pairs(n) {
		path := strings.TrimPrefix(section+"."+key.Value, ".")
		switch {
		case first[path] > 0:
			faults.AddFrom(origin, path, "%s", duplicate(first[path]))
		case s.sections[path] && isNull(v):
			// "lora:" is an empty section, "lora: null" means no section.
			found.sections[path] = v.Value == ""
		case s.sections[path]:
			found.sections[path] = true
			s.readSection(v, path, origin, found, faults)
		case s.settings[path] != nil:
			found.nodes[path] = v
		case len(*faults) > maxHints:
			faults.AddFrom(origin, path, "unknown key")
		default:
			faults.AddFrom(origin, path, "%s", s.unknown(section, key.Value))
		}
		if first[path] == 0 {
			first[path] = key.Line
		}
	}
}

// peerKeys gives advice for keys of other trainers that have no counterpart of the same name.
var peerKeys = map[string]string{
	"task_type":                   "omit it: it is always CAUSAL_LM",
	"warmup_ratio":                "use train.warmup_steps: a value below 1 is a fraction of all steps",
	"eval_strategy":               "use train.eval_steps: 0 evaluates after each epoch",
	"evaluation_strategy":         "use train.eval_steps: 0 evaluates after each epoch",
	"save_strategy":               "use train.save_steps: 0 writes no checkpoints",
	"logging_strategy":            "use train.logging_steps",
	"bf16":                        "use precision: bf16",
	"load_in_8bit":                "use precision: q8",
	"load_in_4bit":                "use precision: q4",
	"fp16":                        "omit it: activations are float32",
	"dataloader_num_workers":      "omit it: texts are tokenized before training, on all cores",
	"gradient_checkpointing":      "it is a top-level key",
	"activation_checkpointing":    "use gradient_checkpointing, a top-level key",
	"report_to":                   "omit it: TensorBoard events are always written to train.logging_dir",
	"per_gpu_train_batch_size":    "use train.per_device_train_batch_size",
	"padding_free":                "omit it: there is no padding",
	"modules_to_not_convert":      "omit it: precision applies to all projections and the embedding table",
	"metric_for_best_model_scope": "use train.metric_for_best_model",
}

// otherNames maps names from other trainers, and names that people guess, to keys of this program.
var otherNames = map[string]string{
	"lr": "train.learning_rate", "rate": "train.learning_rate", "max_lr": "train.learning_rate",
	"min_lr": "train.lr_scheduler_kwargs", "lr_scheduler": "train.lr_scheduler_type", "scheduler": "train.lr_scheduler_type",
	"lr_schedule": "train.lr_scheduler_type", "schedule": "train.lr_scheduler_type", "learning_rate_scheduler": "train.lr_scheduler_type",
	"warmup": "train.warmup_steps", "num_warmup_steps": "train.warmup_steps", "wd": "train.weight_decay",
	"epochs": "train.num_train_epochs", "num_epochs": "train.num_train_epochs", "epoch": "train.num_train_epochs",
	"n_epochs": "train.num_train_epochs", "train_epochs": "train.num_train_epochs",
	"steps": "train.max_steps", "num_steps": "train.max_steps", "max_iters": "train.max_steps", "iters": "train.max_steps",
	"batch": "train.per_device_train_batch_size", "batch_size": "train.per_device_train_batch_size",
	"train_batch_size": "train.per_device_train_batch_size", "micro_batch_size": "train.per_device_train_batch_size",
	"per_device_batch_size": "train.per_device_train_batch_size", "eval_batch_size": "train.per_device_eval_batch_size",
	"gradient_accumulation": "train.gradient_accumulation_steps", "accumulation_steps": "train.gradient_accumulation_steps",
	"grad_accum": "train.gradient_accumulation_steps", "grad_accumulation_steps": "train.gradient_accumulation_steps",
	"optimizer": "train.optim", "optimiser": "train.optim", "betas": "train.adam_beta1", "beta1": "train.adam_beta1",
	"beta2": "train.adam_beta2", "eps": "train.adam_epsilon", "epsilon": "train.adam_epsilon",
	"grad_clip": "train.max_grad_norm", "gradient_clipping": "train.max_grad_norm", "max_norm": "train.max_grad_norm",
	"clip_grad": "train.max_grad_norm", "label_smoothing": "train.label_smoothing_factor", "neftune_alpha": "train.neftune_noise_alpha",
	"log_steps": "train.logging_steps", "log_interval": "train.logging_steps", "log_every": "train.logging_steps",
	"eval_interval": "train.eval_steps", "save_interval": "train.save_steps", "checkpoint_steps": "train.save_steps",
	"patience": "train.early_stopping_patience", "prompts": "train.sample_prompts",
	"alpha": "lora.lora_alpha", "dropout": "lora.lora_dropout", "rank": "lora.r", "lora_r": "lora.r", "lora_rank": "lora.r",
	"lora_target_modules": "lora.target_modules", "targets": "lora.target_modules", "target": "lora.target_modules",
	"modules": "lora.target_modules", "lora_modules": "lora.target_modules", "lora_target": "lora.target_modules",
	"lora_target_linear": "lora.target_modules", "lora_bias": "lora.bias", "rslora": "lora.use_rslora", "dora": "lora.use_dora",
	"field": "data.dataset_text_field", "text_field": "data.dataset_text_field", "text_column": "data.dataset_text_field",
	"text": "data.dataset_text_field", "column": "data.dataset_text_field", "response": "data.completion", "answer": "data.completion",
	"completion_column": "data.completion", "prompt_column": "data.prompt", "messages_column": "data.messages", "chat": "data.messages",
	"dataset": "data.train", "dataset_name": "data.train", "datasets": "data.train", "train_file": "data.train", "path": "data.train",
	"validation": "data.eval", "validation_file": "data.eval", "val": "data.eval", "test": "data.eval",
	"val_set_size": "data.eval_fraction", "test_size": "data.eval_fraction", "val_size": "data.eval_fraction",
	"max_seq_len": "data.max_length", "max_seq_length": "data.max_length", "sequence_len": "data.max_length",
	"seq_len": "data.max_length", "seq_length": "data.max_length", "cutoff_len": "data.max_length", "block_size": "data.max_length",
	"context_length": "data.max_length", "delimiter": "data.csv_delimiter", "sep": "data.csv_delimiter",
	"model_name_or_path": "model", "model_name": "model", "base_model": "model", "pretrained": "model", "model_path": "model",
	"adapter_path": "adapter", "adapter_name_or_path": "adapter", "output": "output_dir", "out_dir": "output_dir",
	"save_dir": "output_dir", "num_threads": "threads", "dtype": "precision", "random_seed": "seed",
}

// maxHints limits the number of unknown keys that get a suggestion. Nobody reads more.
const maxHints = 100

// unknown returns the problem of an unknown key, with a suggestion if there is one.
func (s schema) unknown(section, key string) string {
	siblings, full, same := []string{}, map[string]string{}, ""
	for _, p := range append(s.paths, slices.Sorted(maps.Keys(s.sections))...) {
		in, last := "", p
		if i := strings.LastIndexByte(p, '.'); i >= 0 {
			in, last = p[:i], p[i+1:]
		}
		if in == section && p != "" {
			siblings, full[last] = append(siblings, last), p
		}
		if last == key {
			same = p
		}
	}
	switch near := spelling.Nearest(key, siblings); {
	case same != "":
		return "unknown key; did you mean " + same + "?"
	case peerKeys[key] != "":
		return "unknown key; " + peerKeys[key]
	case near != "":
		return "unknown key; did you mean " + full[near] + "?"
	case otherNames[key] != "":
		return "unknown key; did you mean " + otherNames[key] + "?"
	}
	return "unknown key; configs/reference.yaml lists all keys (mamba-train train --print-config --verbose prints it)" + s.nearestAnywhere(key)
}

// nearestAnywhere searches all sections for a similar key.
func (s schema) nearestAnywhere(key string) string {
	lasts, full := []string{}, map[string]string{}
	for _, p := range s.paths {
		last := p[strings.LastIndexByte(p, '.')+1:]
		lasts, full[last] = append(lasts, last), p
	}
	if near := spelling.Nearest(key, lasts); near != "" {
		return "; did you mean " + full[near] + "?"
	}
	return ""
}

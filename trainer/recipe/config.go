package recipe

import (
	"time"

	"mambatrain/data"
	"mambatrain/internal/format"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/trainer"
	"mambatrain/trainer/mpi"
)

// Config is the complete configuration of a training run; its fields are the keys of the YAML file. [Default] defines
// the values of absent keys; configs/reference.yaml explains each key. Fields tagged path name files: ~ and variables
// in them are expanded.
type Config struct {
	Model                 string             `yaml:"model" path:"true"`
	Tokenizer             string             `yaml:"tokenizer" path:"true"` // "" = the model's tokenizer
	Adapter               string             `yaml:"adapter" path:"true"`
	OutputDir             string             `yaml:"output_dir" path:"true"`
	Seed                  int                `yaml:"seed"`
	Threads               int                `yaml:"threads"` // 0 = all cores
	Device                string             `yaml:"device"`  // cpu, auto, vulkan, or part of a device's name
	Precision             string             `yaml:"precision"`
	MaxTokens             int                `yaml:"max_tokens"`   // 0 = chosen from data and memory
	MemoryLimit           format.Bytes       `yaml:"memory_limit"` // 0 = the machine's memory
	GradientCheckpointing bool               `yaml:"gradient_checkpointing"`
	Init                  string             `yaml:"init"`
	ResizeEmbeddings      bool               `yaml:"resize_embeddings"` // to the tokenizer's size
	Data                  DataConfig         `yaml:"data"`
	Train                 trainer.Config     `yaml:"train"`
	LoRA                  *lora.Config       `yaml:"lora,omitempty"`        // nil = full training
	Distributed           *DistributedConfig `yaml:"distributed,omitempty"` // nil = one process
}

// DataConfig is the data section: the sources of rows and how rows become documents.
type DataConfig struct {
	Train        Sources  `yaml:"train" path:"true"`
	Eval         EvalSets `yaml:"eval" path:"true"`
	EvalFraction float64  `yaml:"eval_fraction"`
	data.Config  `yaml:",inline"`
}

// DistributedConfig is the distributed section: a data-parallel run under MPI.
type DistributedConfig struct {
	Timeout        time.Duration `yaml:"timeout"`
	Reduce         string        `yaml:"reduce"`
	Shards         int           `yaml:"shards"` // 0 = the number of ranks
	BucketMB       int           `yaml:"bucket_mb"`
	ShardOptimizer bool          `yaml:"shard_optimizer"`
	Library        string        `yaml:"library" path:"true"`
}

// Default returns the configuration for an empty file. model, data.train, and output_dir have no default.
func Default() Config {
	return Config{
		Seed:      42,
		Device:    DeviceCPU,
		Precision: string(mamba.Stored),
		Init:      "mamba_ssm",
		Data:      DataConfig{Config: data.Default()},
		Train:     trainer.Default(),
	}
}

// DefaultLoRA returns the settings for an empty lora section: the recipe on the Hugging Face model page.
func DefaultLoRA() *lora.Config {
	c := lora.Default()
	c.LayersToTransform = lora.Layers{}
	return &c
}

// DefaultDistributed returns the settings for an empty distributed section.
func DefaultDistributed() *DistributedConfig {
	return &DistributedConfig{Timeout: mpi.Default().Timeout, Reduce: "ordered", BucketMB: trainer.DefaultBucketBytes >> 20}
}

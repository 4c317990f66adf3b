// Package lora adapts a model with low-rank changes of its weights (LoRA, Hu et al. 2021), which are stored
// separately until they are merged. It reads and writes adapters as Hugging Face PEFT directories.
//
// The package treats a model as an [nn.Module]: slots that can have an adapter and parameters that can be trained in
// full. Only [Directory.Compatibility] and [Directory.WriteGGUF] are specific to Mamba models, because other programs
// treat these specially.
//
//   - [Inject] adds new adapters to the slots that a [Config] selects. The result, an [Adapter], lists the parameters
//     to train and can be saved.
//   - [Open] opens an adapter directory. The [Directory] can be loaded into a model, merged into weight files one
//     tensor at a time, and checked for compatibility with other programs.
//
// # Names
//
// A, B, and the magnitude have the same names as in a PEFT file, such as
// "base_model.model.backbone.layers.0.mixer.in_proj.lora_A.weight". For a Linear (out, in), A is (r, in), B is
// (out, r), and W changes by Scale·B·A. For an Embedding (v, m), A is (r, v), B is (m, r), and the table changes by
// Scale·(B·A)ᵀ.
//
// # Tied heads
//
// An adapter on the embedding table changes only the lookup, and one on a tied head only the logits. Their merged
// weights therefore differ, and merging unties the head.
package lora

// Package lora adapts a model with low-rank changes of its weights (LoRA, Hu et al. 2021), kept apart from them until
// they are merged, and reads and writes such adapters as the directories of Hugging Face PEFT.
//
// The package sees a model as an [nn.Module]: slots that can hold an adapter and parameters that can be trained whole.
// Only [Directory.Compatibility] and [Directory.WriteGGUF] are about Mamba models, since other programs treat those in
// their own ways.
//
//   - [Inject] puts fresh adapters into the slots that a [Config] selects. The result, an [Adapter], lists what trains
//     and saves itself.
//   - [Open] reads an adapter directory; its [Directory] loads into a model, merges into weight files one tensor at a
//     time, and says who else can read it.
//
// # Names
//
// A, B and the magnitude are called what they are called in a PEFT file, such as
// "base_model.model.backbone.layers.0.mixer.in_proj.lora_A.weight". Beside a Linear (out, in), A is (r, in) and B is
// (out, r), and W changes by Scale·B·A; beside an Embedding (v, m), A is (r, v) and B is (m, r), and the table changes
// by Scale·(B·A)ᵀ.
//
// # Tied heads
//
// An adapter on the embedding table changes the look-up only, and one on a tied head the logits only. Their merged
// weights differ therefore, and merging unties the head.
package lora

package gguf

import (
	"regexp"
	"strings"
)

// Keys of chat templates: the default one, the prefix of the others, and the list of their names.
const (
	ChatTemplate  = "tokenizer.chat_template"
	ChatTemplates = "tokenizer.chat_templates"
)

// NFC is the key for whether texts are normalized to NFC before they are split.
const NFC = "tokenizer.ggml.normalizer.nfc"

// layerNames maps the names of a Mamba layer's tensors to llama.cpp's.
var layerNames = map[string]string{
	"norm.weight": "attn_norm.weight", "mixer.in_proj.weight": "ssm_in.weight", "mixer.conv1d.weight": "ssm_conv1d.weight",
	"mixer.conv1d.bias": "ssm_conv1d.bias", "mixer.x_proj.weight": "ssm_x.weight", "mixer.dt_proj.weight": "ssm_dt.weight",
	"mixer.dt_proj.bias": "ssm_dt.bias", "mixer.A_log": "ssm_a", "mixer.D": "ssm_d", "mixer.out_proj.weight": "ssm_out.weight",
	"mixer.dt_bias": "ssm_dt.bias", "mixer.norm.weight": "ssm_norm.weight", // of Mamba-2
}

// modelNames does the same for the tensors outside the layers.
var modelNames = map[string]string{
	"embeddings.weight": "token_embd.weight", "norm_f.weight": "output_norm.weight", "lm_head.weight": "output.weight",
}

// layerTensor matches the number of a layer and the name within it. The prefix depends on the checkpoint.
var layerTensor = regexp.MustCompile(`(?:^|\.)layers\.(\d+)\.(.+)$`)

// TensorName returns llama.cpp's name of a Mamba model's tensor, given its name in a Hugging Face checkpoint, with or
// without the prefix "backbone.". It returns "" if there is none.
func TensorName(name string) string {
	if m := layerTensor.FindStringSubmatch(name); m != nil {
		if short := layerNames[m[2]]; short != "" {
			return "blk." + m[1] + "." + short
		}
		return ""
	}
	for end, short := range modelNames {
		if name == end || strings.HasSuffix(name, "."+end) {
			return short
		}
	}
	return ""
}

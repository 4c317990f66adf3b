// Package mamba implements the Mamba language models in Go: transformers' MambaForCausalLM, FalconMambaForCausalLM,
// and Mamba2ForCausalLM.
//
// [Load] reads a Hugging Face model directory, [New] initializes a model from scratch, and [Model.Save] writes a
// directory that transformers can read. A model can compute in two ways from the same parameters:
//
//   - [Model.Forward] and [Model.Loss] record a graph of package autograd, for training.
//   - [Model.Run], [Model.Score], [Model.Generate], and [Decoder] call the kernels directly, without a graph.
//
// # State
//
// What a Mamba model remembers of the past is a [State] of fixed size: the last inputs of each convolution and the
// state of each scan. It can be read, copied, saved to a file, and continued with any number of tokens. Running a text
// in pieces gives the same result as running it whole. The sequences in a batch are independent, and padding is
// skipped rather than computed, so each sequence gets the same result as on its own.
//
// # Glossary
//
// Gu & Dao 2023 ("the paper"), transformers' config.json, and the code use different names. Sizes:
//
//	paper  config.json        code
//	-----  -----------------  -------------------------
//	L                         rows: tokens of all documents, laid end to end
//	D      hidden_size        m, HiddenSize
//	E·D    intermediate_size  d, IntermediateSize
//	E      expand             Expand
//	N      state_size         n, StateSize
//	R      time_step_rank     r, TimeStepRank
//	       conv_kernel        k, ConvKernel
//	V      vocab_size         v, VocabSize
//	H      num_heads          h, NumHeads       (Mamba-2)
//	P      head_dim           p, HeadDim        (Mamba-2: d = h·p)
//	G      n_groups           g, NGroups        (Mamba-2)
//
// Quantities of the Mamba-1 mixer, in the order in which they are computed (figure 3 and algorithm 2):
//
//	paper         checkpoint            code    shape
//	------------  --------------------  ------  ------------
//	x, z          mixer.in_proj         xz      (rows, 2d)
//	σ(conv(x))    mixer.conv1d          u       (rows, d)
//	Δ, B, C       mixer.x_proj          dtBC    (rows, r+2n)
//	Δ, full rank  mixer.dt_proj         dt      (rows, d), before softplus
//	A             mixer.A_log           A       (d, n), A = −exp(A_log)
//	D             mixer.D               D       (d)
//	h             ssm_states            h       (d, n)
//	y             mixer.out_proj        y       (rows, d)
//
// Quantities of the Mamba-2 mixer (Dao & Gu 2024, section 7):
//
//	paper         checkpoint            code    shape
//	------------  --------------------  ------  --------------
//	z, x, B, C, Δ mixer.in_proj         zxBCdt  (rows, 2d+2gn+h)
//	σ(conv(xBC))  mixer.conv1d          xBC     (rows, d+2gn)
//	Δ             mixer.dt_bias                 (h), added before softplus
//	A             mixer.A_log           A       (h), A = −exp(A_log)
//	D             mixer.D               D       (h)
//	S             ssm_states            S       (h, p, n)
//	y             mixer.norm            y       (rows, d), gated by z
//	              mixer.out_proj
package mamba

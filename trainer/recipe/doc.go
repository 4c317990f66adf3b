// Package recipe runs complete training runs: from a [Config], which mirrors the YAML of the command line, to a
// directory with the trained model or adapter.
//
//	config := recipe.Default()
//	config.Model = "state-spaces/mamba-130m-hf"
//	config.Data.Train = recipe.Sources{{Path: "Abirate/english_quotes:train"}}
//	config.Data.DatasetTextField = "quote"
//	config.LoRA = recipe.DefaultLoRA()
//	config.OutputDir = "runs/quotes"
//	result, err := recipe.Train(ctx, config, recipe.Options{})
//
// [Train] loads the model, adapter, and data, estimates memory, compiles the program, trains, and writes the result.
// [Prepare] stops before the first step, for callers that want to inspect the [Run] first.
//
// [LoadModel] loads the result of a run, or any other model with an optional adapter. A [Model] continues texts, chats,
// evaluates datasets, and answers multiple-choice questions; [OpenMerge] merges adapters into their base.
//
// The package prints nothing. Progress, warnings, and downloads are reported through [Options]. Faults in a
// configuration are returned as a list, each with the path of its setting.
//
// Nearly all memory of a model is in use for the whole run, so a program that first calls debug.SetGCPercent(10) stays
// close to the estimate while weights are read and packed.
package recipe

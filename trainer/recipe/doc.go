// Package recipe carries out whole training runs: from a [Config], which mirrors the YAML of the command line, to a
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
// [Train] loads model, adapter and data, estimates memory, compiles the program, trains and publishes. [Prepare] stops
// before the first step, for callers that want to look at the [Run] first.
//
// [LoadModel] loads what a run has written, or any other model with an adapter in it. A [Model] continues texts, chats, evaluates
// data sets and answers multiple-choice questions; [OpenMerge] merges adapters into their base.
//
// The package prints nothing. Progress, warnings and downloads are reported through [Options]. Faults of a configuration
// come as a list, each with the path of its setting.
//
// Nearly all memory of a model is in use for the whole run: a program that calls debug.SetGCPercent(10) first stays close
// to the estimate while weights are read and packed.
package recipe

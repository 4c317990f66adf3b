// Package data turns files into the micro-batches that training reads: rows of Parquet, Arrow, JSON, CSV, or text become
// token ids and labels, and those become documents laid end to end on one axis.
//
//	file ─► blocks of rows ─► text, prompt + completion, chat, or ids ─► ids and labels ─► Dataset ─► Loader ─► Batch
//	  data/source                  templates, data/tokenizer                 kept or cached
//
// Start with [Default], which returns the settings, and [Open], which reads, renders, and tokenizes inputs in parallel,
// using memory that does not grow with them:
//
//	tok, err := tokenizer.Load("models/mamba-130m-hf")
//	c := data.Default()
//	c.Prompt, c.Completion = "question", "{{.answer}}"
//	d, err := data.Open(ctx, []source.Input{{Path: "pairs.jsonl"}}, tok, c)
//	l, err := d.Loader(8, seed)
//	b := l.At(0, 0) // the first micro-batch of the first epoch
//
// The order of micro-batches depends only on the data, settings, and seed. Labels align with tokens; the loss shifts
// them by one.
//
// Package source reads files and formats, package tokenizer handles texts and token ids, and package hub downloads.
package data

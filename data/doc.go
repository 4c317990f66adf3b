// Package data turns files into the micro-batches that training reads: rows of Parquet, Arrow, JSON, CSV or text become
// token ids and labels, and those become documents laid end to end on one axis.
//
//	file ─► blocks of rows ─► text, prompt + completion, chat or ids ─► tokens and labels ─► store ─► Loader ─► Batch
//
// LoadTokenizer reads tokenizer.json; Open reads, renders and tokenises a source into a Dataset, in parallel and in
// memory that does not grow with it; Dataset.Loader gives out its micro-batches in an order that depends only on seed
// and epoch. Labels line up with tokens: the shift by one is the loss's.
package data

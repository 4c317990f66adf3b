// Package source reads the files of datasets: Parquet, Arrow, JSON, CSV, and text, optionally compressed. It is the
// only package that imports Arrow.
//
// An [Input] names files by a path, a glob, a directory, or a Hugging Face id. Start with [Rows], which reads all
// columns row by row:
//
//	for row, err := range source.Rows(ctx, []source.Input{{Path: "quotes.csv"}}, source.Config{}) {
//		…
//		fmt.Println(row["author"])
//	}
//
// For speed, find the files with [Resolve] and read blocks of rows with a [Reader]: [Block.Read] decodes a block on any
// goroutine, and each [Column] is read in the required form.
//
// To add a format, write a Reader next to csv.go and name it in source.go.
//
// [Tokens] are documents after tokenization. Writers store them as JSON lines, as Parquet, or as an Arrow file that
// [ParseArrowTokens] reads in place.
package source

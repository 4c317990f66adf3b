// Package source reads the files of data sets: Parquet, Arrow, JSON, CSV and text, also compressed by gzip. It is the only
// package that knows Arrow.
//
// An [Input] names files by a path, a glob, a directory or a Hugging Face id. Begin with [Rows], which reads all columns row
// by row:
//
//	for row, err := range source.Rows(ctx, []source.Input{{Path: "quotes.csv"}}, source.Config{}) {
//		…
//		fmt.Println(row["author"])
//	}
//
// Whoever wants speed finds the files by [Resolve] and reads blocks of rows with a [Reader]: [Block.Read] decodes a block, on
// any goroutine, and each [Column] is read in the form that is wanted.
//
// To add a format, write a Reader next to csv.go and name it in source.go.
//
// [Tokens] are documents after tokenization. Writers store them as JSON lines, as Parquet, or as the Arrow file that
// [ParseArrowTokens] reads in place.
package source

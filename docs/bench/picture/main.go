// Picture draws the figures in the documentation from the records in docs/bench.
//
//	go run ./docs/bench/picture bars < docs/bench/peers.md > docs/peers.svg
//	go run ./docs/bench/picture lines < docs/bench/lengths.md > docs/lengths.svg
//
// Bars reads the table of .ci/peers, with tokens per second and peak memory. Lines reads a table whose first column is
// tokens and draws a line, in GiB, for each other column.
package main

import (
	"io"
	"log"
	"os"
)

func main() {
	log.SetFlags(0)
	pictures := map[string]func(io.Writer, io.Reader) error{"bars": drawBars, "lines": drawLines}
	if len(os.Args) != 2 || pictures[os.Args[1]] == nil {
		log.Fatal("usage: picture bars|lines < record > picture.svg")
	}
	if err := pictures[os.Args[1]](os.Stdout, os.Stdin); err != nil {
		log.Fatal("picture: ", err)
	}
}

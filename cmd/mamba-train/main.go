// Mamba-train trains, fine-tunes, evaluates, runs, and exports Mamba language models on any CPU.
package main

import (
	"os"
)

func main() { os.Exit(run(os.Args[1:])) }

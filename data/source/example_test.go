package source_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"mambatrain/data/source"
)

func ExampleRows() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "quotes.csv")
	if err := os.WriteFile(path, []byte("author,quote\nA. Nonymous,Be brief.\n,Again.\n"), 0o666); err != nil {
		log.Fatal(err)
	}
	for row, err := range source.Rows(context.Background(), []source.Input{{Path: path}}, source.Config{}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%q by %q\n", row["quote"], row["author"])
	}
	// Output:
	// "Be brief." by "A. Nonymous"
	// "Again." by ""
}

package lora_test

import (
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"

	"mambatrain/lora"
	"mambatrain/mamba"
)

// Add adapters to a model, save them in PEFT's format, and merge them into the weights.
func Example() {
	m, err := mamba.Load(filepath.Join("testdata", "models", "base"), mamba.LoadOptions{})
	if err != nil {
		log.Fatal(err)
	}
	c := lora.Default()
	c.R, c.LoraAlpha = 4, 8
	adapted, err := lora.Inject(m, c, rand.New(rand.NewPCG(42, 0)))
	if err != nil {
		log.Fatal(err)
	}
	for _, match := range adapted.Matches {
		fmt.Printf("%s: %d modules\n", match.Pattern, match.Count)
	}
	trainable, all := adapted.Share()
	fmt.Printf("%d of %d parameters train\n", trainable, all)

	dir, err := os.MkdirTemp("", "adapter")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := adapted.Save(dir, lora.SaveOptions{BaseModel: "testdata/models/base"}); err != nil {
		log.Fatal(err)
	}
	if err := adapted.Merge(); err != nil {
		log.Fatal(err)
	}
	fmt.Println("head tied after the merge:", m.Tied())
	// Output:
	// embeddings: 1 modules
	// in_proj: 3 modules
	// x_proj: 3 modules
	// out_proj: 3 modules
	// 9568 of 126944 parameters train
	// head tied after the merge: false
}

// An adapter can be removed from its model and restored.
func ExampleAdapter_Disable() {
	m, err := mamba.Load(filepath.Join("testdata", "models", "base"), mamba.LoadOptions{})
	if err != nil {
		log.Fatal(err)
	}
	a, err := lora.Inject(m, lora.Default(), rand.New(rand.NewPCG(42, 0)))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("adapted:", m.Layers[0].Mixer.(*mamba.Mamba1).InProj.LowRank != nil)
	a.Disable()
	fmt.Println("adapted:", m.Layers[0].Mixer.(*mamba.Mamba1).InProj.LowRank != nil)
	if err := a.Enable(); err != nil {
		log.Fatal(err)
	}
	fmt.Println("adapted:", m.Layers[0].Mixer.(*mamba.Mamba1).InProj.LowRank != nil)
	// Output:
	// adapted: true
	// adapted: false
	// adapted: true
}

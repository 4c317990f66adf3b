package recipe_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"mambatrain/trainer"
	"mambatrain/trainer/recipe"
)

// This example trains a LoRA adapter on a file of texts, from the configuration to an adapter that peft loads, and
// continues a text with it.
func Example() {
	dir, err := os.MkdirTemp("", "recipe")
	check(err)
	defer os.RemoveAll(dir)
	rows := filepath.Join(dir, "rows.txt")
	check(os.WriteFile(rows, []byte("A friend is a second sky.\n"), 0o666))

	config := recipe.Default()
	config.Model = "../../configs/quickstart/base"
	config.Data.Train = recipe.Sources{{Path: rows}}
	config.Train.MaxSteps, config.Train.LearningRate = 20, 1e-2
	config.LoRA = recipe.DefaultLoRA()
	config.OutputDir = filepath.Join(dir, "adapter")
	result, err := recipe.Train(context.Background(), config, recipe.Options{Observer: func(e trainer.Event) {
		switch e := e.(type) {
		case trainer.StepEvent:
			if e.Step%10 == 0 {
				fmt.Println("step", e.Step)
			}
		case trainer.FinishEvent:
			fmt.Println("finished")
		}
	}})
	check(err)
	fmt.Println("learned:", result.TrainLoss < 4)

	model, err := recipe.LoadModel(context.Background(), "", config.OutputDir, recipe.LoadOptions{}) // with its base
	check(err)
	prompt, err := model.Encode("A friend")
	check(err)
	texts, err := model.Continue(context.Background(), [][]int{prompt}, recipe.TextOptions{GenerateOptions: model.DefaultGenerate()})
	check(err)
	fmt.Printf("%q\n", texts[0].Text)
	// Output:
	// step 10
	// step 20
	// finished
	// learned: true
	// " is a second sky."
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

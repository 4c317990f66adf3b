package trainer_test

import (
	"fmt"
	"math"

	"mambatrain/trainer"
)

// A custom schedule is a function from the step, starting at 0, to a fraction of the learning rate.
func ExampleTask_schedule() {
	const warm, all = 10, 100
	s := trainer.Default()
	s.LearningRate, s.MaxSteps = 2e-3, all
	task := trainer.Task{
		Schedule: func(step int) float64 { // linear rise, then 1 − √ decay
			if step < warm {
				return float64(step) / warm
			}
			return 1 - math.Sqrt(float64(step-warm)/(all-warm))
		},
		Identity: map[string]string{"schedule": "1-sqrt"}, // a run does not resume under another schedule
	}
	for _, step := range []int{0, 5, 10, 50, 99} {
		fmt.Printf("step %d: %.2e\n", step, s.LearningRate*task.Schedule(step))
	}
	// Output:
	// step 0: 0.00e+00
	// step 5: 1.00e-03
	// step 10: 2.00e-03
	// step 50: 6.67e-04
	// step 99: 1.11e-05
}

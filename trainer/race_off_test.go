//go:build !race

package trainer_test

const raceDetector = false

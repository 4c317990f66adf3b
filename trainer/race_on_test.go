//go:build race

package trainer_test

// raceDetector says that the tests run under it, many times slower.
const raceDetector = true

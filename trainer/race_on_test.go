//go:build race

package trainer_test

// raceDetector reports whether tests run under the race detector, which makes them many times slower.
const raceDetector = true

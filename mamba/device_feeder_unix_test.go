//go:build unix

package mamba

import (
	"testing"

	"mambatrain/autograd/devicetest"
)

func TestDeviceFeeder(t *testing.T) {
	eachFamily(t, func(t *testing.T, m *Model) {
		devicetest.Use(t)
		checkDeviceFeeder(t, m)
	})
}

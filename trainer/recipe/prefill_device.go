package recipe

import (
	"fmt"

	"mambatrain/autograd/kernel"
	"mambatrain/mamba"
)

// promptRows is the number of rows of a prompt that a device computes at once.
const promptRows = 512

// DeviceFeeder returns a feeder of prompts on the process's device, or nil, which means the CPU, if there is no device
// that can run the model. If it cannot, warn is called with the reason.
func DeviceFeeder(m *mamba.Model, warn func(error)) mamba.Feeder {
	if kernel.CurrentDevice() == nil {
		return nil
	}
	f, err := m.NewDeviceFeeder(promptRows)
	if err != nil {
		warn(fmt.Errorf("prompts run on the CPU: %w", err))
		return nil
	}
	return f
}

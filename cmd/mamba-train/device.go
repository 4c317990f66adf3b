package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"mambatrain/autograd/kernel"
	"mambatrain/autograd/vulkan"
	"mambatrain/trainer/recipe"
)

// deviceFlag defines --device for a command that runs a graph.
func (a *app) deviceFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.device, "device", recipe.DeviceCPU, "device to compute on: cpu, auto (a GPU if one is usable), vulkan (any GPU), or part of a GPU's name; experimental")
}

// openDevice opens the device named by --device or the configuration and makes it the current device of the process.
func (a *app) openDevice(name string) error {
	if name == recipe.DeviceCPU || kernel.CurrentDevice() != nil {
		return nil
	}
	d, err := vulkan.Open(vulkan.FromEnvironment(partOfName(name)))
	switch {
	case err == nil:
		kernel.UseDevice(d)
		return nil
	case name == recipe.DeviceAuto:
		a.Say("%-9s CPU (%v)", "device", err)
		return nil
	}
	return fmt.Errorf("device %s: %w", name, err)
}

// openEvalDevice opens the device for an evaluation.
func (a *app) openEvalDevice(device string, f evalFlags) error {
	if f.choices && device != recipe.DeviceCPU {
		a.Say("%-9s CPU (choices are always scored on the CPU)", "device")
		return nil
	}
	return a.openDevice(device)
}

// partOfName returns the substring that the device's name must contain.
func partOfName(device string) string {
	if device == recipe.DeviceAuto || device == recipe.DeviceVulkan {
		return ""
	}
	return device
}

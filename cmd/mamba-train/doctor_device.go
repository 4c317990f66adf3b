package main

import (
	"fmt"

	"mambatrain/autograd/vulkan"
	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/internal/fault"
	"mambatrain/internal/format"
)

// deviceReport is the result of doctor --device.
type deviceReport struct {
	Devices []deviceFound `json:"devices"`
	Tested  string        `json:"tested,omitempty"` // the device that ran the checks
	Checks  []deviceCheck `json:"checks,omitempty"`
	Error   string        `json:"error,omitempty"` // why no device was tested
}

type deviceFound struct {
	Name    string `json:"name"`
	Driver  string `json:"driver"`
	Kind    string `json:"kind"`
	Version string `json:"vulkan_version"`
	Memory  uint64 `json:"memory_bytes"`
	Refused string `json:"refused,omitempty"` // why it cannot be used
}

type deviceCheck struct {
	Name       string     `json:"name"`
	OK         bool       `json:"ok"`
	Difference cli.Finite `json:"difference"` // largest, relative to the largest value
	Error      string     `json:"error,omitempty"`
}

// checkDevice lists the machine's devices and runs every kernel on the one named by --device.
func checkDevice(name string) (*deviceReport, error) {
	o := vulkan.FromEnvironment(partOfName(name))
	r := &deviceReport{Devices: []deviceFound{}}
	list, err := vulkan.List(o)
	for _, f := range list {
		r.Devices = append(r.Devices, deviceFound(f))
	}
	var d *vulkan.Device
	if err == nil {
		d, err = vulkan.Open(o)
	}
	if err != nil {
		r.Error = err.Error()
		return r, fmt.Errorf("device %s: %w", name, err)
	}
	defer d.Close()
	r.Tested = d.Name()
	return r, r.check(d)
}

// check runs the self-test of the kernels and returns the failures.
func (r *deviceReport) check(d *vulkan.Device) error {
	var errs []error
	for _, c := range vulkan.SelfTest(d) {
		k := deviceCheck{Name: c.Name, OK: c.OK && c.Err == nil, Difference: cli.Finite(c.Difference)}
		switch {
		case c.Err != nil:
			k.Error = c.Err.Error()
			errs = append(errs, fmt.Errorf("the %s kernel on %s: %w", c.Name, r.Tested, c.Err))
		case !c.OK:
			errs = append(errs, fmt.Errorf("the %s kernel on %s differs from its reference loop by %.2g; do not train on this device", c.Name, r.Tested, c.Difference))
		}
		r.Checks = append(r.Checks, k)
	}
	return fault.Join(errs...)
}

// text formats the report as lines of doctor's table.
func (r *deviceReport) text(line func(label, format string, args ...any)) {
	for _, d := range r.Devices {
		usable := "usable"
		if d.Refused != "" {
			usable = "refused: " + d.Refused
		}
		line("device", "%s, %s, %s, Vulkan %s, %v: %s", d.Name, d.Kind, d.Driver, d.Version, format.Bytes(int64(d.Memory)), usable)
	}
	if r.Error != "" {
		line("device", "none tested: %s", r.Error)
		return
	}
	line("tested", "%s", r.Tested)
	for _, c := range r.Checks {
		verdict := "ok"
		switch {
		case c.Error != "":
			verdict = c.Error
		case !c.OK:
			verdict = "WRONG"
		}
		line("kernel", "%s, difference %.1e: %s", verdict, float64(c.Difference), c.Name)
	}
}

package vulkan

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"mambatrain/autograd/vulkan/vk"
)

// profile adds up how long the dispatches of each shader take.
type profile struct {
	timing     bool
	timestamps vk.Timestamps
	names      []string // of the dispatches in the current piece
	spent      map[string]ShaderTime
}

// ShaderTime is how long the dispatches of one shader took.
type ShaderTime struct {
	Shader     string
	Dispatches int
	Time       time.Duration
}

// StartProfile makes the device take times from now on. It waits for each piece, and is slower.
func (d *Device) StartProfile() error {
	if d.physical.Limits.TimestampBits == 0 {
		return d.failed("profile", errNoTimestamps)
	}
	t, err := d.vk.NewTimestamps(pieceDispatches + 1)
	if err != nil {
		return d.failed("profile", err)
	}
	d.timestamps, d.timing, d.spent = t, true, map[string]ShaderTime{}
	return nil
}

var errNoTimestamps = errors.New("the device takes no times")

// Profile returns the times since StartProfile, the longest first.
func (d *Device) Profile() []ShaderTime {
	var list []ShaderTime
	for _, s := range d.spent {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b ShaderTime) int {
		return cmp.Or(cmp.Compare(b.Time, a.Time), cmp.Compare(a.Shader, b.Shader))
	})
	return list
}

// startTimes takes the time at which a piece begins.
func (d *Device) startTimes(p *piece) {
	if d.timing {
		p.ResetTimestamps(d.timestamps, pieceDispatches+1)
		p.Timestamp(d.timestamps, 0)
	}
}

// timed takes the time after a dispatch. A barrier keeps dispatches apart.
func (d *Device) timed(p *piece, name string) {
	if d.timing {
		p.Barrier()
		d.names = append(d.names, name)
		p.Timestamp(d.timestamps, len(d.names))
	}
}

// addTimes waits for a piece and adds its times.
func (d *Device) addTimes(p *piece) {
	if !d.timing || len(d.names) == 0 {
		return
	}
	if err := d.wait(p.point); err != nil {
		d.fail("wait", err)
		return
	}
	ticks, err := d.vk.Times(d.timestamps, len(d.names)+1)
	if err != nil {
		d.fail("profile", err)
		return
	}
	for i, name := range d.names {
		s := d.spent[name]
		s.Shader = name
		s.Dispatches++
		s.Time += time.Duration(float64(ticks[i+1]-ticks[i]) * float64(d.physical.Limits.TimestampPeriod))
		d.spent[name] = s
	}
	d.names = d.names[:0]
}

package vulkan

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"mambatrain/autograd/vulkan/vk"
)

// profile sums the time that the dispatches of each shader take.
type profile struct {
	timing     bool
	timestamps vk.Timestamps
	taken      []taken // in the current piece
	spent      map[string]shaderTime
}

// taken is a dispatch followed by a timestamp.
type taken struct {
	shader     string
	operations float64
}

// shaderTime is the total time of one shader's dispatches.
type shaderTime struct {
	Shader     string
	Dispatches int
	Time       time.Duration
	Operations float64 // arithmetic operations of products; 0 for other shaders
}

// startProfile turns on timing for TestProfile. The device then waits for each piece, which is slower.
func (d *Device) startProfile() error {
	if d.physical.Limits.TimestampBits == 0 {
		return d.failed("profile", errNoTimestamps)
	}
	t, err := d.vk.NewTimestamps(pieceDispatches + 1)
	if err != nil {
		return d.failed("profile", err)
	}
	d.timestamps, d.timing, d.spent = t, true, map[string]shaderTime{}
	return nil
}

var errNoTimestamps = errors.New("the device does not support timestamps")

// shaderTimes returns the times since startProfile, longest first.
func (d *Device) shaderTimes() []shaderTime {
	var list []shaderTime
	for _, s := range d.spent {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b shaderTime) int {
		return cmp.Or(cmp.Compare(b.Time, a.Time), cmp.Compare(a.Shader, b.Shader))
	})
	return list
}

// startTimes records the time at which a piece begins.
func (d *Device) startTimes(p *piece) {
	if d.timing {
		p.ResetTimestamps(d.timestamps, pieceDispatches+1)
		p.Timestamp(d.timestamps, 0)
	}
}

// timed records the time after a dispatch. A barrier separates dispatches.
func (d *Device) timed(p *piece, shader string, operations float64) {
	if d.timing {
		p.Barrier()
		d.taken = append(d.taken, taken{shader, operations})
		p.Timestamp(d.timestamps, len(d.taken))
	}
}

// addTimes waits for a piece and adds its times.
func (d *Device) addTimes(p *piece) {
	if !d.timing || len(d.taken) == 0 {
		return
	}
	if err := d.wait(p.point); err != nil {
		d.fail("wait", err)
		return
	}
	ticks, err := d.vk.Times(d.timestamps, len(d.taken)+1)
	if err != nil {
		d.fail("profile", err)
		return
	}
	for i, k := range d.taken {
		s := d.spent[k.shader]
		s.Shader = k.shader
		s.Dispatches++
		s.Operations += k.operations
		s.Time += time.Duration(float64(ticks[i+1]-ticks[i]) * float64(d.physical.Limits.TimestampPeriod))
		d.spent[k.shader] = s
	}
	d.taken = d.taken[:0]
}

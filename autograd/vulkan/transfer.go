package vulkan

import (
	"math"
	"unsafe"

	"mambatrain/autograd/kernel"
)

// Upload implements [kernel.Device].
func (d *Device) Upload(dst, src []float32) {
	if d.idle.Load() && d.unified {
		copy(dst, src)
		return
	}
	for len(src) > 0 && !d.failing() {
		n := min(len(src), stagingBlock)
		b, at := d.stage(n)
		if b == nil {
			return
		}
		copy(b.hostElements()[at:at+n], src)
		d.copyIn(dst[:n], b, at)
		dst, src = dst[n:], src[n:]
	}
}

// Download implements [kernel.Device].
func (d *Device) Download(dst, src []float32) error {
	if err := d.Run(); err != nil {
		return err
	}
	if d.unified {
		copy(dst, src)
		return nil
	}
	for len(dst) > 0 {
		n := min(len(dst), stagingBlock)
		b, at := d.stage(n)
		if b != nil {
			d.copyOut(b, at, src[:n])
		}
		if err := d.Run(); err != nil {
			return err
		}
		copy(dst, b.hostElements()[at:at+n])
		dst, src = dst[n:], src[n:]
	}
	return nil
}

// hostElements returns the whole block as the host sees it.
func (b *block) hostElements() []float32 { return unsafe.Slice((*float32)(b.mapped), b.Size/4) }

// stage returns n elements of staging memory, or nil after an error. If none is free, it waits for the device.
func (d *Device) stage(n int) (*block, int) {
	if s := &d.staging; s.at == maxStaging-1 && len(s.blocks) == maxStaging && s.used+n > stagingBlock {
		d.submit()
		if err := d.wait(d.submitted); err != nil {
			d.fail("wait", err)
			return nil, 0
		}
		s.reset()
	}
	b, at, err := d.staging.take(n, stagingBlock, func(n int) (*block, error) { return d.newMapped(n, d.hostMemory) })
	if err != nil {
		d.fail("staging memory", err)
		return nil, 0
	}
	return b, at
}

// maxStaging is the maximum number of staging blocks.
const maxStaging = 4

// copyIn copies staged elements, starting at element at, to x.
func (d *Device) copyIn(x []float32, b *block, at int) {
	if p := d.commands(); p != nil {
		d.order(p, nil, []span{d.vector(x)})
		to := d.place(x)
		p.Copy(to.Buffer, to.at, b.Buffer, 4*uint64(at), 4*uint64(len(x)))
	}
}

// copyOut copies x to staging memory, starting at element at.
func (d *Device) copyOut(b *block, at int, x []float32) {
	if p := d.commands(); p != nil {
		d.order(p, []span{d.vector(x)}, nil)
		from := d.place(x)
		p.Copy(b.Buffer, 4*uint64(at), from.Buffer, from.at, 4*uint64(len(x)))
	}
}

// fill sets the elements of x to the bits v.
func (d *Device) fill(p *piece, x []float32, v uint32) {
	d.order(p, nil, []span{d.vector(x)})
	to := d.place(x)
	p.Commands.Fill(to.Buffer, to.at, 4*uint64(len(x)), v)
}

// Fill implements [kernel.Device].
func (d *Device) Fill(y kernel.Mat[float32], v float32) {
	if y.Stride == y.Cols || y.Rows == 1 {
		if p := d.commands(); p != nil && y.Rows*y.Cols > 0 {
			d.fill(p, y.Data[:y.Rows*y.Cols], math.Float32bits(v))
		}
		return
	}
	c := d.call("fill")
	c.write(y)
	c.uints(y.Rows, y.Cols)
	c.floats(v)
	c.run(ceilDiv(y.Cols, 64), y.Rows, 1)
}

package vulkan

import (
	"flag"
	"testing"

	"mambatrain/autograd/kernel"
)

var profileRows = flag.Int("profile-rows", 0, "rows of the layer that TestProfile runs; 0 for a few")

// TestProfile measures the kernels of a layer, forward and backward. With -profile-rows it uses the widths of
// mamba-130m.
func TestProfile(t *testing.T) {
	o := testOptions()
	d := open(t, o)
	defer d.Close()
	if d.physical.Limits.TimestampBits == 0 {
		t.Skip("the device has no timestamps")
	}
	l, repetitions := layer{rows: 70, m: 12, d: 24, n: 4, rank: 2}, 2
	if *profileRows > 0 {
		l, repetitions = layer{rows: *profileRows, m: 768, d: 1536, n: 16, rank: 8}, 20
	}
	l.draw(t, d)
	l.record(d) // compiles the shaders
	if err := d.Run(); err != nil {
		t.Fatal(err)
	}
	if err := d.startProfile(); err != nil {
		t.Fatal(err)
	}
	for range repetitions {
		l.record(d)
		if err := d.Run(); err != nil {
			t.Fatal(err)
		}
	}
	list := d.shaderTimes()
	if len(list) < 5 || list[0].Time <= 0 || list[0].Time < list[1].Time {
		t.Errorf("the profile is %+v", list)
	}
	for _, s := range list {
		t.Logf("%-20s %4d dispatches, %8.3f ms each, %8.1f GFLOP/s", s.Shader, s.Dispatches, s.Time.Seconds()*1e3/float64(s.Dispatches), s.Operations/s.Time.Seconds()/1e9)
	}
}

// layer contains the operands of a layer with adapters.
type layer struct {
	rows, m, d, n, rank              int
	x, y, xz, u, dt, bc              kernel.Mat[float32]
	in, inA, inB, out, z, dz, dA, dB kernel.Mat[float32]
	w, aLog, convW                   []float32
	saved                            []float32
}

func (l *layer) draw(t *testing.T, d *Device) {
	matrix := func(rows, cols int) kernel.Mat[float32] {
		x, err := d.Make(rows * cols)
		if err != nil {
			t.Fatal(err)
		}
		return kernel.Dense(x, rows, cols)
	}
	l.x, l.y, l.xz = matrix(l.rows, l.m), matrix(l.rows, l.m), matrix(l.rows, 2*l.d)
	l.u, l.dt, l.bc = matrix(l.rows, l.d), matrix(l.rows, l.d), matrix(l.rows, 2*l.n)
	l.in, l.inA, l.inB, l.out = matrix(2*l.d, l.m), matrix(l.rank, l.m), matrix(2*l.d, l.rank), matrix(l.m, l.d)
	l.z, l.dz, l.dA, l.dB = matrix(l.rows, l.rank), matrix(l.rows, l.rank), matrix(l.rank, l.m), matrix(2*l.d, l.rank)
	l.w, l.aLog, l.convW = matrix(1, l.m).Data, matrix(l.d, l.n).Data, matrix(l.d, 4).Data
	l.saved = matrix(1, kernel.ScanSaved(l.rows, l.d, l.n)).Data
}

// record records the forward and backward pass of a layer, on zeros.
func (l *layer) record(d *Device) {
	const eps = 1e-5
	nt := kernel.DeviceProduct{TransposeB: true, Alpha: 1, Alpha2: 2}
	product := func(p kernel.DeviceProduct, c, a, b, a2, b2 kernel.Mat[float32]) {
		p.C, p.A, p.B, p.A2, p.B2 = c, a, b, a2, b2
		d.Multiply(p)
	}
	none := kernel.Mat[float32]{}
	d.RMSNorm(l.y, l.x, l.w, eps)
	product(nt, l.z, l.y, l.inA, none, none)
	product(nt, l.xz, l.y, l.in, l.z, l.inB)
	conv := kernel.Conv[float32]{W: l.convW, K: 4, Act: kernel.SiLU}
	d.Conv(conv, l.u, l.xz.Slice(0, l.rows, 0, l.d), nil, nil)
	s := &kernel.Scan[float32]{
		U: l.u, DT: l.dt, B: l.bc.Slice(0, l.rows, 0, l.n), C: l.bc.Slice(0, l.rows, l.n, 2*l.n), Z: l.xz.Slice(0, l.rows, l.d, 2*l.d), ALog: l.aLog,
	}
	d.Scan(s, l.dt, l.saved, nil)
	product(nt, l.y, l.dt, l.out, none, none)

	nn, tn := kernel.DeviceProduct{Alpha: 1, Alpha2: 2}, kernel.DeviceProduct{TransposeA: true, Alpha: 1, Mode: kernel.Add}
	product(nn, l.u, l.y, l.out, none, none)
	d.ScanGrad(s, kernel.ScanGrad[float32]{U: l.u, DT: l.dt, B: s.B, C: s.C, Z: s.Z}, l.u, l.saved, nil)
	d.ConvGrad(conv, kernel.ConvGrad[float32]{X: l.xz.Slice(0, l.rows, 0, l.d)}, l.u, l.xz.Slice(0, l.rows, l.d, 2*l.d), nil, nil, nil)
	product(nn, l.dz, l.xz, l.inB, none, none)
	product(nn, l.y, l.xz, l.in, l.dz, l.inA)
	product(tn, l.dA, l.dz, l.x, none, none)
	product(tn, l.dB, l.xz, l.z, none, none)
	d.RMSNormGrad(kernel.Add, l.x, nil, l.y, l.x, l.w, eps)
}

package vulkan

import (
	"math"
	"slices"
	"testing"

	"mambatrain/autograd/kernel"
)

// TestSelfTest compares every kernel with its loop in float64, with unified and with staged memory.
func TestSelfTest(t *testing.T) {
	onBoth(t, func(t *testing.T, d *Device) { report(t, SelfTest(d)...) })
}

// report fails the test if a check is not OK.
func report(t *testing.T, checks ...Check) {
	t.Helper()
	for _, c := range checks {
		if !c.OK {
			t.Errorf("%s: the difference is %.2e, want at most %.0e; error: %v", c.Name, c.Difference, differenceLimit, c.Err)
		}
	}
}

// runCases runs cases with d as the process's device.
func runCases(t *testing.T, d *Device, cases ...testCase) {
	t.Helper()
	kernel.UseDevice(d)
	defer kernel.UseDevice(nil)
	for _, c := range cases {
		report(t, c.run(d))
	}
}

// TestKernels runs shapes that SelfTest does not cover.
func TestKernels(t *testing.T) {
	var cases []testCase
	for _, s := range [][3]int{{1, 1, 1}, {7, 5, 3}, {64, 64, 64}, {100, 80, 200}, {8, 96, 700}, {96, 8, 700}, {17, 17, 513}} {
		for _, p := range []product{{}, {transposeB: true}, {transposeA: true}} {
			p.m, p.n, p.k = s[0], s[1], s[2]
			p.mode = kernel.Mode(p.n % 2)
			cases = append(cases, productCase(p))
		}
	}
	cases = append(cases, productCase(product{m: 0, n: 5, k: 3}), productCase(product{m: 5, n: 0, k: 3}), productCase(product{m: 5, n: 3, k: 0}))
	for _, s := range []norm{{1, 3, false}, {33, 768, false}, {64, 128, true}} {
		cases = append(cases, normCase(s))
	}
	cases = append(cases, gatedNormCase(gatedNorm{rows: 5, d: 3, groups: 1, fresh: true}), gatedNormCase(gatedNorm{rows: 64, d: 200, groups: 8, fresh: true}))
	for act := range kernel.Sigmoid + 1 {
		cases = append(cases, convCase(conv{first: documents(2, 1, 5), d: 66, k: 3, act: act}))
	}
	for _, first := range [][]int{documents(1), continued(1, 1), continued(2, 2), documents(100, 1, 1, 64)} {
		cases = append(cases, convCase(conv{first: first, d: 5, k: 4, act: kernel.SiLU, carried: true}))
	}
	for _, first := range [][]int{documents(1), documents(63), documents(64), continued(3, 65), documents(3, 1, 130, 20)} {
		cases = append(cases, scanCase(scanShape{first: first, d: 17, n: 16, gate: true, carried: true, fresh: true}),
			ssdCase(ssdShape{first: first, heads: 2, p: 3, n: 4, groups: 1, carried: true, fresh: true}))
	}
	cases = append(cases, scanCase(scanShape{first: documents(70), d: 5, n: maxScanStates, gate: true}), scanCase(scanShape{first: documents(9), d: 3, n: 1}),
		ssdCase(ssdShape{first: documents(200), heads: 9, p: 70, n: 5, groups: 1}),
		lossCase(loss{rows: 3, v: 2}), lossCase(loss{rows: 5, v: 300}))
	runCases(t, device(t, false), cases...)
}

// TestLargeTile tests the large tile, which software devices do not use otherwise.
func TestLargeTile(t *testing.T) {
	d := device(t, false)
	defer func(before bool) { d.quickCompile = before }(d.quickCompile)
	d.quickCompile = false
	p := product{m: largeTile.rows*13 - 1, n: largeTile.cols*13 - 1, k: 9, transposeB: true}
	if got := d.tileFor(p.m, p.n); got != largeTile {
		t.Fatalf("a product of %d × %d has tiles %+v", p.m, p.n, got)
	}
	runCases(t, d, productCase(p))
}

// TestGroupLimit checks that a call may have more groups than one dispatch.
func TestGroupLimit(t *testing.T) {
	d := device(t, false)
	defer func(before [3]uint32) { d.physical.Limits.Groups = before }(d.physical.Limits.Groups)
	d.physical.Limits.Groups = [3]uint32{2, 3, 2}
	runCases(t, d, normCase(norm{rows: 9, m: 70}), elementwiseCase(), gatherCase(), productCase(product{m: 200, n: 150, k: 5}),
		ssdCase(ssdShape{first: documents(150), heads: 4, p: 3, n: 4, groups: 2}))
}

// TestSameBits checks that no sum depends on the order in which groups of threads run.
func TestSameBits(t *testing.T) {
	d := device(t, false)
	kernel.UseDevice(d)
	defer kernel.UseDevice(nil)
	const runs = 20
	first := documents(3, 1, 66)
	for _, c := range []testCase{
		productCase(product{m: 9, n: 20, k: 700, transposeA: true}), normCase(norm{rows: 70, m: 130}), gatedNormCase(gatedNorm{rows: 70, d: 8, groups: 2}),
		convCase(conv{first: first, d: 5, k: 4, act: kernel.SiLU}), scanCase(scanShape{first: first, d: 5, n: 4, gate: true}),
		ssdCase(ssdShape{first: first, heads: 2, p: 3, n: 4, groups: 1}), lossCase(loss{rows: 3, v: 300}), columnsCase(), reduceCase(),
	} {
		var want [][]uint32
		for range runs {
			got := c.bits(t, d)
			if want == nil {
				want = got
			}
			if !slices.EqualFunc(got, want, slices.Equal) {
				t.Fatalf("%s: bits differ between runs", c.name)
			}
		}
	}
}

// bits runs the case on the device and returns the bits of all operands.
func (c testCase) bits(t *testing.T, d *Device) (all [][]uint32) {
	t.Helper()
	var made uploads
	defer made.free(d)
	o := d.operands(&made)
	c.device(o)
	for _, x := range o.arrays {
		got := make([]float32, len(x))
		if err := d.Download(got, x); err != nil {
			t.Fatal(err)
		}
		bits := make([]uint32, len(got))
		for i, v := range got {
			bits[i] = math.Float32bits(v)
		}
		all = append(all, bits)
	}
	return all
}

// TestDropout_sameAsHost checks that a device drops the same elements as the host.
func TestDropout_sameAsHost(t *testing.T) {
	d := device(t, false)
	kernel.UseDevice(d)
	defer kernel.UseDevice(nil)
	const rows, cols = 50, 100
	host, made := make([]float32, rows*cols), uploads{}
	for i := range host {
		host[i] = 1
	}
	x := made.add(d, host)
	defer made.free(d)
	o := kernel.Dropout{Seed: 0xfedcba9876543210, Share: 0.3, First: 123456}
	kernel.Drop(kernel.Dense(x, rows, cols), kernel.Dense(x, rows, cols), o)
	kernel.Drop(kernel.Dense(host, rows, cols), kernel.Dense(host, rows, cols), o)
	got := make([]float32, rows*cols)
	if err := d.Download(got, x); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, host) {
		t.Error("the masks differ")
	}
}

// TestRMSNormGrad_inPlace checks that dx may be dy, which the weight's gradient also reads.
func TestRMSNormGrad_inPlace(t *testing.T) {
	d := device(t, false)
	row := func(x ...float32) kernel.Mat[float32] { return kernel.Dense(made(t, d, x...), 1, 3) }
	x, w, dy, dx := row(1, -2, 3), made(t, d, 0.5, 2, -1), row(4, 5, 6), row(0, 0, 0)
	apart, inPlace := made(t, d, 0, 0, 0), made(t, d, 0, 0, 0)
	d.RMSNormGrad(kernel.Set, dx, apart, dy, x, w, testEps)
	d.RMSNormGrad(kernel.Set, dy, inPlace, dy, x, w, testEps)
	if !slices.Equal(download(t, d, dx.Data), download(t, d, dy.Data)) || !slices.Equal(download(t, d, apart), download(t, d, inPlace)) {
		t.Error("in place the gradients differ")
	}
}

package vulkan

import (
	"math"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"mambatrain/autograd/kernel"
)

// An inspector runs one dispatch at a time and compares memory before and after it. Software devices run dispatches in
// order, so a missing barrier would pass every other test. The inspector finds shaders that read or write memory not
// declared by their call. Memory that a shader must not read is poisoned, including memory that it overwrites.
type inspector struct {
	d      *Device
	before [][]uint32 // the blocks' contents
	faults []string
}

// poison is a NaN that no kernel produces.
const poison = 0x7fa5a5a5

func (i *inspector) words(b *block) []uint32 {
	return unsafe.Slice((*uint32)(b.mapped), b.Size/4)
}

// inspect is called instead of recording a dispatch; run records it.
func (i *inspector) inspect(c *call, run func()) {
	i.settle()
	i.before = i.before[:0]
	for _, b := range i.d.blocks {
		words := i.words(b)
		before := slices.Clone(words)
		i.before = append(i.before, before)
		for k := range words {
			words[k] = poison
		}
		b.eachSpan(c.reads, func(from, to uint64) { copy(words[from:to], before[from:to]) })
	}
	run()
	i.settle()
	for n, b := range i.d.blocks {
		i.restore(c, b, i.before[n])
	}
}

// eachSpan calls f for the part of each span that is in the block, in elements.
func (b *block) eachSpan(spans []span, f func(from, to uint64)) {
	for _, s := range spans {
		if from, to := max(s.from, b.Address), min(s.to, b.Address+b.Size); from < to {
			f((from-b.Address)/4, (to-b.Address)/4)
		}
	}
}

// restore reports undeclared writes and restores poisoned memory.
func (i *inspector) restore(c *call, b *block, before []uint32) {
	words := i.words(b)
	got := slices.Clone(words)
	for k, v := range got {
		if v == poison {
			got[k] = before[k]
		}
	}
	copy(words, got)
	b.eachSpan(c.writes, func(from, to uint64) { copy(got[from:to], before[from:to]) })
	if !slices.Equal(got, before) {
		i.faults = append(i.faults, c.shader.name+" wrote memory that it did not declare")
	}
}

// settle waits for everything recorded, without releasing temporary memory.
func (i *inspector) settle() {
	i.d.submit()
	if err := i.d.wait(i.d.submitted); err != nil {
		i.faults = append(i.faults, err.Error())
	}
}

// inspected opens a device whose dispatches are inspected. Its blocks are small because all memory is compared after
// each dispatch.
func inspected(t *testing.T) (*Device, *inspector) {
	d := open(t, testOptions())
	t.Cleanup(d.Close)
	if !d.unified {
		t.Skip("the device does not share its memory with the host")
	}
	d.blockSize = 1 << 14
	i := &inspector{d: d}
	d.inspect = i.inspect
	return d, i
}

func TestDeclaredAccess(t *testing.T) {
	d, i := inspected(t)
	for _, c := range selfTests() {
		runCases(t, d, c)
		if len(i.faults) > 0 {
			t.Errorf("%s: %s", c.name, strings.Join(i.faults, "; "))
			i.faults = nil
		}
	}
}

// TestDeclaredAccess_mistakes checks that calls with a missing operand, or with reads and writes swapped, are found.
func TestDeclaredAccess_mistakes(t *testing.T) {
	d, i := inspected(t)
	x, y := made(t, d, 1, 2, 3), made(t, d, 4, 5, 6)
	copied := func(declare func(c *call)) []float32 {
		c := d.call("elementwise", operationCopy)
		declare(c)
		c.strides = []uint32{3, 3}
		c.uints(3)
		c.run(1, 1, 1)
		got := make([]float32, 3)
		if err := d.Download(got, y); err != nil {
			t.Fatal(err)
		}
		return got
	}
	got := copied(func(c *call) {
		c.writeVector(y)
		c.address(d.vector(x).from)
	})
	if !math.IsNaN(float64(got[0])) && got[0] != 4 {
		t.Errorf("an undeclared read returned %v", got)
	}
	if len(i.faults) > 0 {
		t.Error(i.faults)
	}
	copied(func(c *call) {
		c.readVector(y)
		c.readVector(x)
	})
	if len(i.faults) != 1 || !strings.HasPrefix(i.faults[0], "elementwise wrote") {
		t.Errorf("after an undeclared write the faults are %q", i.faults)
	}
}

// made returns an array on the device.
func made(t *testing.T, d *Device, x ...float32) []float32 {
	t.Helper()
	y, err := d.Make(len(x))
	if err != nil {
		t.Fatal(err)
	}
	d.Upload(y, x)
	return y
}

// TestConflict checks that a barrier is required between a write and a later access of the same address, and between a
// read and a later write.
func TestConflict(t *testing.T) {
	h := hazards{reads: []span{{0, 8}}, writes: []span{{100, 200}}}
	for _, c := range []struct {
		reads, writes []span
		want          bool
	}{
		{[]span{{0, 8}}, nil, false},
		{nil, []span{{4, 12}}, true},
		{[]span{{196, 300}}, nil, true},
		{nil, []span{{0, 0}, {90, 104}}, true},
		{[]span{{200, 300}}, []span{{8, 100}}, false},
		{[]span{{}}, []span{{}}, false},
	} {
		if got := h.conflict(c.reads, c.writes); got != c.want {
			t.Errorf("reads %v and writes %v: %v", c.reads, c.writes, got)
		}
	}
}

// TestBarriers checks that there are barriers between dependent dispatches and none between others.
func TestBarriers(t *testing.T) {
	d := device(t, false)
	if err := d.Run(); err != nil {
		t.Fatal(err)
	}
	row := func(x []float32) kernel.Mat[float32] { return kernel.Dense(x, 1, len(x)) }
	x, y, z := row(made(t, d, 1, 2)), row(made(t, d, 3, 4)), row(made(t, d, 5, 6))
	if err := d.Run(); err != nil {
		t.Fatal(err)
	}
	before := d.barriers
	d.Add(y, x)
	d.Add(z, x)
	if n := d.barriers - before; n != 0 {
		t.Errorf("%d barriers between independent sums", n)
	}
	d.Add(z, y) // reads y and writes z, which were both written
	d.Add(x, z) // writes x, which was read before the barrier, and reads z
	if n := d.barriers - before; n != 2 {
		t.Errorf("%d barriers, want 2", n)
	}
	got := make([]float32, 2)
	if err := d.Download(got, x.Data); err != nil {
		t.Fatal(err)
	}
	if got[0] != 1+5+1+3+1 || got[1] != 2+6+2+4+2 {
		t.Errorf("x is %v", got)
	}
}

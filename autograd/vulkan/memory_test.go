package vulkan

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"mambatrain/autograd/kernel"
	"mambatrain/autograd/vulkan/vk"
)

func TestMake(t *testing.T) {
	onBoth(t, func(t *testing.T, d *Device) {
		for _, n := range []int{1, 65, blockSize/smallShare + 1} {
			x, err := d.Make(n)
			if err != nil {
				t.Fatal(err)
			}
			if len(x) != n || address(x)%256 != 0 || !d.Holds(x) || !d.Holds(x[n-1:]) {
				t.Errorf("%d elements: %d at %x", n, len(x), address(x))
			}
			if !slices.Equal(download(t, d, x), make([]float32, n)) {
				t.Errorf("%d elements are not all zero", n)
			}
			d.Free(x)
		}
		if d.Holds(make([]float32, 1)) {
			t.Error("the device claims an array of the host")
		}
	})
}

func download(t *testing.T, d *Device, x []float32) []float32 {
	t.Helper()
	got := make([]float32, len(x))
	if err := d.Download(got, x); err != nil {
		t.Fatal(err)
	}
	return got
}

// TestMake_afterFree checks that reused memory is zero again, even if a write to its old contents is still pending.
func TestMake_afterFree(t *testing.T) {
	onBoth(t, func(t *testing.T, d *Device) {
		if err := d.Run(); err != nil {
			t.Fatal(err)
		}
		used := d.used
		for range 3 {
			x, err := d.Make(blockSize/smallShare + 1)
			if err != nil {
				t.Fatal(err)
			}
			d.Fill(kernel.Dense(x, 1, len(x)), 7)
			d.Free(x)
			if err := d.Run(); err != nil {
				t.Fatal(err)
			}
		}
		if d.used != used {
			t.Errorf("%d bytes in use, want %d", d.used, used)
		}
	})
}

// TestMake_small checks that small arrays, of which there may be any number one after another, do not use more and more
// memory, and that reused memory is zero again.
func TestMake_small(t *testing.T) {
	onBoth(t, func(t *testing.T, d *Device) {
		d.Free(made(t, d, 1))
		if err := d.Run(); err != nil {
			t.Fatal(err)
		}
		used := d.used
		for range 3 * smallShare {
			x, err := d.Make(blockSize / smallShare)
			if err != nil {
				t.Fatal(err)
			}
			if got := download(t, d, x[:1]); got[0] != 0 {
				t.Errorf("new memory contains %v", got)
			}
			d.Fill(kernel.Dense(x, 1, len(x)), 7)
			d.Free(x)
			if err := d.Run(); err != nil {
				t.Fatal(err)
			}
		}
		if most := used + 4*blockSize; d.used > most { // arrays of earlier tests may still be in the first block
			t.Errorf("%d bytes in use, want at most %d", d.used, most)
		}
	})
}

func TestMake_tooLarge(t *testing.T) {
	d := device(t, true)
	_, err := d.Make(1 << 44)
	if !errors.Is(err, kernel.ErrDeviceMemory) || !strings.Contains(err.Error(), "MiB of memory, with") {
		t.Errorf("error %v", err)
	}
	if _, err := d.Make(1); err != nil {
		t.Error("nothing works afterwards:", err)
	}
}

// TestTransfer checks arrays that are longer than the staging memory, and bits that are not numbers.
func TestTransfer(t *testing.T) {
	onBoth(t, func(t *testing.T, d *Device) {
		n := 2*stagingBlock + 5
		x, err := d.Make(n)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Free(x)
		want := make([]float32, n)
		for i := range want {
			want[i] = math.Float32frombits(0x7f800001 + uint32(i)) // signaling NaN
		}
		d.Upload(x, want)
		for i, v := range download(t, d, x) {
			if math.Float32bits(v) != 0x7f800001+uint32(i) {
				t.Fatalf("element %d is %x", i, math.Float32bits(v))
			}
		}
	})
}

// TestUpload_inOrder checks that work recorded before an upload sees the old values and work recorded after it the new
// ones.
func TestUpload_inOrder(t *testing.T) {
	onBoth(t, func(t *testing.T, d *Device) {
		x, sum := made(t, d, 1), made(t, d, 0)
		src := []float32{10}
		d.Add(kernel.Dense(sum, 1, 1), kernel.Dense(x, 1, 1))
		d.Upload(x, src)
		src[0] = 1000
		d.Add(kernel.Dense(sum, 1, 1), kernel.Dense(x, 1, 1))
		if got := download(t, d, sum)[0]; got != 11 {
			t.Errorf("the sum is %v, want 11", got)
		}
	})
}

// TestIntegers_change checks that a kernel sees the integers as they were at the call, even if they change afterwards.
func TestIntegers_change(t *testing.T) {
	d := device(t, false)
	table, ids := kernel.Dense(made(t, d, 10, 20), 2, 1), []int{0}
	first, second := kernel.Dense(made(t, d, 0), 1, 1), kernel.Dense(made(t, d, 0), 1, 1)
	d.Gather(first, table, ids)
	ids[0] = 1
	d.Gather(second, table, ids)
	if a, b := download(t, d, first.Data)[0], download(t, d, second.Data)[0]; a != 10 || b != 20 {
		t.Errorf("gathered %v and %v, want 10 and 20", a, b)
	}
}

func TestTemp(t *testing.T) {
	d := device(t, true)
	if err := d.Run(); err != nil {
		t.Fatal(err)
	}
	x, y := d.Temp(100), d.Temp(5)
	if !d.Holds(x) || address(y) < address(x)+400 {
		t.Errorf("temporary arrays at %x and %x", address(x), address(y))
	}
	if err := d.Run(); err != nil {
		t.Fatal(err)
	}
	if z := d.Temp(100); address(z) != address(x) {
		t.Error("Run does not make temporary memory available again")
	}
}

// TestTimeout checks that a device that does not respond is lost permanently.
func TestTimeout(t *testing.T) {
	d := open(t, testOptions())
	defer d.Close()
	d.patience = time.Nanosecond
	x, err := d.Make(1 << 18)
	if err != nil {
		t.Fatal(err)
	}
	m := kernel.Dense(x, 1<<9, 1<<9)
	d.Multiply(kernel.DeviceProduct{C: m, A: m, B: m, Alpha: 1})
	if err := d.Run(); !errors.Is(err, kernel.ErrDeviceLost) || !strings.Contains(err.Error(), "nothing finished in 1ns") {
		t.Errorf("error %v", err)
	}
	d.Scale(x, 2)
	if err := d.Run(); !errors.Is(err, kernel.ErrDeviceLost) {
		t.Errorf("later the error is %v", err)
	}
	if d.Temp(1) != nil {
		t.Error("a lost device returns temporary memory")
	}
}

// TestFailures checks what a driver's errors mean: after a lost device nothing runs any more, and after a lack of memory
// the device can be used again. Each is an error of one line.
func TestFailures(t *testing.T) {
	for result, want := range map[vk.Result]error{vk.DeviceLost: kernel.ErrDeviceLost, vk.OutOfDeviceMemory: kernel.ErrDeviceMemory, vk.OutOfHostMemory: kernel.ErrDeviceMemory} {
		d := open(t, testOptions())
		x := made(t, d, 1)
		d.fail("submit", result)
		if err := d.Run(); !errors.Is(err, want) || strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "vulkan: "+d.physical.Name+": submit: ") {
			t.Errorf("%v: error %v", result, err)
		}
		d.Scale(x, 2)
		if again := d.Run(); errors.Is(again, kernel.ErrDeviceLost) != (result == vk.DeviceLost) {
			t.Errorf("%v: later the error is %v", result, again)
		}
		d.Close()
	}
}

// TestRun_afterError checks that the first error sticks until Run and that the device works afterwards.
func TestRun_afterError(t *testing.T) {
	d := device(t, false)
	x := made(t, d, 1)
	first := errors.New("first")
	d.fail("test", first)
	d.fail("test", errors.New("second"))
	d.Scale(x, 2)
	if err := d.Run(); !errors.Is(err, first) || !strings.HasPrefix(err.Error(), "vulkan: "+d.physical.Name+": test: ") {
		t.Errorf("error %v", err)
	}
	d.Scale(x, 3)
	if got := download(t, d, x)[0]; got != 3 {
		t.Errorf("x is %v, want 3", got)
	}
}

// TestScratch checks that kernels allocate exactly as much scratch memory as Scratch returns.
func TestScratch(t *testing.T) {
	d := device(t, false)
	for _, rows := range []int{1, 64, 150} {
		first := documents(rows)
		for _, c := range []struct {
			run   testCase
			sizes kernel.DeviceSizes
		}{
			{scanCase(scanShape{first: first, d: 33, n: 16, gate: true}), kernel.DeviceSizes{Rows: rows, Channels: 33, ScanStates: 16}},
			{ssdCase(ssdShape{first: first, heads: 6, p: 70, n: 5, groups: 2}), kernel.DeviceSizes{Rows: rows, Channels: 420, SSDStates: 5, SSDHead: 70, SSDGroups: 2}},
			{convCase(conv{first: first, d: 66, k: 3, act: kernel.SiLU}), kernel.DeviceSizes{Rows: rows, Channels: 66, ConvTaps: 3}},
			{productCase(product{m: 7, n: 9, k: rows * 1000, transposeA: true}), kernel.DeviceSizes{}},
		} {
			if d.scratch != nil {
				d.Free(d.scratch)
				d.scratch = nil
			}
			runCases(t, d, c.run)
			want := roundUp(d.Scratch(c.sizes), alignment)
			if got := len(d.scratch); got > want || got < want && c.sizes.Rows > 0 {
				t.Errorf("%s, %d rows: %d elements, want %d", c.run.name, rows, got, want)
			}
		}
	}
}

func TestFree_afterClose(t *testing.T) {
	d := open(t, testOptions())
	x, err := d.Make(10)
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	d.Free(x)
}

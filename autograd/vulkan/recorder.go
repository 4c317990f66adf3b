package vulkan

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"mambatrain/autograd/kernel"
	"mambatrain/autograd/vulkan/vk"
)

// recorder writes commands in pieces, each in its own command buffer, and submits a piece when it is long enough.
// Everything after a barrier waits for all earlier work, including pieces already submitted.
type recorder struct {
	timeline  vk.Timeline
	submitted uint64 // value of the timeline when all submitted pieces have run
	pieces    []piece
	current   *piece // the piece being recorded, or nil
	patience  time.Duration
	hazards
	temporary
	quickCompile bool        // use slower shaders that compile faster, for software devices
	idle         atomic.Bool // everything recorded has run
	err          error       // the first error since the last Run
	lost         error       // the device no longer responds

	barriers int                          // total number of barriers between dispatches
	inspect  func(c *call, record func()) // called instead of record if not nil, for tests
}

// piece is a command buffer and its contents.
type piece struct {
	vk.Commands
	point      uint64 // value of the timeline when it has run; 0 if it never ran
	bound      *vk.Pipeline
	dispatches int
	work       float64 // approximate number of arithmetic operations
}

const (
	// pieceCount is the maximum number of pieces waiting for the device.
	pieceCount = 16
	// A piece ends after this many dispatches, so that the device is never idle for long, or after this much work: some
	// systems reset a device that does not finish a piece within two seconds.
	pieceDispatches = 64
	pieceWork       = 4e10
)

// The time a piece may take before the device is considered lost.
const (
	hardwarePatience = time.Minute
	softwarePatience = time.Hour
)

func (d *Device) startRecorder() error {
	timeline, err := d.vk.NewTimeline()
	if err != nil {
		return err
	}
	commands, err := d.vk.NewCommands(pieceCount)
	if err != nil {
		return err
	}
	d.timeline, d.patience = timeline, hardwarePatience
	d.idle.Store(true)
	if d.physical.Kind == vk.Software {
		d.patience, d.quickCompile = softwarePatience, true
	}
	for _, c := range commands {
		d.pieces = append(d.pieces, piece{Commands: c})
	}
	return nil
}

// fail keeps the first error. Anything recorded afterwards is ignored.
func (d *Device) fail(action string, err error) {
	if d.err == nil {
		d.err = d.failed(action, err)
	}
	if errors.Is(d.err, kernel.ErrDeviceLost) {
		d.lost = d.err
	}
}

// failing reports whether an error has stopped the recording.
func (d *Device) failing() bool { return d.err != nil || d.lost != nil }

// commands returns the piece being recorded, or nil after an error.
func (d *Device) commands() *piece {
	if d.failing() {
		return nil
	}
	if d.current == nil && !d.begin() {
		return nil
	}
	for _, x := range d.takeUncleared() {
		d.fill(d.current, x, 0)
	}
	return d.current
}

// begin starts the next piece, after the device has run its previous contents.
func (d *Device) begin() bool {
	p := &d.pieces[d.submitted%pieceCount]
	if err := d.wait(p.point); err != nil {
		d.fail("wait", err)
		return false
	}
	if err := p.Begin(); err != nil {
		d.fail("record", err)
		return false
	}
	*p = piece{Commands: p.Commands}
	d.current = p
	d.idle.Store(false)
	d.startTimes(p)
	return true
}

// dispatched counts a dispatch with the given work and ends the piece if it is long enough.
func (d *Device) dispatched(work float64) {
	p := d.current
	p.dispatches++
	p.work += work
	if p.dispatches >= pieceDispatches || p.work >= pieceWork {
		d.submit()
	}
}

// submit ends the current piece and submits it to the device. A barrier at its end makes the results visible to the
// host and to later pieces.
func (d *Device) submit() {
	p := d.current
	if p == nil || d.failing() {
		return
	}
	d.current = nil
	p.Barrier()
	d.hazards.clear()
	if err := p.End(); err != nil {
		d.fail("record", err)
		return
	}
	if err := d.vk.Submit(p.Commands, d.timeline, d.submitted+1); err != nil {
		d.fail("submit", err)
		return
	}
	d.submitted++
	p.point = d.submitted
	d.addTimes(p)
}

// wait waits until the timeline reaches point. It keeps waiting as long as pieces finish.
func (d *Device) wait(point uint64) error {
	reached, err := d.vk.Reached(d.timeline)
	for err == nil && reached < point {
		err = d.vk.Wait(d.timeline, reached+1, uint64(d.patience))
		if errors.Is(err, vk.Timeout) {
			return fmt.Errorf("nothing finished in %v: %w", d.patience, err)
		}
		if err == nil {
			reached, err = d.vk.Reached(d.timeline)
		}
	}
	return err
}

// Run implements [kernel.Device].
func (d *Device) Run() error {
	if len(d.uncleared) > 0 {
		d.commands()
	}
	d.submit()
	if d.lost != nil {
		return d.lost
	}
	if err := d.wait(d.submitted); err != nil {
		d.fail("wait", err)
	}
	err := d.err
	d.err, d.current = nil, nil
	if d.lost != nil {
		return d.lost
	}
	d.idle.Store(true)
	d.hazards.clear()
	d.release(d.takeFreed())
	d.temporary.reset()
	d.saveCache()
	return err
}

// hazards are the address ranges read and written since the last barrier.
type hazards struct{ reads, writes []span }

func (h *hazards) clear() { h.reads, h.writes = h.reads[:0], h.writes[:0] }

// conflict reports whether a command with these reads and writes needs a barrier before it.
func (h *hazards) conflict(reads, writes []span) bool {
	for _, s := range reads {
		if overlaps(h.writes, s) {
			return true
		}
	}
	for _, s := range writes {
		if overlaps(h.writes, s) || overlaps(h.reads, s) {
			return true
		}
	}
	return false
}

func overlaps(list []span, s span) bool {
	for _, o := range list {
		if o.from < s.to && s.from < o.to {
			return true
		}
	}
	return false
}

// order adds a barrier before the next command if it needs one.
func (d *Device) order(p *piece, reads, writes []span) {
	if d.conflict(reads, writes) {
		p.Barrier()
		d.barriers++
		d.hazards.clear()
	}
	d.reads, d.writes = append(d.reads, reads...), append(d.writes, writes...)
}

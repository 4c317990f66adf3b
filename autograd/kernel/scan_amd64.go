package kernel

import "unsafe"

// scanLanes is the number of channels per group, two AVX2 vectors.
const scanLanes = 16

// runRecurrence runs a pass of the recurrence, in steps of as many states and channels as its kernel covers. The
// kernels are called by name so that their arguments stay on the stack.
func runRecurrence(pass recurrencePass, a *scanArgs, n int) {
	if active.wide && n == 16 {
		runAllStates(pass, a)
		return
	}
	states, channels := 8, scanLanes
	if !active.wide {
		channels = 8
		if pass >= backwardPass {
			states = 4
		}
	}
	for lane := 0; lane < scanLanes; lane += channels {
		for j := 0; j < n; j += states {
			piece := a.lanes(lane).shift(j, scanLanes)
			runStates(pass, &piece)
		}
	}
}

// lanes advances the arguments to channel l.
func (a scanArgs) lanes(l int) scanArgs {
	for _, p := range [...]**float32{&a.row, &a.a, &a.h, &a.hs, &a.da} {
		if *p != nil {
			*p = offset(*p, l)
		}
	}
	if l > 0 {
		a.addPart = -1
	}
	return a
}

// runAllStates runs a pass over 16 channels and 16 states.
func runAllStates(pass recurrencePass, a *scanArgs) {
	p := (*byte)(unsafe.Pointer(a))
	switch pass {
	case forwardPass:
		scanForward16_512(p)
	case statesPass:
		scanStates16_512(p)
	case backwardPass:
		scanBackward16_512(p)
	default:
		scanBackwardA16_512(p)
	}
}

// runStates runs a pass over one vector of channels and eight states, or four in AVX2's backward pass.
func runStates(pass recurrencePass, a *scanArgs) {
	p := (*byte)(unsafe.Pointer(a))
	switch {
	case active.wide && pass == forwardPass:
		scanForward8_512(p)
	case active.wide && pass == statesPass:
		scanStates8_512(p)
	case active.wide && pass == backwardPass:
		scanBackward8_512(p)
	case active.wide:
		scanBackwardA8_512(p)
	case pass == forwardPass:
		scanForward8_256(p)
	case pass == statesPass:
		scanStates8_256(p)
	case pass == backwardPass:
		scanBackward4_256(p)
	default:
		scanBackwardA4_256(p)
	}
}

// runElementwise runs one of the elementwise passes.
func runElementwise(pass elementwisePass, e *scanElementwise) {
	p := (*byte)(unsafe.Pointer(e))
	if active.wide {
		switch pass {
		case inputsPass:
			scanInputs_512(p)
		case slopesPass:
			scanSlopes_512(p)
		case skipPass:
			scanSkip_512(p)
		case gatePass:
			scanGate_512(p)
		case gateGradsPass:
			scanGateGrads_512(p)
		default:
			scanDeliver_512(p)
		}
		return
	}
	switch pass {
	case inputsPass:
		scanInputs_256(p)
	case slopesPass:
		scanSlopes_256(p)
	case skipPass:
		scanSkip_256(p)
	case gatePass:
		scanGate_256(p)
	case gateGradsPass:
		scanGateGrads_256(p)
	default:
		scanDeliver_256(p)
	}
}

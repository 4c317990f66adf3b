package kernel

import "unsafe"

// scanRun runs one pass of the recurrence in steps of the states and channels that its kernel holds. The kernels are called
// by name so that their arguments stay on the stack.
func scanRun(pass scanPass, a *scanArgs, n int) {
	if active.wide && n == 16 {
		scanWhole(pass, a)
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
			piece := a.lanes(lane).shift(j)
			scanPiece(pass, &piece)
		}
	}
}

// scanWhole runs a pass over 16 channels and 16 states.
func scanWhole(pass scanPass, a *scanArgs) {
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

// scanPiece runs a pass over the channels of a vector and eight states, or four on AVX2's way back.
func scanPiece(pass scanPass, a *scanArgs) {
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

// scanEdgeRun runs one of the elementwise passes.
func scanEdgeRun(pass edgePass, e *scanEdge) {
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

package kernel

import "unsafe"

// runRecurrence runs a pass of the recurrence, in steps of as many states as its kernel covers. The kernels are called
// by name so that their arguments stay on the stack.
func runRecurrence(pass recurrencePass, a *scanArgs, n int) {
	if n == 16 {
		runAllStates(pass, a)
		return
	}
	for j := 0; j < n; j += 8 {
		piece := a.shift(j, neonScan.lanes)
		runStates(pass, &piece)
	}
}

// runAllStates runs a pass over 16 states.
func runAllStates(pass recurrencePass, a *scanArgs) {
	p := (*byte)(unsafe.Pointer(a))
	switch pass {
	case forwardPass:
		scanForward16Neon(p)
	case statesPass:
		scanStates16Neon(p)
	case backwardPass:
		scanBackward16Neon(p)
	default:
		scanBackwardA16Neon(p)
	}
}

// runStates runs a pass over eight states.
func runStates(pass recurrencePass, a *scanArgs) {
	p := (*byte)(unsafe.Pointer(a))
	switch pass {
	case forwardPass:
		scanForward8Neon(p)
	case statesPass:
		scanStates8Neon(p)
	case backwardPass:
		scanBackward8Neon(p)
	default:
		scanBackwardA8Neon(p)
	}
}

// runElementwise runs one of the elementwise passes.
func runElementwise(pass elementwisePass, e *scanElementwise) {
	p := (*byte)(unsafe.Pointer(e))
	switch pass {
	case inputsPass:
		scanInputsNeon(p)
	case slopesPass:
		scanSlopesNeon(p)
	case skipPass:
		scanSkipNeon(p)
	case gatePass:
		scanGateNeon(p)
	case gateGradsPass:
		scanGateGradsNeon(p)
	default:
		scanDeliverNeon(p)
	}
}

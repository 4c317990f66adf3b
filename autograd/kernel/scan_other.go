//go:build !amd64

package kernel

// No kernel set here has a vector form of the scan.

func scanRun(scanPass, *scanArgs, int) { panic("kernel: no vector scan") }

func scanEdgeRun(edgePass, *scanEdge) { panic("kernel: no vector scan") }

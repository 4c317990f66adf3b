//go:build !linux

package mpi

import "net"

func unacknowledged(net.Conn) int { return 0 }

func killLauncher() {}

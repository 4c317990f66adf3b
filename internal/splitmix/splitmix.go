// Package splitmix turns numbers into seeds and random draws.
package splitmix

import "math/bits"

// Gamma is the odd number closest to 2⁶⁴/φ, SplitMix64's step from one state to the next.
const Gamma = 0x9e3779b97f4a7c15

// Mix is the finalizer of SplitMix64 (Steele, Lea & Flood 2014), a bijection. It must return the same bits on every
// machine and in every version, because the seeds recorded by runs depend on them.
func Mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Derive turns a seed and a number into another seed, or into the draw for an element: Mix, rotated left by 17.
func Derive(seed, id uint64) uint64 { return bits.RotateLeft64(Mix(seed+id*Gamma), 17) }

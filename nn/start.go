package nn

import ag "mambatrain/autograd"

// Start is a place for the state that documents start from. It is empty, which means zeros, until a parameter is put there.
type Start struct {
	Name  string     // of the state in a file, such as ssm_states.0
	Param **ag.Param // nil: zeros
	Shape []int
}

// Size is the number of elements.
func (s Start) Size() int {
	n := 1
	for _, d := range s.Shape {
		n *= d
	}
	return n
}

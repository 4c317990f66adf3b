package nn

import ag "mambatrain/autograd"

// Start is a place for the initial state of documents. The state is zeros until a parameter is set.
type Start struct {
	Name  string     // name of the state in a file, such as ssm_states.0
	Param **ag.Param // points to nil for zeros
	Shape []int
}

// Size returns the number of elements.
func (s Start) Size() int {
	n := 1
	for _, d := range s.Shape {
		n *= d
	}
	return n
}

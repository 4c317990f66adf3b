package autograd

import (
	"fmt"
	"io"
	"strings"

	G "gorgonia.org/gorgonia"
)

// Drawing is the graph as nodes and edges, ready to be drawn: one box per op and one ellipse per input.
type Drawing struct {
	Nodes []DrawnNode
}

// DrawnNode is a node of the graph. Nodes appear in the order in which the tape machine runs them.
type DrawnNode struct {
	// Name is the op's or the parameter's name.
	Name string
	// Shape is the shape of the output at full capacity, nil for a scalar.
	Shape []int
	// Kind distinguishes inputs, parameters, forward passes, and backward passes.
	Kind Kind
	// In lists the indexes of its inputs in Drawing.Nodes.
	In []int
}

// Kind is the kind of a DrawnNode.
type Kind uint8

const (
	// Input is a part of the batch.
	Input Kind = iota
	// Parameter is a weight of the model.
	Parameter
	// Operation is the forward pass of an op.
	Operation
	// Gradient is the backward pass of an op, or a node that takes one of its results.
	Gradient
)

// Draw returns the current graph: without gradients before Compile, with them afterwards.
func (g *Graph) Draw() Drawing {
	var d Drawing
	place := map[int64]int{}
	values := map[*G.Node]*value{}
	for _, v := range g.values {
		values[v.node] = v
	}
	for _, n := range g.x.AllNodes() {
		place[n.ID()] = len(d.Nodes)
		d.Nodes = append(d.Nodes, drawNode(n, values[n]))
	}
	for _, n := range g.x.AllNodes() {
		o, ours := n.Op().(*node)
		if !ours {
			continue
		}
		at := &d.Nodes[place[n.ID()]]
		for _, in := range o.in {
			at.In = append(at.In, place[in.ID()])
		}
	}
	return d
}

func drawNode(n *G.Node, v *value) DrawnNode {
	o, ours := n.Op().(*node)
	switch {
	case v != nil && v.param != nil:
		return DrawnNode{Name: v.param.Name, Shape: v.shape, Kind: Parameter}
	case v != nil && v.by == nil:
		name, _, _ := strings.Cut(n.Name(), "#")
		return DrawnNode{Name: name, Shape: v.shape, Kind: Input}
	case ours && strings.HasPrefix(o.name, "∂"):
		return DrawnNode{Name: o.name, Shape: o.shape, Kind: Gradient}
	case ours:
		return DrawnNode{Name: o.name, Shape: o.shape, Kind: Operation}
	}
	return DrawnNode{Name: n.Name(), Kind: Gradient}
}

// DOT writes the drawing in Graphviz's DOT language.
func (d Drawing) DOT(w io.Writer) error {
	var b strings.Builder
	b.WriteString("digraph model {\n\trankdir=BT;\n\tnode [fontname=\"sans-serif\", fontsize=11];\n")
	outline := map[Kind]string{Input: "ellipse", Parameter: "ellipse", Operation: "box", Gradient: "box"}
	for i, n := range d.Nodes {
		label := n.Name
		if n.Shape != nil {
			label += "\n" + formatShape(n.Shape)
		}
		fmt.Fprintf(&b, "\tn%d [label=%q, shape=%s, style=\"filled,rounded\", fillcolor=%q];\n", i, label, outline[n.Kind], kindColor[n.Kind])
	}
	for i, n := range d.Nodes {
		for _, in := range n.In {
			fmt.Fprintf(&b, "\tn%d -> n%d;\n", in, i)
		}
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

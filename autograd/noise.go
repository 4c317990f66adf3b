package autograd

import (
	"fmt"
	"math"

	"mambatrain/autograd/kernel"
	"mambatrain/internal/splitmix"
)

// Noise returns x (rows, m). In training runs it adds uniform noise of ±alpha/√(L·m) to each element, where L is the
// number of rows of the document in this step. Jain et al. 2023 (NEFTune), for the output of an embedding.
func Noise(x Var, alpha float64) Var {
	return Apply(noise[float32]{alpha}, noise[float64]{alpha}, x, x.Graph().first())
}

type noise[T kernel.Float] struct{ alpha float64 }

// Inputs of noise.
const (
	noiseX = iota
	noiseFirst
)

func (noise[T]) Name() string { return "noise" }

func (o noise[T]) Shape(in [][]int) ([]int, error) {
	if !(o.alpha >= 0) {
		return nil, fmt.Errorf("alpha must not be negative, got %v", o.alpha)
	}
	return in[noiseX], nil
}

func (noise[T]) Saves([]bool) []bool { return []bool{noiseX: false, noiseFirst: false} }

func (o noise[T]) Forward(c *Call[T]) {
	y, m, first := c.Out.Mat(), c.Out.Shape[1], c.In[noiseFirst].Ints
	kernel.CopyMat(y, c.In[noiseX].Mat())
	if !c.Training {
		return
	}
	if c.device != nil {
		y.Data = make([]T, len(y.Data))
		defer o.addOnDevice(c, y)
	}
	for from := 0; from < c.Rows; {
		to := from + 1
		for to < c.Rows && first[to] == first[from] {
			to++
		}
		length := to - from
		if from == 0 {
			length += c.run.before
		}
		if to == c.Rows {
			length += c.run.after
		}
		size := o.alpha / math.Sqrt(float64(length*m))
		for i := from * m; i < to*m; i++ {
			y.Data[i] += T(size * uniform(splitmix.Derive(c.Seed, uint64(c.FirstRow*m+i))))
		}
		from = to
	}
}

// addOnDevice uploads the noise and adds it to the output.
func (noise[T]) addOnDevice(c *Call[T], noise kernel.Mat[T]) {
	x := f32(noise)
	onDevice := kernel.Dense(c.device.Temp(len(x.Data)), x.Rows, x.Cols)
	c.device.Upload(onDevice.Data, x.Data)
	c.device.Add(f32(c.Out.Mat()), onDevice)
}

// uniform converts 64 random bits to a number from −1 to 1.
func uniform(bits uint64) float64 { return float64(bits>>11)/(1<<52) - 1 }

func (noise[T]) Overwrites(int) bool { return true }

// dx = dy.
func (noise[T]) Backward(c *Call[T]) { pass(c, noiseX) }

package optim

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"mambatrain/internal/fault"
)

// Schedule returns the factor of the peak learning rate for a step; the first step is 0.
type Schedule func(step int) float64

// curveInput contains the inputs of a curve.
type curveInput struct {
	peak         float64 // the learning rate for a factor of 1
	warmup, last int     // warm-up steps, total steps
	arg          map[string]float64
	shape        map[string]string // warmup_type, decay_type
}

// scheduleKind is a kind of schedule: its optional arguments with their defaults, and its curve.
type scheduleKind struct {
	arg    map[string]float64
	choice map[string]string
	need   []string // arguments without a default
	check  func(curveInput) string
	curve  func(curveInput) Schedule
}

// The nine kinds of transformers/optimization.py, with its argument names and defaults.
var schedules = map[string]scheduleKind{
	"linear":               {curve: linear},
	"cosine":               {arg: args{"num_cycles": 0.5}, curve: cosine},
	"constant":             {curve: constant},
	"constant_with_warmup": {curve: constantWithWarmup},
	"polynomial":           {arg: args{"lr_end": 1e-7, "power": 1}, check: checkPolynomial, curve: polynomial},
	"inverse_sqrt":         {arg: args{"timescale": 0}, curve: inverseSqrt},
	"cosine_with_min_lr":   {arg: args{"num_cycles": 0.5, "min_lr": math.NaN(), "min_lr_rate": math.NaN()}, check: checkFloor, curve: cosineWithFloor},
	"cosine_with_restarts": {arg: args{"num_cycles": 1}, curve: cosineWithRestarts},
	"warmup_stable_decay": {
		arg:    args{"num_decay_steps": 0, "num_stable_steps": math.NaN(), "min_lr_ratio": 0, "num_cycles": 0.5},
		choice: map[string]string{"warmup_type": "linear", "decay_type": "cosine"},
		need:   []string{"num_decay_steps"},
		check:  checkShapes,
		curve:  warmupStableDecay,
	},
}

type args = map[string]float64

// scheduleNames returns the values of lr_scheduler_type.
func scheduleNames() []string {
	return []string{"linear", "cosine", "constant", "constant_with_warmup", "polynomial", "inverse_sqrt", "cosine_with_min_lr", "cosine_with_restarts", "warmup_stable_decay"}
}

// NewSchedule returns the schedule selected by the settings for a run of the given number of steps.
func NewSchedule(c Config, steps int) (Schedule, error) {
	k, ok := schedules[c.LRSchedulerType]
	if !ok {
		return nil, fmt.Errorf("optim: unknown schedule %q", c.LRSchedulerType)
	}
	s, err := c.readArguments(k)
	if err != nil {
		return nil, err
	}
	s.warmup, s.last = c.warmup(steps), steps
	return k.curve(s), nil
}

// warmup returns the number of warm-up steps. A fraction of all steps is rounded up.
func (c Config) warmup(steps int) int {
	if c.WarmupSteps < 1 {
		return int(math.Ceil(c.WarmupSteps * float64(steps)))
	}
	return int(c.WarmupSteps)
}

func (c Config) validateSchedule() error {
	k, ok := schedules[c.LRSchedulerType]
	if !ok {
		return nil // lr_scheduler_type is reported elsewhere
	}
	_, err := c.readArguments(k)
	return err
}

// argumentRange is the valid range of a number in lr_scheduler_kwargs.
type argumentRange struct {
	max   float64 // the minimum is 0
	count bool    // must be an integer
}

var argumentRanges = map[string]argumentRange{
	"lr_end":           {max: math.MaxFloat64},
	"power":            {max: math.MaxFloat64},
	"timescale":        {max: MaxSteps, count: true},
	"num_cycles":       {max: MaxSteps},
	"min_lr":           {max: math.MaxFloat64},
	"min_lr_rate":      {max: 1},
	"num_decay_steps":  {max: MaxSteps, count: true},
	"num_stable_steps": {max: MaxSteps, count: true},
	"min_lr_ratio":     {max: 1},
}

func (r argumentRange) check(l *fault.List, path string, v float64) {
	l.NotNegative(path, v)
	l.Require(!(v > r.max) || math.IsInf(v, 1), path, "must be at most %v, got %s", r.max, fault.Number(v))
	l.Require(!r.count || isInteger(v), path, "must be a whole number, got %s", fault.Number(v))
}

// readArguments reads lr_scheduler_kwargs.
func (c Config) readArguments(k scheduleKind) (curveInput, error) {
	s := curveInput{peak: c.LearningRate, arg: args{}, shape: map[string]string{}}
	maps.Copy(s.arg, k.arg)
	maps.Copy(s.shape, k.choice)
	var l fault.List
	for _, name := range slices.Sorted(maps.Keys(c.LRSchedulerKwargs)) {
		path, v := "lr_scheduler_kwargs."+name, c.LRSchedulerKwargs[name]
		_, isNumber := k.arg[name]
		_, isChoice := k.choice[name]
		switch x := v.(type) {
		case nil: // None in Python: the default
		case string:
			l.Require(isChoice, path, "must be a number for lr_scheduler_type: %s, not a string", c.LRSchedulerType)
			s.shape[name] = x
		default:
			f, ok := number(v)
			ok = ok && !math.IsNaN(f) && !math.IsInf(f, 0)
			l.Require(isNumber, path, "is not an argument of lr_scheduler_type: %s, which takes %v", c.LRSchedulerType, k.names())
			l.Require(ok, path, "must be a number, got %s", fault.Value(v))
			if ok && isNumber {
				argumentRanges[name].check(&l, path, f)
			}
			s.arg[name] = f
		}
	}
	for _, name := range k.need {
		l.Require(c.LRSchedulerKwargs[name] != nil, "lr_scheduler_kwargs."+name, "is required by lr_scheduler_type: %s", c.LRSchedulerType)
	}
	if k.check != nil && len(l) == 0 {
		problem := k.check(s)
		l.Require(problem == "", "lr_scheduler_kwargs", "%s", problem)
	}
	return s, l.Err()
}

func (k scheduleKind) names() []string {
	return append(slices.Sorted(maps.Keys(k.arg)), slices.Sorted(maps.Keys(k.choice))...)
}

func number(v any) (float64, bool) {
	switch x := v.(type) {
	case int:
		return float64(x), true
	case int64:
		return float64(x), true
	case uint64:
		return float64(x), true
	case float64:
		return x, true
	}
	return 0, false
}

// rise returns the factor of the linear warm-up.
func (s curveInput) rise(step int) float64 { return float64(step) / float64(max(1, s.warmup)) }

// progress returns 0 at the end of the warm-up, rising to 1 at the last step.
func (s curveInput) progress(step int) float64 {
	return float64(step-s.warmup) / float64(max(1, s.last-s.warmup))
}

// afterWarmup returns a linear warm-up followed by f of the progress.
func (s curveInput) afterWarmup(f func(progress float64) float64) Schedule {
	return func(step int) float64 {
		if step < s.warmup {
			return s.rise(step)
		}
		return max(0, f(s.progress(step)))
	}
}

// wave falls from 1 to 0 and rises back to 1, cycles times. Half a cycle is the usual cosine decay.
func wave(cycles, progress float64) float64 { return 0.5 * (1 + math.Cos(2*math.Pi*cycles*progress)) }

func linear(s curveInput) Schedule {
	return s.afterWarmup(func(p float64) float64 { return 1 - p })
}

func cosine(s curveInput) Schedule {
	return s.afterWarmup(func(p float64) float64 { return wave(s.arg["num_cycles"], p) })
}

func constant(curveInput) Schedule { return func(int) float64 { return 1 } }

func constantWithWarmup(s curveInput) Schedule {
	return s.afterWarmup(func(float64) float64 { return 1 })
}

func checkPolynomial(s curveInput) string {
	if s.arg["lr_end"] < s.peak {
		return ""
	}
	return fmt.Sprintf("lr_end %v must be below learning_rate %v", s.arg["lr_end"], s.peak)
}

func polynomial(s curveInput) Schedule {
	end, power := s.arg["lr_end"], s.arg["power"]
	return s.afterWarmup(func(p float64) float64 {
		return ((s.peak-end)*math.Pow(max(0, 1-p), power) + end) / s.peak
	})
}

// inverseSqrt decays as 1/√step. The timescale defaults to the warm-up steps, or to 10,000 without a warm-up.
func inverseSqrt(s curveInput) Schedule {
	scale := s.arg["timescale"]
	if scale == 0 {
		scale = float64(s.warmup)
	}
	if scale == 0 {
		scale = 10_000
	}
	shift := scale - float64(s.warmup)
	return func(step int) float64 {
		if step < s.warmup {
			return s.rise(step)
		}
		return 1 / math.Sqrt((float64(step)+shift)/scale)
	}
}

func checkFloor(s curveInput) string {
	if math.IsNaN(s.arg["min_lr"]) == math.IsNaN(s.arg["min_lr_rate"]) {
		return "cosine_with_min_lr requires min_lr or min_lr_rate"
	}
	if s.arg["min_lr"] > s.peak {
		return fmt.Sprintf("min_lr %v must not be above learning_rate %v", s.arg["min_lr"], s.peak)
	}
	return ""
}

func cosineWithFloor(s curveInput) Schedule {
	floor := s.arg["min_lr_rate"]
	if math.IsNaN(floor) {
		floor = s.arg["min_lr"] / s.peak
	}
	return s.afterWarmup(func(p float64) float64 { return floor + (1-floor)*wave(s.arg["num_cycles"], p) })
}

func cosineWithRestarts(s curveInput) Schedule {
	return s.afterWarmup(func(p float64) float64 {
		if p >= 1 {
			return 0
		}
		return wave(0.5, math.Mod(s.arg["num_cycles"]*p, 1))
	})
}

func checkShapes(s curveInput) string {
	for _, name := range []string{"warmup_type", "decay_type"} {
		if v := s.shape[name]; !slices.Contains([]string{"linear", "cosine", "1-sqrt"}, v) {
			return fmt.Sprintf("%s must be linear, cosine, or 1-sqrt, got %q", name, v)
		}
	}
	return ""
}

// warmupStableDecay rises, stays at the peak, and falls. Each rise and fall is between min_lr_ratio and 1.
func warmupStableDecay(s curveInput) Schedule {
	floor, decay := s.arg["min_lr_ratio"], int(s.arg["num_decay_steps"])
	stable := s.last - s.warmup - decay
	if v := s.arg["num_stable_steps"]; !math.IsNaN(v) {
		stable = int(v)
	}
	fall := func(shape string, p float64) float64 { // from 1 to 0
		switch shape {
		case "linear":
			return 1 - p
		case "1-sqrt":
			return 1 - math.Sqrt(p)
		}
		return wave(s.arg["num_cycles"], p)
	}
	rise := func(p float64) float64 { // from 0 to 1
		switch s.shape["warmup_type"] {
		case "linear":
			return p
		case "1-sqrt":
			return 1 - math.Sqrt(1-p)
		}
		return 1 - wave(0.5, p)
	}
	above := func(f float64) float64 { return max(0, floor+(1-floor)*f) }
	return func(step int) float64 {
		switch end := s.warmup + stable; {
		case step < s.warmup:
			return above(rise(s.rise(step)))
		case step < end:
			return 1
		case step < end+decay:
			return above(fall(s.shape["decay_type"], float64(step-end)/float64(max(1, decay))))
		}
		return floor
	}
}

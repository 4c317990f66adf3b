package kernel

// ISA names the kernel set in use: "generic", "avx2", "avx512" or "avx512bf16".
func ISA() string { return isaName }

// ISAError returns what is wrong with the environment's MAMBA_TRAIN_KERNELS, or nil: an unknown name, or a kernel set this
// processor lacks. The best supported set is in use then.
func ISAError() error { return isaErr }

// kernelsVariable overrides the choice of kernel set, for tests and comparisons.
const kernelsVariable = "MAMBA_TRAIN_KERNELS"

var (
	isaName = "generic"
	isaErr  error
)

// available lists the kernel sets this processor can run, slowest first.
func available() []string { return []string{"generic"} }

// use switches to a kernel set that available lists.
func use(name string) { isaName = name }

//go:build mpi && linux && (amd64 || arm64)

package mpi

// abi contains what differs between families of MPI libraries: the handles of objects defined in mpi.h and one
// constant.
type abi struct {
	name               string
	world              uintptr
	float32s, float64s uintptr
	bytes              uintptr
	sum, max           uintptr
	errorsReturn       uintptr
	funneled           int32 // MPI_THREAD_FUNNELED
}

// mpichABI is the ABI of MPICH since 3.1, Intel MPI, MVAPICH, and Cray MPI: handles are ints.
var mpichABI = abi{
	name: "MPICH ABI", world: 0x44000000, float32s: 0x4c00040a, float64s: 0x4c00080b, bytes: 0x4c00010d,
	sum: 0x58000003, max: 0x58000001, errorsReturn: 0x54000001, funneled: 1,
}

// standardABI is the ABI of MPI 5.0, chapter 20.
var standardABI = abi{
	name: "MPI 5 ABI", world: 0x101, float32s: 0x210, float64s: 0x214, bytes: 0x247,
	sum: 0x21, max: 0x23, errorsReturn: 0x143, funneled: 1024,
}

// openMPIABI returns the ABI of Open MPI, whose handles are the addresses of library variables. symbol looks up an
// address.
func openMPIABI(symbol func(string) uintptr) abi {
	return abi{
		name: "Open MPI ABI", world: symbol("ompi_mpi_comm_world"), float32s: symbol("ompi_mpi_float"),
		float64s: symbol("ompi_mpi_double"), bytes: symbol("ompi_mpi_byte"), sum: symbol("ompi_mpi_op_sum"),
		max: symbol("ompi_mpi_op_max"), errorsReturn: symbol("ompi_mpi_errors_return"), funneled: 1,
	}
}

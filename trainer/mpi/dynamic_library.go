//go:build mpi && linux && (amd64 || arm64)

package mpi

import (
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	"mambatrain/internal/sharedlib"
)

// dynamicLibrary is an MPI library loaded at run time.
type dynamicLibrary struct {
	*sharedlib.Library
	abi abi
	functions
	// out receives the results that a call returns through pointers. It is on the heap: a stack may move between taking
	// an address and making the call.
	out struct {
		a, b int32
		text [8192]byte // MPI_MAX_LIBRARY_VERSION_STRING in all libraries
	}
}

// functions contains the addresses of the functions used.
type functions struct {
	initThread, setErrorHandler, errorString, libraryVersion, commRank, commSize,
	allreduce, alltoall, allgather, bcast, barrierAll, abortAll, finalizeAll uintptr
}

// load opens the library at path or, if path is empty, the first one found that belongs to the launcher.
func load(l launch, path string) (*dynamicLibrary, error) {
	paths := candidates(l.family)
	if path != "" {
		paths = []string{path}
	}
	// The library's plugins need its symbols.
	lib, err := sharedlib.Open(sharedlib.Global, paths...)
	if err != nil {
		return nil, refusef("%s started %d processes, but no MPI library can be opened: set distributed.library to its path, or install openmpi-bin or mpich\n  %v",
			l.name, l.size, err)
	}
	d := &dynamicLibrary{Library: lib}
	return d, d.bind()
}

func candidates(f family) []string {
	open, others := []string{"libmpi.so.40"}, []string{"libmpich.so.12", "libmpi.so.12", "libmpi_abi.so.1", "libmpi_abi.so.0"}
	switch f {
	case openMPI:
		return open
	case mpich:
		return others
	}
	return append(open, others...)
}

func (d *dynamicLibrary) bind() error {
	f := &d.functions
	for _, e := range []struct {
		name string
		at   *uintptr
	}{
		{"MPI_Init_thread", &f.initThread}, {"MPI_Comm_set_errhandler", &f.setErrorHandler}, {"MPI_Error_string", &f.errorString},
		{"MPI_Get_library_version", &f.libraryVersion}, {"MPI_Comm_rank", &f.commRank}, {"MPI_Comm_size", &f.commSize},
		{"MPI_Allreduce", &f.allreduce}, {"MPI_Alltoall", &f.alltoall}, {"MPI_Allgather", &f.allgather}, {"MPI_Bcast", &f.bcast},
		{"MPI_Barrier", &f.barrierAll}, {"MPI_Abort", &f.abortAll}, {"MPI_Finalize", &f.finalizeAll},
	} {
		if *e.at = d.Symbol(e.name); *e.at == 0 {
			return refusef("%s is not an MPI library: it has no %s", d.Path, e.name)
		}
	}
	switch {
	case d.Symbol("ompi_mpi_comm_world") != 0:
		d.abi = openMPIABI(d.Symbol)
	case d.isStandard():
		d.abi = standardABI
	default:
		d.abi = mpichABI
	}
	return nil
}

// isStandard reports whether handles are those of MPI 5. MPICH 5 also has the function in its native library, which
// keeps MPICH's handles; only the file name distinguishes the two.
func (d *dynamicLibrary) isStandard() bool {
	version := d.Symbol("MPI_Abi_get_version")
	if version == 0 || !strings.Contains(d.Path, "mpi_abi") {
		return false
	}
	r := sharedlib.Call(version, address(&d.out.a), address(&d.out.b))
	return int32(r) == 0 && d.out.a >= 1
}

// address returns the address of p for a call. It stays valid because memory on the heap does not move.
func address[T any](p *T) uintptr { return uintptr(unsafe.Pointer(p)) }

// call calls a function that returns an MPI error code.
func (d *dynamicLibrary) call(name string, f uintptr, args ...uintptr) error {
	r := sharedlib.Call(f, args...)
	code := int32(r)
	if code == 0 {
		return nil
	}
	if r := sharedlib.Call(d.errorString, uintptr(code), address(&d.out.text[0]), address(&d.out.a)); int32(r) != 0 {
		return fmt.Errorf("%s: error %d", name, code)
	}
	return fmt.Errorf("%s: %s", name, d.text())
}

// text returns the string in d.out, whose length is d.out.a bytes.
func (d *dynamicLibrary) text() string {
	return string(d.out.text[:min(max(0, int(d.out.a)), len(d.out.text))])
}

// initialize initializes MPI and makes later calls return errors instead of ending the process.
func (d *dynamicLibrary) initialize() error {
	if err := d.call("MPI_Init_thread", d.initThread, 0, 0, uintptr(d.abi.funneled), address(&d.out.b)); err != nil {
		return err
	}
	if d.out.b < d.abi.funneled {
		return refusef("%s: its thread level is %d, want MPI_THREAD_FUNNELED (%d)", d.Path, d.out.b, d.abi.funneled)
	}
	return d.call("MPI_Comm_set_errhandler", d.setErrorHandler, d.abi.world, d.abi.errorsReturn)
}

func (d *dynamicLibrary) version() string {
	if d.call("MPI_Get_library_version", d.libraryVersion, address(&d.out.text[0]), address(&d.out.a)) != nil {
		return d.Path
	}
	line, _, _ := strings.Cut(strings.Trim(d.text(), "\x00\n "), "\n")
	line, _, _ = strings.Cut(line, ", package")
	return fmt.Sprintf("%s, %s, %s", strings.Join(strings.Fields(line), " "), d.abi.name, d.Path)
}

func (d *dynamicLibrary) rank() (int, error) {
	err := d.call("MPI_Comm_rank", d.commRank, d.abi.world, address(&d.out.a))
	return int(d.out.a), err
}

func (d *dynamicLibrary) size() (int, error) {
	err := d.call("MPI_Comm_size", d.commSize, d.abi.world, address(&d.out.a))
	return int(d.out.a), err
}

func (d *dynamicLibrary) sumFloat32s(recv, send []float32) error {
	return allReduce(d, recv, send, d.abi.float32s, d.abi.sum)
}

func (d *dynamicLibrary) sumFloat64s(recv, send []float64) error {
	return allReduce(d, recv, send, d.abi.float64s, d.abi.sum)
}

func (d *dynamicLibrary) maxFloat64s(recv, send []float64) error {
	return allReduce(d, recv, send, d.abi.float64s, d.abi.max)
}

func allReduce[T float32 | float64](d *dynamicLibrary, recv, send []T, kind, op uintptr) error {
	err := d.call("MPI_Allreduce", d.allreduce, first(send), first(recv), uintptr(len(send)), kind, op, d.abi.world)
	runtime.KeepAlive(send)
	runtime.KeepAlive(recv)
	return err
}

func (d *dynamicLibrary) allToAll(recv, send []float32) error {
	n, err := d.size()
	if err != nil {
		return err
	}
	part := uintptr(len(send) / n)
	err = d.call("MPI_Alltoall", d.alltoall, first(send), part, d.abi.float32s, first(recv), part, d.abi.float32s, d.abi.world)
	runtime.KeepAlive(send)
	runtime.KeepAlive(recv)
	return err
}

func (d *dynamicLibrary) allGather(recv, send []float32) error {
	n := uintptr(len(send))
	err := d.call("MPI_Allgather", d.allgather, first(send), n, d.abi.float32s, first(recv), n, d.abi.float32s, d.abi.world)
	runtime.KeepAlive(send)
	runtime.KeepAlive(recv)
	return err
}

func (d *dynamicLibrary) broadcast(x []byte, root int) error {
	err := d.call("MPI_Bcast", d.bcast, first(x), uintptr(len(x)), d.abi.bytes, uintptr(root), d.abi.world)
	runtime.KeepAlive(x)
	return err
}

func (d *dynamicLibrary) barrier() error  { return d.call("MPI_Barrier", d.barrierAll, d.abi.world) }
func (d *dynamicLibrary) finalize() error { return d.call("MPI_Finalize", d.finalizeAll) }
func (d *dynamicLibrary) abort(code int)  { sharedlib.Call(d.abortAll, d.abi.world, uintptr(code)) }

// first returns the address of the first element.
func first[T any](x []T) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(x))) }

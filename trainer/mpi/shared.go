//go:build mpi && linux && (amd64 || arm64)

package mpi

import (
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	"github.com/ebitengine/purego"
)

// shared is an MPI library that was opened at run time.
type shared struct {
	path   string
	handle uintptr
	abi    abi
	functions
	// out receives what a call returns through pointers. It lives on the heap: a stack may move between the moment its
	// address is taken and the call.
	out struct {
		a, b int32
		text [8192]byte // MPI_MAX_LIBRARY_VERSION_STRING in all of them
	}
}

// functions are the addresses of what is called.
type functions struct {
	initThread, setErrorHandler, errorString, libraryVersion, commRank, commSize,
	allreduce, alltoall, allgather, bcast, barrierAll, abortAll, finalizeAll uintptr
}

// load opens the library at the path, or the first one there is that belongs to the launcher.
func load(l launched, path string) (*shared, error) {
	paths := candidates(l.kin)
	if path != "" {
		paths = []string{path}
	}
	var failed []string
	for _, p := range paths {
		handle, err := purego.Dlopen(p, purego.RTLD_NOW|purego.RTLD_GLOBAL)
		if err != nil {
			failed = append(failed, err.Error())
			continue
		}
		s := &shared{path: p, handle: handle}
		return s, s.bind()
	}
	return nil, refusef("%s has started %d processes, but no MPI library can be opened: name it in distributed.library, or install openmpi-bin or mpich\n  %s",
		l.name, l.size, strings.Join(failed, "\n  "))
}

func candidates(k kin) []string {
	open, others := []string{"libmpi.so.40"}, []string{"libmpich.so.12", "libmpi.so.12", "libmpi_abi.so.1", "libmpi_abi.so.0"}
	switch k {
	case openMPI:
		return open
	case mpich:
		return others
	}
	return append(open, others...)
}

// symbol returns an address in the library, 0 if there is no such name.
func (s *shared) symbol(name string) uintptr {
	p, err := purego.Dlsym(s.handle, name)
	if err != nil {
		return 0
	}
	return p
}

func (s *shared) bind() error {
	f := &s.functions
	for _, e := range []struct {
		name string
		at   *uintptr
	}{
		{"MPI_Init_thread", &f.initThread}, {"MPI_Comm_set_errhandler", &f.setErrorHandler}, {"MPI_Error_string", &f.errorString},
		{"MPI_Get_library_version", &f.libraryVersion}, {"MPI_Comm_rank", &f.commRank}, {"MPI_Comm_size", &f.commSize},
		{"MPI_Allreduce", &f.allreduce}, {"MPI_Alltoall", &f.alltoall}, {"MPI_Allgather", &f.allgather}, {"MPI_Bcast", &f.bcast},
		{"MPI_Barrier", &f.barrierAll}, {"MPI_Abort", &f.abortAll}, {"MPI_Finalize", &f.finalizeAll},
	} {
		if *e.at = s.symbol(e.name); *e.at == 0 {
			return refusef("%s is no MPI library: it has no %s", s.path, e.name)
		}
	}
	switch {
	case s.symbol("ompi_mpi_comm_world") != 0:
		s.abi = openMPIABI(s.symbol)
	case s.isStandard():
		s.abi = standardABI
	default:
		s.abi = mpichABI
	}
	return nil
}

// isStandard says whether handles are those of MPI 5. MPICH 5 has the function in its own library too, which keeps
// MPICH's handles; only the file's name tells the two apart.
func (s *shared) isStandard() bool {
	version := s.symbol("MPI_Abi_get_version")
	if version == 0 || !strings.Contains(s.path, "mpi_abi") {
		return false
	}
	r, _, _ := purego.SyscallN(version, address(&s.out.a), address(&s.out.b))
	return int32(r) == 0 && s.out.a >= 1
}

// address is where p points, for a call that is over before p moves: memory on the heap does not.
func address[T any](p *T) uintptr { return uintptr(unsafe.Pointer(p)) }

// call makes a call that returns an MPI error code.
func (s *shared) call(name string, f uintptr, args ...uintptr) error {
	r, _, _ := purego.SyscallN(f, args...)
	code := int32(r)
	if code == 0 {
		return nil
	}
	if r, _, _ := purego.SyscallN(s.errorString, uintptr(code), address(&s.out.text[0]), address(&s.out.a)); int32(r) != 0 {
		return fmt.Errorf("%s: error %d", name, code)
	}
	return fmt.Errorf("%s: %s", name, s.text())
}

// text is the string in s.out, of s.out.a bytes.
func (s *shared) text() string {
	return string(s.out.text[:min(max(0, int(s.out.a)), len(s.out.text))])
}

// initialise enters MPI. Errors of later calls are returned instead of ending the process.
func (s *shared) initialise() error {
	if err := s.call("MPI_Init_thread", s.initThread, 0, 0, uintptr(s.abi.funneled), address(&s.out.b)); err != nil {
		return err
	}
	if s.out.b < s.abi.funneled {
		return refusef("%s: its thread level is %d, want MPI_THREAD_FUNNELED (%d)", s.path, s.out.b, s.abi.funneled)
	}
	return s.call("MPI_Comm_set_errhandler", s.setErrorHandler, s.abi.world, s.abi.errorsReturn)
}

func (s *shared) version() string {
	if s.call("MPI_Get_library_version", s.libraryVersion, address(&s.out.text[0]), address(&s.out.a)) != nil {
		return s.path
	}
	line, _, _ := strings.Cut(strings.Trim(s.text(), "\x00\n "), "\n")
	line, _, _ = strings.Cut(line, ", package")
	return fmt.Sprintf("%s, %s, %s", strings.Join(strings.Fields(line), " "), s.abi.name, s.path)
}

func (s *shared) rank() (int, error) {
	err := s.call("MPI_Comm_rank", s.commRank, s.abi.world, address(&s.out.a))
	return int(s.out.a), err
}

func (s *shared) size() (int, error) {
	err := s.call("MPI_Comm_size", s.commSize, s.abi.world, address(&s.out.a))
	return int(s.out.a), err
}

func (s *shared) sumFloat32s(recv, send []float32) error {
	return allReduce(s, recv, send, s.abi.float32s, s.abi.sum)
}

func (s *shared) sumFloat64s(recv, send []float64) error {
	return allReduce(s, recv, send, s.abi.float64s, s.abi.sum)
}

func (s *shared) maxFloat64s(recv, send []float64) error {
	return allReduce(s, recv, send, s.abi.float64s, s.abi.max)
}

func allReduce[T float32 | float64](s *shared, recv, send []T, kind, op uintptr) error {
	err := s.call("MPI_Allreduce", s.allreduce, first(send), first(recv), uintptr(len(send)), kind, op, s.abi.world)
	runtime.KeepAlive(send)
	runtime.KeepAlive(recv)
	return err
}

func (s *shared) allToAll(recv, send []float32) error {
	n, err := s.size()
	if err != nil {
		return err
	}
	part := uintptr(len(send) / n)
	err = s.call("MPI_Alltoall", s.alltoall, first(send), part, s.abi.float32s, first(recv), part, s.abi.float32s, s.abi.world)
	runtime.KeepAlive(send)
	runtime.KeepAlive(recv)
	return err
}

func (s *shared) allGather(recv, send []float32) error {
	n := uintptr(len(send))
	err := s.call("MPI_Allgather", s.allgather, first(send), n, s.abi.float32s, first(recv), n, s.abi.float32s, s.abi.world)
	runtime.KeepAlive(send)
	runtime.KeepAlive(recv)
	return err
}

func (s *shared) broadcast(x []byte, root int) error {
	err := s.call("MPI_Bcast", s.bcast, first(x), uintptr(len(x)), s.abi.bytes, uintptr(root), s.abi.world)
	runtime.KeepAlive(x)
	return err
}

func (s *shared) barrier() error  { return s.call("MPI_Barrier", s.barrierAll, s.abi.world) }
func (s *shared) finalize() error { return s.call("MPI_Finalize", s.finalizeAll) }
func (s *shared) abort(code int)  { purego.SyscallN(s.abortAll, s.abi.world, uintptr(code)) }

// first is the address of the first element.
func first[T any](x []T) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(x))) }

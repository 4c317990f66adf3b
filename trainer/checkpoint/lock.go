package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// ErrLocked says that another process is writing to the output directory.
var ErrLocked = errors.New("another run is writing there")

// fileLock is a lock that the system takes back when the process dies, however it dies. The file itself stays behind.
type fileLock struct{ f *os.File }

func lockFile(path string) (*fileLock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	if err := lockHandle(f); err != nil {
		holder, _ := os.ReadFile(path)
		f.Close()
		if errors.Is(err, ErrLocked) && len(holder) > 0 {
			return nil, fmt.Errorf("%w (process %s)", ErrLocked, strings.TrimSpace(string(holder)))
		}
		return nil, err
	}
	// The number only serves the message above.
	f.Truncate(0)
	f.WriteAt(fmt.Appendln(nil, os.Getpid()), 0)
	return &fileLock{f}, nil
}

func (l *fileLock) Close() error { return l.f.Close() }

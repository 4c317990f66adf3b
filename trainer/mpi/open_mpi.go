//go:build mpi && linux && (amd64 || arm64)

package mpi

import (
	"os"

	"mambatrain/trainer"
)

// Open connects to the other ranks if a launcher started several. If that is impossible, it returns a [*RefusedError].
// For a single process, it loads no library.
func Open(config Config) (trainer.Communicator, error) {
	l := detect(os.LookupEnv)
	if l.size <= 1 {
		return trainer.SingleProcess{}, nil
	}
	c, err := start(func() (library, error) {
		before := readHandlers() // UCX installs signal handlers as soon as it is loaded
		lib, err := load(l, config.Library)
		if err != nil {
			return nil, err
		}
		err = lib.initialize()
		before.restore()
		return lib, err
	}, l, config)
	if err != nil {
		return nil, err
	}
	c.cores = l.cores()
	if line := l.tooFewCores(); line != "" {
		c.config.Print(Prefix(c) + line)
	}
	return c, nil
}

package cli

import (
	"os"
)

// SaveSignal is the signal that Windows does not have.
var SaveSignal os.Signal

package cli

import (
	"os"
)

// SaveSignal is nil: Windows has no such signal.
var SaveSignal os.Signal

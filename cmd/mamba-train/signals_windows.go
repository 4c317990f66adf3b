package main

import "os"

// saveSignal is the signal that Windows does not have.
var saveSignal os.Signal

package filelock

// LockNamed locks a file that was opened earlier.
var LockNamed = lockNamed

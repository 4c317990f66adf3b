package filelock

// LockNamed locks a file that has been opened earlier.
var LockNamed = lockNamed

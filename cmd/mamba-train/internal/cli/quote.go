package cli

import (
	"runtime"
	"strings"
)

// Quote returns arg quoted for a shell if it contains special characters.
func Quote(arg string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r > '~' || strings.ContainsRune("_-./:=@%+,", r) ||
			runtime.GOOS == "windows" && r == '\\'
	}
	if arg != "" && strings.IndexFunc(arg, func(r rune) bool { return !plain(r) }) < 0 {
		return arg
	}
	if runtime.GOOS == "windows" {
		return `"` + arg + `"` // file names cannot contain quotes
	}
	return "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
}

package cli

import (
	"runtime"
	"strings"
)

// Quote returns arg as it is typed in a shell: in quotes if it has characters with a meaning there.
func Quote(arg string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r > '~' || strings.ContainsRune("_-./:=@%+,", r) ||
			runtime.GOOS == "windows" && r == '\\'
	}
	if arg != "" && strings.IndexFunc(arg, func(r rune) bool { return !plain(r) }) < 0 {
		return arg
	}
	if runtime.GOOS == "windows" {
		return `"` + arg + `"` // no file's name has a quote
	}
	return "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
}

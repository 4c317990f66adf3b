// Package homepath expands ~ and environment variables in paths that people write in configurations, flags, and
// variables, where no shell expands them.
package homepath

import (
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
)

var variable = regexp.MustCompile(`\$(\w+|\{\w+\})`)

// Expand returns path with a leading ~ or ~name replaced by the home directory, and $NAME and ${NAME} replaced by
// environment variables, as Python's os.path functions do. Unknown names are left unchanged.
func Expand(path string) string {
	path = variable.ReplaceAllStringFunc(path, func(v string) string {
		if value, ok := os.LookupEnv(strings.Trim(v, "${}")); ok {
			return value
		}
		return v
	})
	if !strings.HasPrefix(path, "~") {
		return path
	}
	end := strings.IndexFunc(path, func(r rune) bool { return r < 0x80 && os.IsPathSeparator(byte(r)) })
	if end < 0 {
		end = len(path)
	}
	home, ok := homeOf(path[1:end])
	if !ok {
		return path
	}
	return filepath.Join(home, path[end:])
}

// homeOf returns the home directory of a user, or of the current user if name is "".
func homeOf(name string) (dir string, ok bool) {
	if name == "" {
		dir, err := os.UserHomeDir()
		return dir, err == nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return "", false
	}
	return u.HomeDir, true
}

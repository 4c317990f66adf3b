package source

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// hasPattern reports whether a path contains pattern characters.
func hasPattern(path string) bool { return strings.ContainsAny(path, "*?[") }

// matchPath reports whether a pattern matches a path: path.Match for each component, and ** for any number of folders.
// Names that begin with a dot, and folder names that begin with __, match only a pattern that begins the same way.
func matchPath(pattern, name string) bool {
	return matchParts(strings.Split(pattern, "/"), strings.Split(name, "/"))
}

func matchParts(pattern, name []string) bool {
	if len(pattern) == 0 || len(name) == 0 {
		return len(pattern) == 0 && len(name) == 0
	}
	first := pattern[0]
	if first == "**" {
		if len(pattern) == 1 {
			return !slices.ContainsFunc(name[:len(name)-1], isHiddenFolder) && !strings.HasPrefix(name[len(name)-1], ".")
		}
		return matchParts(pattern[1:], name) || !isHiddenFolder(name[0]) && matchParts(pattern, name[1:])
	}
	hidden := strings.HasPrefix(name[0], ".") && !strings.HasPrefix(first, ".") ||
		len(name) > 1 && strings.HasPrefix(name[0], "__") && !strings.HasPrefix(first, "__")
	ok, _ := path.Match(strings.ReplaceAll(first, "[!", "[^"), name[0])
	return ok && !hidden && matchParts(pattern[1:], name[1:])
}

func isHiddenFolder(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "__")
}

// glob lists the files that match a pattern, in order.
func glob(pattern string) ([]string, error) {
	pattern = filepath.ToSlash(pattern)
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, err
	}
	parts := strings.Split(pattern, "/")
	n := slices.IndexFunc(parts, hasPattern)
	found, err := globParts(strings.Join(parts[:n], "/"), parts[n:], n > 0)
	slices.Sort(found)
	return slices.Compact(found), err
}

// globParts lists the matching files below dir. Folders that are links are followed only for a component of the pattern
// that matches them, not for **, because links may form cycles.
func globParts(dir string, pattern []string, within bool) (found []string, err error) {
	if pattern[0] == "**" {
		return globTree(dir, pattern, within)
	}
	entries, err := os.ReadDir(folderOf(dir, within))
	if err != nil {
		return nil, nil // an unreadable folder has no matches, as in the shell
	}
	for _, e := range entries {
		name, last := e.Name(), len(pattern) == 1
		if !matchParts(pattern[:1], []string{name}) || !last && isHiddenFolder(name) && !isHiddenFolder(pattern[0]) {
			continue
		}
		full := joinWithin(dir, name, within)
		info, err := os.Stat(full)
		switch {
		case err != nil:
		case last && !info.IsDir():
			found = append(found, full)
		case !last && info.IsDir():
			more, err := globParts(full, pattern[1:], true)
			if err != nil {
				return nil, err
			}
			found = append(found, more...)
		}
	}
	return found, nil
}

func globTree(dir string, pattern []string, within bool) (found []string, err error) {
	root := folderOf(dir, within)
	names, err := listTree(root)
	for _, n := range names {
		if matchParts(pattern, strings.Split(n, "/")) {
			found = append(found, joinWithin(dir, n, within))
		}
	}
	return found, err
}

// folderOf returns the folder to read for the start of a pattern. "" is the working directory, or the root for "/…".
func folderOf(dir string, within bool) string {
	switch {
	case dir != "":
		return dir
	case within:
		return "/"
	}
	return "."
}

func joinWithin(dir, name string, within bool) string {
	if !within {
		return name
	}
	return dir + "/" + name
}

// listTree lists the files below root by their relative paths, with slashes. Links to files count; links to folders are
// not followed, as in the datasets library, but root may be one.
func listTree(root string) (names []string, err error) {
	if real, err := filepath.EvalSymlinks(root); err == nil {
		root = real
	}
	err = filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			if e.Name() == ".git" {
				return filepath.SkipDir
			}
			return nil
		}
		if e.Type()&fs.ModeSymlink != 0 {
			if info, err := os.Stat(p); err != nil || info.IsDir() {
				return nil
			}
		}
		name, err := filepath.Rel(root, p)
		names = append(names, filepath.ToSlash(name))
		return err
	})
	slices.Sort(names)
	return names, err
}

package cli

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/spf13/cobra"
)

// ~ in the value of a path flag is expanded, because shells do not expand --dir=~/runs. --messages is a file only in
// generate.
func TestExpandPaths(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home)
	expanded := filepath.Join(home, "a")
	for _, c := range []struct{ command, messages string }{{"generate", expanded}, {"eval", "~/a"}, {"studio", "~/a"}} {
		cmd := &cobra.Command{Use: c.command}
		dirs := cmd.Flags().StringArray("dir", []string{"runs"}, "")
		messages := cmd.Flags().String("messages", "", "")
		prompt := cmd.Flags().String("prompt", "", "")
		if err := cmd.ParseFlags([]string{"--dir=~/a", "--dir", "b", "--messages=~/a", "--prompt=~/a"}); err != nil {
			t.Fatal(err)
		}
		if err := ExpandPaths(cmd); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(*dirs, []string{expanded, "b"}) || *messages != c.messages || *prompt != "~/a" {
			t.Errorf("%s: --dir %q, --messages %s, --prompt %s", c.command, *dirs, *messages, *prompt)
		}
	}
}

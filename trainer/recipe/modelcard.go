package recipe

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"mambatrain/internal/atomicfile"
	"mambatrain/internal/format"
	"mambatrain/trainer/checkpoint"
)

// writeModelCard writes README.md: what was trained on what, with which settings, and how it went.
func (r *Run) writeModelCard(dir, title string, st *checkpoint.State) error {
	var b strings.Builder
	c := r.Config
	library := "transformers"
	if r.Adapter != nil {
		library = "peft"
	}
	fmt.Fprintf(&b, "---\nbase_model: %q\nlibrary_name: %s\npipeline_tag: text-generation\ntags: [mamba, mamba-train]\n---\n\n# %s\n\n", c.Model, library, title)
	switch {
	case r.Adapter != nil:
		fmt.Fprintf(&b, "A LoRA adapter (r %d on %v) for `%s`", r.Adapter.Config.R, r.Adapter.Config.TargetModules, c.Model)
	case r.FromScratch:
		fmt.Fprintf(&b, "A Mamba model trained from scratch with the sizes of `%s`", c.Model)
	default:
		fmt.Fprintf(&b, "`%s`, fine-tuned", c.Model)
	}
	s := r.Data.Stats()
	fmt.Fprintf(&b, ", trained with mamba-train on %s (%s).\n\n", r.describeSources(), format.Counted(s.Tokens, "token"))
	fmt.Fprintf(&b, "| | |\n|---|---|\n| steps | %d |\n| training loss | %.4f |\n", st.GlobalStep, lastWith("train_loss", st.LogHistory)["train_loss"])
	eval := lastWith("eval_", st.LogHistory)
	for _, k := range slices.Sorted(maps.Keys(eval)) {
		if strings.HasPrefix(k, "eval_") {
			fmt.Fprintf(&b, "| %s | %s |\n", strings.ReplaceAll(k, "_", " "), format.Significant(eval[k], 5))
		}
	}
	b.WriteString("\n![loss](loss.svg)\n\nSettings (config.yaml):\n\n```yaml\n")
	text, err := c.YAML()
	if err != nil {
		return err
	}
	b.Write(text)
	b.WriteString("```\n")
	return atomicfile.WriteFile(filepath.Join(dir, "README.md"), []byte(b.String()))
}

// lastWith returns the last row of a history that has a value whose name begins with prefix.
func lastWith(prefix string, history []checkpoint.Row) checkpoint.Row {
	for _, row := range slices.Backward(history) {
		for k := range row {
			if strings.HasPrefix(k, prefix) {
				return row
			}
		}
	}
	return nil
}

func (r *Run) describeSources() string {
	paths := make([]string, len(r.Config.Data.Train))
	for i, in := range r.Config.Data.Train {
		paths[i] = "`" + in.Path + "`"
	}
	return strings.Join(paths, ", ")
}

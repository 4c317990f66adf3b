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

// writeModelCard writes README.md: what was trained on what data, the settings, the outcome, and which programs can
// load it. Names from the user's files and data appear literally, not as Markdown or HTML.
func (r *Run) writeModelCard(dir, title string, st *checkpoint.State) error {
	settings, err := r.Config.YAML()
	if err != nil {
		return err
	}
	readers, err := r.describeReaders(dir)
	if err != nil {
		return err
	}
	library := "transformers"
	if r.Adapter != nil {
		library = "peft"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "---\nbase_model: %q\nlibrary_name: %s\npipeline_tag: text-generation\ntags: [mamba, mamba-train]\n---\n\n", r.Config.Model, library)
	fmt.Fprintf(&b, "# %s\n\n%s, trained with mamba-train on %s (%s).\n\n", plain(title), r.describeModel(), r.describeSources(), format.Counted(r.Data.Stats().Tokens, "token"))
	b.WriteString(r.describeBase())
	b.WriteString(describeCourse(st) + "\n![loss](loss.svg)\n" + readers)
	fmt.Fprintf(&b, "\nSettings (config.yaml):\n\n%s", fenced("yaml", string(settings)))
	return atomicfile.WriteFile(filepath.Join(dir, "README.md"), []byte(b.String()))
}

func (r *Run) describeModel() string {
	model := code(r.Config.Model)
	switch {
	case r.Adapter != nil:
		return fmt.Sprintf("A LoRA adapter (r %d on %s) for %s", r.Adapter.Config.R, plain(r.Adapter.Config.TargetModules.String()), model)
	case r.FromScratch:
		return "A Mamba model trained from scratch with the configuration of " + model
	}
	return model + ", fine-tuned"
}

// describeBase describes the weights an adapter was trained on: the hash of their values and the form in which they
// were stored.
func (r *Run) describeBase() string {
	if r.Adapter == nil || r.Adapter.Base == "" {
		return ""
	}
	form := r.precision()
	if r.Adapter.Blocks != "" {
		form = "quantized blocks (" + r.Adapter.Blocks + ")"
	}
	return fmt.Sprintf("The base model's weights were loaded in %s; the hash of their values is %s.\n\n", form, code(r.Adapter.Base))
}

func (r *Run) describeSources() string {
	paths := make([]string, len(r.Config.Data.Train))
	for i, in := range r.Config.Data.Train {
		paths[i] = code(in.Path)
	}
	return strings.Join(paths, ", ")
}

// describeCourse returns a table of the outcome of the run. The evaluation is that of the weights saved with the card.
func describeCourse(st *checkpoint.State) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| | |\n|---|---|\n| steps | %d |\n", st.GlobalStep)
	if step := st.ResultStep(); step != st.GlobalStep {
		fmt.Fprintf(&b, "| weights | from step %d, the best evaluation |\n", step)
	}
	fmt.Fprintf(&b, "| training loss | %.4f |\n", lastWith("train_loss", st.LogHistory)["train_loss"])
	eval := st.Evaluation()
	for _, k := range slices.Sorted(maps.Keys(eval)) {
		if strings.HasPrefix(k, checkpoint.EvalPrefix) {
			fmt.Fprintf(&b, "| %s | %s |\n", plain(strings.ReplaceAll(k, "_", " ")), format.Significant(eval[k], 5))
		}
	}
	return b.String()
}

// describeReaders returns a table of the programs that can load the adapter in dir, or "" if the result is a model,
// which all of them can load.
func (r *Run) describeReaders(dir string) (string, error) {
	if r.Adapter == nil {
		return "", nil
	}
	readers, err := Readers(dir, r.Model.Config)
	if err != nil {
		return "", err
	}
	text := "\n| program | can load the adapter |\n|---|---|\n"
	for _, v := range readers {
		text += fmt.Sprintf("| %s | %s |\n", plain(v.Reader), plain(v.String()))
	}
	return text, nil
}

// lastWith returns the last row of a history that has the named value.
func lastWith(name string, history []checkpoint.Row) checkpoint.Row {
	for _, row := range slices.Backward(history) {
		if _, ok := row[name]; ok {
			return row
		}
	}
	return nil
}

var markdown = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "|", "\\|", "`", "\\`", "[", "\\[", "]", "\\]", "*", "\\*", `\`, `\\`)

// plain returns text escaped so that Markdown shows it literally, on one line.
func plain(text string) string { return markdown.Replace(oneLine(text)) }

func oneLine(text string) string {
	return format.Printable(strings.NewReplacer("\n", " ", "\t", " ").Replace(text))
}

// code returns text as a Markdown code span.
func code(text string) string {
	text = oneLine(text)
	if !strings.Contains(text, "`") {
		return "`" + text + "`"
	}
	fence := strings.Repeat("`", longestRun(text, '`')+1)
	return fence + " " + text + " " + fence
}

// fenced returns text as a fenced code block in a language.
func fenced(language, text string) string {
	fence := strings.Repeat("`", max(3, longestRun(text, '`')+1))
	return fence + language + "\n" + text + fence + "\n"
}

// longestRun returns the length of the longest run of a character in text.
func longestRun(text string, c rune) (longest int) {
	n := 0
	for _, r := range text {
		if r != c {
			n = 0
			continue
		}
		n++
		longest = max(longest, n)
	}
	return longest
}

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/internal/format"
	"mambatrain/mamba"
	"mambatrain/trainer/recipe"
)

// answer is the text generated for a prompt, as generate --json prints it.
type answer struct {
	IDs             []int              `json:"ids"`
	Text            string             `json:"text"`
	FinishReason    mamba.FinishReason `json:"finish_reason"`
	PromptTokens    int                `json:"prompt_tokens"`
	Index           int                `json:"index"`
	Prompt          string             `json:"prompt"`
	TokensPerSecond float64            `json:"tokens_per_second,omitempty"`
}

// answerLine is the text generated for a prompt, as a line of --output.
type answerLine struct {
	Index        int                `json:"index"`
	Prompt       string             `json:"prompt"`
	Text         string             `json:"text"`
	IDs          []int              `json:"ids"`
	FinishReason mamba.FinishReason `json:"finish_reason"`
}

// answers prints generated texts: token by token, each text when it is complete, or all at the end.
type answers struct {
	*app
	prompts []prompt
	several bool // texts are numbered
	idsOnly bool // no tokenizer
	to      *cli.ErrorWriter
	path    string // value of --output; "" is standard output
	file    *os.File
	began   time.Time
	streams bool

	written int            // lines written to the file
	printed int            // texts printed, in order
	waiting map[int]string // texts that were completed before an earlier one
}

// openAnswers creates the file of --output before the work starts.
func (a *app) openAnswers(f generateFlags, prompts []prompt, idsOnly bool) (*answers, error) {
	r := &answers{
		app: a, prompts: prompts, several: f.prompts != "" || f.messages != "", idsOnly: idsOnly, to: &cli.ErrorWriter{To: a.Out}, path: f.output,
		began: time.Now(), waiting: map[int]string{},
	}
	if f.output == "" {
		return r, nil
	}
	if err := os.MkdirAll(filepath.Dir(f.output), 0o777); err != nil {
		return nil, cli.Misuse(fmt.Errorf("--output: %w", err))
	}
	var err error
	if r.file, err = os.Create(f.output); err != nil {
		return nil, cli.Misuse(fmt.Errorf("--output: %w", err))
	}
	r.to.To = r.file
	return r, nil
}

func (r *answers) close() {
	if r.file != nil {
		r.file.Close()
	}
}

// live reports whether the text is printed while it is generated. If so, it prints the prompt.
func (r *answers) live(o recipe.TextOptions) bool {
	r.streams = r.file == nil && !r.JSON && !r.several && !r.idsOnly && o.NumBeams <= 1
	if r.streams {
		fmt.Fprint(r.to, r.prompts[0].text)
	}
	return r.streams
}

// done prints a text that is complete.
func (r *answers) done(i int, t recipe.Text) error {
	switch {
	case r.file != nil:
		enc := json.NewEncoder(r.to)
		enc.SetEscapeHTML(false)
		enc.Encode(answerLine{i, r.prompts[i].text, t.Text, append([]int{}, t.IDs...), t.FinishReason})
		r.written++
	case r.JSON:
	case r.streams:
		fmt.Fprintln(r.to)
	default:
		r.waiting[i] = r.shown(i, t)
		for text, ok := r.waiting[r.printed]; ok; text, ok = r.waiting[r.printed] {
			delete(r.waiting, r.printed)
			fmt.Fprintln(r.to, text)
			r.printed++
		}
	}
	return r.to.Err
}

// shown formats a prompt and its continuation. If there are several, they are numbered and separated by empty lines.
func (r *answers) shown(i int, t recipe.Text) string {
	text := r.prompts[i].text + t.Text
	if r.idsOnly {
		text = joinInts(t.IDs)
	}
	if !r.several {
		return text
	}
	between := ""
	if i > 0 {
		between = "\n"
	}
	return fmt.Sprintf("%s[%d] %s", between, i, text)
}

// interrupted ends the output after an interrupt.
func (r *answers) interrupted() {
	switch {
	case r.streams:
		fmt.Fprintln(r.to)
	case r.file != nil:
		r.Say("%s contains %d of %d texts", r.path, r.written, len(r.prompts))
	}
}

// finish prints the final summary.
func (r *answers) finish(texts []recipe.Text) error {
	took, tokens := time.Since(r.began), 0
	for _, t := range texts {
		tokens += len(t.IDs)
	}
	rate := float64(tokens) / max(took.Seconds(), 1e-9)
	if r.file != nil {
		if err := cmp.Or(r.to.Err, r.file.Close()); err != nil {
			return err
		}
		return r.Result(struct {
			Output          string  `json:"output"`
			Prompts         int     `json:"prompts"`
			Tokens          int     `json:"tokens"`
			TokensPerSecond float64 `json:"tokens_per_second"`
		}{r.path, len(texts), tokens, rate}, fmt.Sprintf("wrote %s: %s, %s, %.1f tokens/s", r.path,
			format.Counted(len(texts), "text"), format.Counted(tokens, "token"), rate))
	}
	if r.JSON {
		return r.printJSON(texts, rate)
	}
	r.Say("%s in %s, %.1f tokens/s", format.Counted(tokens, "token"), format.Duration(took), rate)
	return r.to.Err
}

// printJSON prints one text, or a list of texts for --prompts.
func (r *answers) printJSON(texts []recipe.Text, rate float64) error {
	list := make([]answer, len(texts))
	for i, t := range texts {
		list[i] = answer{append([]int{}, t.IDs...), t.Text, t.FinishReason, t.PromptTokens, i, r.prompts[i].text, 0}
	}
	if !r.several {
		list[0].TokensPerSecond = rate
		return r.Result(list[0], "")
	}
	return r.Result(struct {
		Results         []answer `json:"results"`
		TokensPerSecond float64  `json:"tokens_per_second"`
	}{list, rate}, "")
}

func joinInts(ids []int) string {
	s, _ := json.Marshal(ids)
	return strings.Trim(string(s), "[]")
}

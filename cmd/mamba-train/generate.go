package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/internal/format"
	"mambatrain/mamba"
	"mambatrain/trainer/recipe"
)

type generateFlags struct {
	modelFlags
	prompt, promptIDs, prompts string
	interactive                bool
	state                      string
	stop                       []string
	options                    mamba.GenerateOptions
}

func (a *app) generateCommand() *cobra.Command {
	f := generateFlags{options: (&mamba.Model{}).DefaultGenerate()}
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Continue a text",
		Example: `  mamba-train generate --model runs/quickstart-merged --prompt "A friend"
  mamba-train generate --adapter runs/quickstart --do-sample --temperature 0.8 --seed 3 --prompt "The sea"
  mamba-train generate --model DIR --prompts prompts.txt --json
  mamba-train generate --model DIR --interactive`,
		Args: cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.generate(cmd, f) },
	}
	fl, o := cmd.Flags(), &f.options
	fl.StringVarP(&f.model, "model", "m", "", "model directory or Hugging Face id")
	fl.StringVar(&f.adapter, "adapter", "", "adapter directory")
	fl.StringVarP(&f.prompt, "prompt", "p", "", "text to continue; - reads standard input")
	fl.StringVar(&f.promptIDs, "prompt-ids", "", "token ids to continue: 1,2,3")
	fl.StringVar(&f.prompts, "prompts", "", "file of texts to continue, one a line")
	fl.BoolVarP(&f.interactive, "interactive", "i", false, "read prompts from the terminal, turn by turn")
	fl.IntVarP(&o.MaxNewTokens, "max-new-tokens", "n", o.MaxNewTokens, "tokens to add at most")
	fl.IntVar(&o.MinNewTokens, "min-new-tokens", 0, "tokens to add at least")
	fl.BoolVar(&o.DoSample, "do-sample", false, "draw tokens by their probability; else the most probable one")
	fl.Float64Var(&o.Temperature, "temperature", o.Temperature, "below 1 favours probable tokens")
	fl.IntVar(&o.TopK, "top-k", o.TopK, "draw from the k most probable tokens; 0 = from all")
	fl.Float64Var(&o.TopP, "top-p", o.TopP, "draw from the most probable tokens that make up this share")
	fl.Float64Var(&o.MinP, "min-p", 0, "leave out tokens below this share of the most probable one")
	fl.Float64Var(&o.TypicalP, "typical-p", o.TypicalP, "draw from the most typical tokens that make up this share")
	fl.Uint64Var(&o.Seed, "seed", 42, "seed of what is drawn")
	fl.Float64Var(&o.RepetitionPenalty, "repetition-penalty", o.RepetitionPenalty, "above 1 makes tokens that have occurred less probable")
	fl.IntVar(&o.NoRepeatNGramSize, "no-repeat-ngram-size", 0, "let no run of so many tokens occur twice; 0 = off")
	fl.IntVar(&o.NumBeams, "num-beams", o.NumBeams, "beam search with so many beams")
	fl.StringArrayVar(&f.stop, "stop", nil, "end before this text; may be repeated")
	fl.BoolVar(&o.IgnoreEOS, "ignore-eos", false, "go on after the end-of-text token")
	fl.StringVar(&f.state, "state", "", "file to continue from, if there is one, and to leave the state in")
	a.precisionFlag(cmd)
	cmd.MarkFlagsMutuallyExclusive("prompt", "prompt-ids", "prompts", "interactive")
	cmd.MarkFlagsMutuallyExclusive("state", "prompts")
	return cmd
}

// check reports flags that do not go together, before the model is read.
func (f generateFlags) check(cmd *cobra.Command, a *app) error {
	if !f.interactive && f.prompt == "" && f.promptIDs == "" && f.prompts == "" && !cmd.Flags().Changed("prompt") && f.state == "" {
		return cli.Misusef("--prompt, --prompt-ids, --prompts or --interactive must be given (%s --help)", cmd.CommandPath())
	}
	if f.interactive && a.JSON {
		return cli.Misusef("--interactive and --json exclude each other")
	}
	if err := cli.Misuse(f.options.Validate()); err != nil {
		return err
	}
	return checkState(f.state)
}

func (a *app) generate(cmd *cobra.Command, f generateFlags) error {
	if err := f.check(cmd, a); err != nil {
		return err
	}
	ctx, stop := cli.NotifyContext()
	defer stop()
	m, err := f.open(ctx, a)
	if err != nil {
		return cli.WithSignal(ctx, err)
	}
	if len(f.stop) > 0 {
		if err := m.NeedTokenizer("--stop"); err != nil {
			return err
		}
	}
	if f.interactive {
		stop() // from here on an interrupt ends an answer
		return a.converse(m, f)
	}
	return cli.WithSignal(ctx, a.continuePrompts(ctx, m, f))
}

// continuePrompts continues the prompts that the flags name.
func (a *app) continuePrompts(ctx context.Context, m *recipe.Model, f generateFlags) error {
	prompts, shown, err := f.read(a.In, m)
	if err != nil {
		return err
	}
	o := f.textOptions()
	if o.State, err = readState(m, f.state, len(prompts)); err != nil {
		return err
	}
	out := &cli.ErrorWriter{To: a.Out}
	live := !a.JSON && len(prompts) == 1 && m.Tokenizer != nil && f.options.NumBeams <= 1
	if live {
		fmt.Fprint(out, shown[0])
		o.Stream = func(text string) { fmt.Fprint(out, text) }
	}
	began := time.Now()
	texts, err := m.Continue(ctx, prompts, o)
	if live {
		fmt.Fprintln(out)
	}
	if err == nil {
		err = out.Err
	}
	if err != nil {
		return err
	}
	if err := saveState(o.State, f.state); err != nil {
		return err
	}
	took := time.Since(began)
	switch {
	case a.JSON:
		return a.printJSON(texts, f, took)
	case m.Tokenizer == nil:
		for i, t := range texts {
			shown[i] = joinInts(t.IDs)
		}
	}
	if !live {
		if err := a.printTexts(texts, shown); err != nil {
			return err
		}
	}
	tokens := tokensOf(texts)
	a.Say("%s in %s, %.1f tokens/s", format.Counted(tokens, "token"), format.Duration(took), perSecond(tokens, took))
	return nil
}

func (f generateFlags) textOptions() recipe.TextOptions {
	return recipe.TextOptions{GenerateOptions: f.options, StopTexts: f.stop}
}

// read returns the prompts as ids and as they are shown.
func (f generateFlags) read(in io.Reader, m *recipe.Model) (prompts [][]int, shown []string, err error) {
	switch {
	case f.promptIDs != "":
		ids, err := parseIDs(f.promptIDs, m.Config.VocabSize)
		return [][]int{ids}, []string{""}, err
	case f.prompts != "":
		shown, err = readLines(f.prompts)
	case f.prompt == "-":
		var b []byte
		b, err = io.ReadAll(in)
		shown = []string{string(b)}
	case f.prompt == "" && f.state != "" && m.Tokenizer == nil:
		return [][]int{nil}, []string{""}, nil
	default:
		shown = []string{f.prompt}
	}
	if err != nil {
		return nil, nil, err
	}
	for _, text := range shown {
		if text == "" && f.state != "" {
			prompts = append(prompts, nil)
			continue
		}
		ids, err := m.Encode(text)
		if err != nil {
			return nil, nil, err
		}
		prompts = append(prompts, ids)
	}
	return prompts, shown, nil
}

// parseIDs reads ids of a vocabulary of the given size.
func parseIDs(list string, vocabulary int) ([]int, error) {
	var ids []int
	for _, s := range strings.Split(list, ",") {
		id, err := strconv.Atoi(strings.TrimSpace(s))
		if err != nil {
			return nil, cli.Misusef("--prompt-ids: want whole numbers with commas between, got %q", s)
		}
		if id < 0 || id >= vocabulary {
			return nil, cli.Misusef("--prompt-ids: %d is outside the vocabulary of %d", id, vocabulary)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func readLines(path string) (lines []string, err error) {
	if err := cli.Exists("--prompts", path); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return nil, cli.Misusef("--prompts %s: no prompts in it", path)
	}
	return lines, nil
}

// textResult is what followed a prompt, as generate prints it with --json.
type textResult struct {
	IDs             []int   `json:"ids"`
	Text            string  `json:"text"`
	FinishReason    string  `json:"finish_reason"`
	PromptTokens    int     `json:"prompt_tokens"`
	TokensPerSecond float64 `json:"tokens_per_second,omitempty"`
}

// printJSON prints one text, or the list of those of --prompts.
func (a *app) printJSON(texts []recipe.Text, f generateFlags, took time.Duration) error {
	rate := perSecond(tokensOf(texts), took)
	list := make([]textResult, len(texts))
	for i, t := range texts {
		list[i] = textResult{IDs: append([]int{}, t.IDs...), Text: t.Text, FinishReason: string(t.FinishReason), PromptTokens: t.PromptTokens}
	}
	if f.prompts == "" {
		list[0].TokensPerSecond = rate
		return a.Result(list[0], "")
	}
	return a.Result(struct {
		Results         []textResult `json:"results"`
		TokensPerSecond float64      `json:"tokens_per_second"`
	}{list, rate}, "")
}

// printTexts prints texts after what is shown of their prompts.
func (a *app) printTexts(texts []recipe.Text, shown []string) error {
	for i, t := range texts {
		if _, err := fmt.Fprintln(a.Out, shown[i]+t.Text); err != nil {
			return err
		}
	}
	return nil
}

func tokensOf(texts []recipe.Text) (n int) {
	for _, t := range texts {
		n += len(t.IDs)
	}
	return n
}

func perSecond(n int, took time.Duration) float64 { return float64(n) / max(took.Seconds(), 1e-9) }

func joinInts(ids []int) string {
	s, _ := json.Marshal(ids)
	return strings.Trim(string(s), "[]")
}

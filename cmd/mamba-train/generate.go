package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/data/tokenizer"
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
	ctx, stop := cli.Interruptible()
	defer stop()
	m, err := f.open(ctx, a)
	if err != nil {
		return cli.Signalled(ctx, err)
	}
	w, err := newWriter(m, f)
	if err != nil {
		return err
	}
	if f.interactive {
		stop() // from here on an interrupt ends an answer
		return a.converse(m, w, f.state)
	}
	prompts, shown, err := f.read(a.In, m)
	if err != nil {
		return err
	}
	if w.options.State, err = readState(m, f.state, len(prompts)); err != nil {
		return err
	}
	out := &cli.ErrorWriter{To: a.Out}
	live := !a.JSON && len(prompts) == 1 && m.Tokenizer != nil && f.options.NumBeams <= 1
	if live {
		fmt.Fprint(out, shown[0])
		w.stream(out)
	}
	began := time.Now()
	texts, err := w.generate(ctx, prompts)
	w.endStream()
	if err != nil {
		if live {
			fmt.Fprintln(a.Out)
		}
		return cli.Signalled(ctx, err)
	}
	if out.Err != nil {
		return out.Err
	}
	if err := saveState(w.options.State, f.state); err != nil {
		return err
	}
	took := time.Since(began)
	if m.Tokenizer == nil {
		for i := range texts {
			shown[i] = joinInts(texts[i].IDs)
		}
	}
	return a.printTexts(texts, shown, live, f.prompts != "", took)
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

// writer turns prompts into texts.
type writer struct {
	m       *recipe.Model
	options mamba.GenerateOptions
	stops   []string
	live    *streamed // nil: texts are not streamed
}

// text is what followed a prompt.
type text struct {
	IDs             []int   `json:"ids"`
	Text            string  `json:"text"`
	FinishReason    string  `json:"finish_reason"`
	PromptTokens    int     `json:"prompt_tokens"`
	TokensPerSecond float64 `json:"tokens_per_second,omitempty"`
}

func newWriter(m *recipe.Model, f generateFlags) (*writer, error) {
	w := &writer{m: m, options: f.options, stops: f.stop}
	w.options.EOS = m.DefaultGenerate().EOS
	w.options.Vocab, w.options.Suppress = m.Vocabulary()
	if len(w.stops) == 0 {
		return w, nil
	}
	if err := m.NeedTokenizer("--stop"); err != nil {
		return nil, err
	}
	for _, s := range w.stops {
		if s == "" {
			return nil, cli.Misusef("--stop: must not be empty")
		}
	}
	w.options.Stop = func(_ int, ids []int) bool {
		_, found := w.cut(w.m.Tokenizer.DecodeText(ids))
		return found
	}
	return w, nil
}

// cut ends a text before the first of the stop texts.
func (w *writer) cut(s string) (string, bool) {
	end := len(s)
	for _, stop := range w.stops {
		if i := strings.Index(s, stop); i >= 0 {
			end = min(end, i)
		}
	}
	return s[:end], end < len(s)
}

// generate continues the prompts.
func (w *writer) generate(ctx context.Context, prompts [][]int) ([]text, error) {
	out, err := w.m.Generate(ctx, prompts, w.options)
	texts := make([]text, len(out))
	for i, g := range out {
		texts[i] = text{IDs: append([]int{}, g.IDs...), FinishReason: string(g.FinishReason), PromptTokens: g.PromptTokens}
		if w.m.Tokenizer != nil {
			texts[i].Text, _ = w.cut(w.m.Tokenizer.DecodeText(g.IDs))
		}
	}
	return texts, err
}

// stream writes the text as it comes, in whole characters. What may be the beginning of a stop text is held back.
func (w *writer) stream(out io.Writer) {
	w.live = &streamed{text: w.m.Tokenizer.Stream(), w: w, out: out}
	w.options.OnToken = func(_, id int) { w.live.next(id) }
}

// endStream writes what was held back when the text has ended.
func (w *writer) endStream() {
	if s := w.live; s != nil && !s.done {
		fmt.Fprint(s.out, s.held+s.text.Rest())
	}
	w.live = nil
}

type streamed struct {
	text *tokenizer.TextStream
	w    *writer
	out  io.Writer
	held string
	done bool
}

func (s *streamed) next(id int) {
	if s.done {
		return
	}
	s.held += s.text.Next(id)
	whole, found := s.w.cut(s.held)
	if s.done = found; found {
		fmt.Fprint(s.out, whole)
		return
	}
	keep := 0
	for _, stop := range s.w.stops {
		for n := min(len(stop)-1, len(s.held)); n > keep; n-- {
			if strings.HasSuffix(s.held, stop[:n]) {
				keep = n
			}
		}
	}
	fmt.Fprint(s.out, s.held[:len(s.held)-keep])
	s.held = s.held[len(s.held)-keep:]
}

// printTexts prints what has not been streamed.
func (a *app) printTexts(texts []text, shown []string, live, several bool, took time.Duration) error {
	tokens := 0
	for _, t := range texts {
		tokens += len(t.IDs)
	}
	rate := float64(tokens) / max(took.Seconds(), 1e-9)
	switch {
	case live:
		if _, err := fmt.Fprintln(a.Out); err != nil {
			return err
		}
	case a.JSON && several:
		return a.Result(struct {
			Results         []text  `json:"results"`
			TokensPerSecond float64 `json:"tokens_per_second"`
		}{texts, rate}, "")
	case a.JSON:
		texts[0].TokensPerSecond = rate
		return a.Result(texts[0], "")
	default:
		for i, t := range texts {
			if _, err := fmt.Fprintln(a.Out, shown[i]+t.Text); err != nil {
				return err
			}
		}
	}
	a.Say("%s in %s, %.1f tokens/s", format.Counted(tokens, "token"), format.Duration(took), rate)
	return nil
}

func joinInts(ids []int) string {
	s, _ := json.Marshal(ids)
	return strings.Trim(string(s), "[]")
}

// readState loads the state that prompts go on from; nil without a file.
func readState(m *recipe.Model, path string, sequences int) (*mamba.State, error) {
	if path == "" {
		return nil, nil
	}
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return m.NewState(sequences), nil
	}
	return m.LoadState(path)
}

// checkState says whether a state can be left at path, before anything is done.
func checkState(path string) error {
	if path == "" {
		return nil
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return cli.Misusef("--state %s is a directory", path)
	}
	return cli.Exists("--state", filepath.Dir(path))
}

func saveState(s *mamba.State, path string) error {
	if path == "" {
		return nil
	}
	return s.Save(path)
}

// converse reads prompts line by line and answers each, going on from where the last answer ended. An interrupt ends
// the answer under way; the end of input ends the program.
func (a *app) converse(m *recipe.Model, w *writer, statePath string) error {
	if err := m.NeedTokenizer("--interactive"); err != nil {
		return err
	}
	var err error
	if w.options.State, err = readState(m, statePath, 1); err != nil {
		return err
	}
	if w.options.State == nil {
		w.options.State = m.NewState(1) // an answer goes on from the one before, whether or not a file keeps it
	}
	prompt := ""
	if cli.IsTerminal(a.In) {
		a.Say("Type a text to continue. Ctrl-C stops an answer, Ctrl-D ends.")
		prompt = "> "
	}
	interrupts := cli.NewInterrupts()
	defer interrupts.Stop()
	lines := bufio.NewScanner(a.In)
	lines.Buffer(nil, 1<<24)
	for fmt.Fprint(a.Err, prompt); lines.Scan(); fmt.Fprint(a.Err, prompt) {
		if lines.Text() == "" && len(w.options.State.Tokens[0]) == w.options.State.Fed[0] {
			continue
		}
		if err := a.answer(interrupts, m, w, lines.Text()); err != nil {
			return err
		}
	}
	if prompt != "" {
		fmt.Fprintln(a.Err)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return saveState(w.options.State, statePath)
}

func (a *app) answer(interrupts *cli.Interrupts, m *recipe.Model, w *writer, line string) error {
	ids, err := m.Encode(line)
	if err != nil {
		return err
	}
	ctx, done := interrupts.During()
	defer done()
	w.stream(a.Out)
	_, err = w.generate(ctx, [][]int{ids})
	w.endStream()
	fmt.Fprintln(a.Out)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

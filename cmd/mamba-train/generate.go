package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/data"
	"mambatrain/internal/fault"
	"mambatrain/internal/inputfile"
	"mambatrain/mamba"
	"mambatrain/trainer/recipe"
)

type generateFlags struct {
	modelFlags
	prompt, promptIDs, prompts string
	interactive, chat, raw     bool
	system, messages           string
	state, output              string
	stop                       []string
	options                    mamba.GenerateOptions
	limit                      int // of new tokens, if neither a flag nor the model sets one
}

func (a *app) generateCommand() *cobra.Command {
	f := generateFlags{options: (&mamba.Model{}).DefaultGenerate()}
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Generate text, or chat",
		Long: "Continue texts, or answer conversations using the model's chat template. Settings without a flag come from the model's " +
			"generation_config.json, if it has one. A flag that only affects sampling, such as --temperature, turns sampling on.",
		Example: `  mamba-train generate --model runs/quickstart-merged --prompt "A friend"
  mamba-train generate --adapter runs/quickstart --temperature 0.8 --seed 3 --prompt "The sea"
  mamba-train generate --model DIR --prompts prompts.jsonl --output answers.jsonl
  mamba-train generate --model DIR --chat --system "Answer in one sentence."
  mamba-train generate --model DIR --messages chats.jsonl --output answers.jsonl`,
		Args: cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.generate(cmd, f) },
	}
	fl, o := cmd.Flags(), &f.options
	fl.StringVarP(&f.model, "model", "m", "", "model directory or Hugging Face id")
	fl.StringVar(&f.adapter, "adapter", "", "adapter directory or Hugging Face id")
	f.tokenizerFlag(fl)
	f.initialStateFlag(fl)
	fl.StringVarP(&f.prompt, "prompt", "p", "", "text to continue; - reads standard input, without its trailing newline")
	fl.StringVar(&f.promptIDs, "prompt-ids", "", "token ids to continue: 1,2,3")
	fl.StringVar(&f.prompts, "prompts", "", "file of texts to continue: one per line, or JSON lines with a prompt; - reads standard input")
	fl.BoolVarP(&f.interactive, "interactive", "i", false, "interactive session: like --chat if the model has a chat template, otherwise continues texts")
	fl.BoolVar(&f.chat, "chat", false, "interactive chat using the model's chat template; /help lists the commands")
	fl.BoolVar(&f.raw, "raw", false, "with --interactive: continue texts without the chat template")
	fl.StringVar(&f.system, "system", "", "system prompt for chats")
	fl.StringVar(&f.messages, "messages", "", "file of conversations to answer, with a messages column; - reads standard input")
	fl.StringVarP(&f.output, "output", "o", "", "JSON lines file for prompts and texts, each written as soon as it is complete")
	fl.IntVarP(&o.MaxNewTokens, "max-new-tokens", "n", o.MaxNewTokens, "maximum number of new tokens; in chats the default is 512, unless generation_config.json sets another")
	fl.IntVar(&o.MinNewTokens, "min-new-tokens", 0, "minimum number of new tokens")
	fl.BoolVar(&o.DoSample, "do-sample", false, "sample tokens by probability instead of always taking the most probable one")
	fl.Float64Var(&o.Temperature, "temperature", o.Temperature, "sampling: values below 1 favor probable tokens; 0 = no sampling")
	fl.IntVar(&o.TopK, "top-k", o.TopK, "sampling: choose among the k most probable tokens; 0 = all")
	fl.Float64Var(&o.TopP, "top-p", o.TopP, "sampling: choose among the most probable tokens with this total probability")
	fl.Float64Var(&o.MinP, "min-p", 0, "sampling: exclude tokens that are less probable than this fraction of the most probable one")
	fl.Float64Var(&o.TypicalP, "typical-p", o.TypicalP, "sampling: choose among the most typical tokens with this total probability")
	fl.Uint64Var(&o.Seed, "seed", 42, "seed for sampling")
	fl.Float64Var(&o.RepetitionPenalty, "repetition-penalty", o.RepetitionPenalty, "values above 1 make tokens that have already occurred less probable")
	fl.IntVar(&o.NoRepeatNGramSize, "no-repeat-ngram-size", 0, "never repeat a sequence of this many tokens; 0 = off")
	fl.IntVar(&o.NumBeams, "num-beams", o.NumBeams, "number of beams for beam search; 1 = off")
	fl.StringArrayVar(&f.stop, "stop", nil, "stop before this text, which may be a special token; may be repeated")
	fl.BoolVar(&o.IgnoreEOS, "ignore-eos", false, "keep generating after the end-of-text token")
	fl.StringVar(&f.state, "state", "", "load the state from this file if it exists, and save it there afterwards")
	a.precisionFlag(cmd)
	a.deviceFlag(cmd)
	for _, talk := range []string{"interactive", "chat"} {
		cmd.MarkFlagsMutuallyExclusive("prompt", "prompt-ids", "prompts", "messages", talk)
		cmd.MarkFlagsMutuallyExclusive("output", talk)
	}
	cmd.MarkFlagsMutuallyExclusive("state", "prompts", "messages", "chat")
	cmd.MarkFlagsMutuallyExclusive("raw", "chat")
	cmd.MarkFlagsMutuallyExclusive("raw", "system")
	return cmd
}

// check reports conflicting flags, before the model is read.
func (f generateFlags) check(cmd *cobra.Command, a *app) error {
	talks := f.interactive || f.chat
	if !talks && f.prompt == "" && f.promptIDs == "" && f.prompts == "" && f.messages == "" && !cmd.Flags().Changed("prompt") && f.state == "" {
		return cli.Misusef("one of --prompt, --prompt-ids, --prompts, --messages, --chat, and --interactive is required (%s --help)", cmd.CommandPath())
	}
	if talks && a.JSON {
		return cli.Misusef("--json cannot be used with --interactive or --chat")
	}
	if f.raw && !f.interactive {
		return cli.Misusef("--raw requires --interactive")
	}
	if f.system != "" && !talks && f.messages == "" {
		return cli.Misusef("--system requires --chat, --interactive, or --messages")
	}
	if err := f.checkTexts(); err != nil {
		return err
	}
	if _, err := f.settings(cmd, (&mamba.Model{}).GenerationConfig()); err != nil {
		return err
	}
	if f.prompts != "" && f.prompts != "-" {
		if err := cli.Exists("--prompts", f.prompts); err != nil {
			return err
		}
	}
	if f.output != "" {
		if err := cli.CheckDistinct("--output", f.output, f.prompts, f.messages); err != nil {
			return err
		}
	}
	return checkState(f.state)
}

// checkTexts reports texts that are not valid UTF-8, and empty stop texts.
func (f generateFlags) checkTexts() error {
	errs := []error{fault.CheckText("--prompt", f.prompt), fault.CheckText("--system", f.system)}
	for _, text := range f.stop {
		errs = append(errs, fault.CheckText("--stop", text))
		if text == "" {
			errs = append(errs, cli.Misusef("--stop: must not be empty"))
		}
	}
	return cmp.Or(errs...)
}

func (a *app) generate(cmd *cobra.Command, f generateFlags) error {
	texts := (&mamba.Model{}).DefaultGenerate().MaxNewTokens
	f.limit = texts
	if f.chat || f.messages != "" || f.interactive && !f.raw {
		f.limit = answerTokens
	}
	if err := f.check(cmd, a); err != nil {
		return err
	}
	ctx, stop := cli.NotifyContext()
	defer stop()
	if err := a.openDevice(a.device); err != nil {
		return err
	}
	m, err := f.open(ctx, a)
	if err != nil {
		return cli.WithSignal(ctx, err)
	}
	format, err := f.chatFormat(m)
	if err != nil {
		return err
	}
	if format == nil {
		f.limit = texts
	}
	o, err := a.textOptions(cmd, m, f)
	if err != nil {
		return err
	}
	o.Prefill = recipe.DeviceFeeder(m.Model, a.warnOf)
	switch {
	case !f.interactive && !f.chat:
		return cli.WithSignal(ctx, a.continuePrompts(ctx, m, format, f, o))
	case format != nil:
		stop() // from now on, an interrupt ends only the current answer
		return a.chat(format, f, o)
	default:
		stop()
		return a.converse(m, f, o)
	}
}

// answerTokens limits answers in a chat if no limit is given.
const answerTokens = 512

// chatFormat returns the model's chat format, or nil if prompts are plain text to continue.
func (f generateFlags) chatFormat(m *recipe.Model) (*recipe.ChatFormat, error) {
	if f.raw || !f.chat && f.messages == "" && !(f.interactive && (m.HasChatFormat() || f.system != "")) {
		return nil, nil
	}
	if f.state != "" {
		return nil, cli.Misusef("--state stores text, not messages: add --raw, or save the chat with /save")
	}
	format, err := m.ChatFormat()
	if err != nil {
		texts := "--interactive --raw"
		if f.messages != "" {
			texts = "--prompts"
		}
		return nil, fmt.Errorf("%w; %s continues texts without one", err, texts)
	}
	return format, nil
}

// textOptions combines the flags with the model's generation_config.json.
func (a *app) textOptions(cmd *cobra.Command, m *recipe.Model, f generateFlags) (o recipe.TextOptions, err error) {
	c := m.GenerationConfig()
	if o.GenerateOptions, err = f.settings(cmd, c); err != nil {
		_, alone := f.settings(cmd, (&mamba.Model{}).GenerationConfig())
		if l := (fault.List)(nil); alone == nil && errors.As(err, &l) {
			err = fmt.Errorf("%s: %w", mamba.GenerationConfigFile, err)
		}
		return o, err
	}
	if o.StopTexts = c.StopStrings; len(f.stop) > 0 {
		o.StopTexts = f.stop
		if err := m.NeedTokenizer("--stop"); err != nil {
			return o, err
		}
	}
	if m.Tokenizer == nil {
		o.StopTexts = nil
	}
	for _, setting := range c.Ignored(o.GenerateOptions) {
		a.Warn("%s: %s is ignored", mamba.GenerationConfigFile, setting)
	}
	given := f.sampling(cmd)
	if cmd.Flags().Changed("seed") {
		given = append(given, "seed")
	}
	if len(given) > 0 && !o.DoSample && o.Temperature != 0 {
		a.Warn("--%s has no effect without sampling", strings.Join(given, " and --"))
	}
	return o, nil
}

// sampling lists the given flags that affect only sampling.
func (f generateFlags) sampling(cmd *cobra.Command) []string {
	flags := []string{"temperature", "top-k", "top-p", "min-p", "typical-p"}
	return slices.DeleteFunc(flags, func(name string) bool { return !cmd.Flags().Changed(name) })
}

// settings overrides a model's settings with the given flags.
func (f generateFlags) settings(cmd *cobra.Command, c mamba.GenerationConfig) (mamba.GenerateOptions, error) {
	o, given := c.GenerateOptions, cmd.Flags().Changed
	o.Seed, o.IgnoreEOS = f.options.Seed, f.options.IgnoreEOS
	if !c.Limited {
		o.MaxNewTokens = f.limit
	}
	if given("max-new-tokens") {
		o.MaxNewTokens, o.MaxLength = f.options.MaxNewTokens, 0
	}
	if given("min-new-tokens") {
		o.MinNewTokens, o.MinLength = f.options.MinNewTokens, 0
	} else if given("max-new-tokens") {
		o.MinNewTokens = max(0, min(o.MinNewTokens, o.MaxNewTokens))
	}
	for name, field := range map[string][2]*int{
		"top-k": {&o.TopK, &f.options.TopK}, "no-repeat-ngram-size": {&o.NoRepeatNGramSize, &f.options.NoRepeatNGramSize},
		"num-beams": {&o.NumBeams, &f.options.NumBeams},
	} {
		if given(name) {
			*field[0] = *field[1]
		}
	}
	for name, field := range map[string][2]*float64{
		"temperature": {&o.Temperature, &f.options.Temperature}, "top-p": {&o.TopP, &f.options.TopP}, "min-p": {&o.MinP, &f.options.MinP},
		"typical-p": {&o.TypicalP, &f.options.TypicalP}, "repetition-penalty": {&o.RepetitionPenalty, &f.options.RepetitionPenalty},
	} {
		if given(name) {
			*field[0] = *field[1]
		}
	}
	sampling := f.sampling(cmd)
	switch {
	case given("do-sample"):
		o.DoSample = f.options.DoSample
	case given("temperature") && o.Temperature == 0:
		o.DoSample = false
	case len(sampling) > 0:
		o.DoSample = true
	}
	if o.DoSample && o.NumBeams > 1 {
		return o, cli.Misusef("beam search (%d beams) and sampling cannot be combined: %s", o.NumBeams, f.beamsOrSampling(cmd, sampling))
	}
	return o, cli.Misuse(o.Validate())
}

// beamsOrSampling explains which settings ask for both beams and sampling, and how to choose one.
func (f generateFlags) beamsOrSampling(cmd *cobra.Command, sampling []string) string {
	beams, draws := "--num-beams", "--do-sample"
	if !cmd.Flags().Changed("num-beams") {
		beams = "num_beams in " + mamba.GenerationConfigFile
	}
	switch {
	case cmd.Flags().Changed("do-sample"):
	case len(sampling) > 0:
		draws = "--" + sampling[0]
	default:
		draws = "do_sample in " + mamba.GenerationConfigFile
	}
	return fmt.Sprintf("%s and %s request them; set --num-beams 1 or --do-sample=false", beams, draws)
}

// prompt is a text to continue, as ids and as displayed.
type prompt struct {
	ids  []int
	text string
}

// read returns the prompts given by the flags. state is that of --state, or nil.
func (f generateFlags) read(ctx context.Context, a *app, m *recipe.Model, format *recipe.ChatFormat, state *mamba.State) ([]prompt, error) {
	if f.messages != "" {
		return f.conversations(ctx, a, format)
	}
	if f.promptIDs != "" {
		ids, err := parseIDs(f.promptIDs, m.Config.VocabSize)
		return []prompt{{ids: ids}}, err
	}
	if f.prompt == "" && f.prompts == "" && f.state != "" && m.Tokenizer == nil {
		return []prompt{{}}, nil
	}
	texts, err := f.texts(ctx, a)
	if err != nil {
		return nil, err
	}
	list := make([]prompt, len(texts))
	for i, text := range texts {
		list[i].text = text
		if list[i].ids, err = m.EncodeAfter(state, text); err != nil {
			return nil, err
		}
		if len(list[i].ids) == 0 && (state == nil || len(state.Tokens[0]) == 0) {
			return nil, cli.Misusef("prompt %d is empty, and the model has no BOS token to start from", i)
		}
	}
	return list, nil
}

// conversations returns the prompts from --messages.
func (f generateFlags) conversations(ctx context.Context, a *app, format *recipe.ChatFormat) ([]prompt, error) {
	o := data.Default().Config
	o.Hub, o.Warn = a.hub(), a.warnOf
	path := f.messages
	if path == "-" {
		var remove func()
		var err error
		if path, remove, err = a.spool(ctx); err != nil {
			return nil, err
		}
		defer remove()
	}
	chats, err := format.ReadPrompts(ctx, path, f.system, o)
	if err != nil {
		return nil, err
	}
	list := make([]prompt, len(chats))
	for i, c := range chats {
		list[i] = prompt{c.IDs, c.Text}
	}
	return list, nil
}

// spool copies standard input to a temporary file of JSON lines. The caller must call remove to delete it.
func (a *app) spool(ctx context.Context) (path string, remove func(), err error) {
	b, err := a.readInput(ctx)
	if err != nil {
		return "", nil, err
	}
	dir, err := os.MkdirTemp("", "mamba-train-")
	if err != nil {
		return "", nil, err
	}
	remove = func() { os.RemoveAll(dir) }
	path = filepath.Join(dir, "stdin.jsonl")
	if err = os.WriteFile(path, b, 0o600); err != nil {
		remove()
	}
	return path, remove, err
}

// readInput reads all of standard input.
func (a *app) readInput(ctx context.Context) ([]byte, error) {
	return inputfile.ReadStream(ctx, a.In, "standard input", inputfile.MaxPrompts)
}

// texts returns the prompts that are given as text.
func (f generateFlags) texts(ctx context.Context, a *app) ([]string, error) {
	switch {
	case f.prompts == "-":
		b, err := a.readInput(ctx)
		if err != nil {
			return nil, err
		}
		texts, err := recipe.ParsePrompts(b)
		if err != nil {
			return nil, fmt.Errorf("standard input: %w", err)
		}
		return texts, nil
	case f.prompts != "":
		o := data.Default().Config
		o.Hub = a.hub()
		return recipe.ReadPrompts(ctx, f.prompts, o)
	case f.prompt == "-":
		b, err := a.readInput(ctx)
		b = bytes.TrimSuffix(b, []byte("\n")) // added by echo or the terminal
		return []string{string(bytes.TrimSuffix(b, []byte("\r")))}, err
	}
	return []string{f.prompt}, nil
}

// parseIDs parses ids that must be in a vocabulary of the given size.
func parseIDs(list string, vocabulary int) ([]int, error) {
	var ids []int
	for _, s := range strings.Split(list, ",") {
		id, err := strconv.Atoi(strings.TrimSpace(s))
		if err != nil {
			return nil, cli.Misusef("--prompt-ids: want whole numbers separated by commas, got %q", s)
		}
		if id < 0 || id >= vocabulary {
			return nil, cli.Misusef("--prompt-ids: %d is outside the vocabulary of %d", id, vocabulary)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// checkOutput returns an error if --output would overwrite an input.
func (f generateFlags) checkOutput(ctx context.Context, a *app, m *recipe.Model) error {
	if f.output == "" {
		return nil
	}
	inputs := append(m.Inputs(), f.prompts, f.state)
	if f.messages != "" && f.messages != "-" {
		o := data.Default().Config
		o.Hub = a.hub()
		files, err := filesOf(ctx, recipe.Sources{{Path: f.messages, Weight: 1}}, o)
		if err != nil {
			return err
		}
		inputs = append(inputs, files...)
	}
	return cli.CheckDistinct("--output", f.output, inputs...)
}

// continuePrompts generates continuations of the prompts given by the flags.
func (a *app) continuePrompts(ctx context.Context, m *recipe.Model, format *recipe.ChatFormat, f generateFlags, o recipe.TextOptions) error {
	state, err := readState(m, f.state)
	if err != nil {
		return err
	}
	prompts, err := f.read(ctx, a, m, format, state)
	if err != nil {
		return err
	}
	if format != nil {
		o = format.Options(o)
	}
	o.State = state
	if err := f.checkOutput(ctx, a, m); err != nil {
		return err
	}
	out, err := a.openAnswers(f, prompts, m.Tokenizer == nil)
	if err != nil {
		return err
	}
	defer out.close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ids := make([][]int, len(prompts))
	for i, p := range prompts {
		ids[i] = p.ids
	}
	if out.live(o) {
		o.Stream = func(text string) { fmt.Fprint(out.to, text) }
	}
	o.Done = func(i int, t recipe.Text) {
		if err := out.done(i, t); err != nil {
			cancel(err)
		}
	}
	texts, err := m.Continue(ctx, ids, o)
	if cause := context.Cause(ctx); errors.Is(err, context.Canceled) && cause != nil {
		err = cause
	}
	if err != nil {
		out.interrupted()
		return err
	}
	if err := saveState(m, o.State, f.state); err != nil {
		return err
	}
	return out.finish(texts)
}

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/internal/atomicfile"
	"mambatrain/internal/format"
	"mambatrain/internal/homepath"
	"mambatrain/mamba"
	"mambatrain/trainer"
	"mambatrain/trainer/recipe"
)

// chatSession is a chat on the terminal: each line is a message or a command.
type chatSession struct {
	*app
	chat       *recipe.Chat
	interrupts *cli.Interrupts
	out        cli.WordWriter
	saved      map[string]bool // files written by /save
}

// chatHelp is the output of /help.
const chatHelp = `/reset       start over; the system prompt is kept
/save FILE   write the conversation in the form that data.messages reads
/help        print this help
/quit        exit, as Ctrl-D does
Ctrl-C stops an answer. Put a space before a message that begins with /.`

// errQuit ends a chat.
var errQuit = errors.New("quit")

// chat answers messages from the input, using the model's chat template.
func (a *app) chat(format *recipe.ChatFormat, f generateFlags, o recipe.TextOptions) error {
	t := &chatSession{app: a, saved: map[string]bool{}}
	o.Stream = t.show
	var err error
	if t.chat, err = format.NewChat(f.system, o); err != nil {
		return cli.Misuse(err)
	}
	t.interrupts = cli.NewInterrupts()
	defer t.interrupts.Stop()
	err = a.eachLine(t.interrupts, "Type a message. /help lists the commands, Ctrl-C stops an answer, Ctrl-D exits.", t.handle)
	if errors.Is(err, errQuit) {
		return nil
	}
	return err
}

// show prints part of an answer.
func (t *chatSession) show(text string) {
	if t.out.Columns > 0 {
		text = format.Printable(text)
	}
	t.out.Add(text)
}

// handle runs a command or answers a message.
func (t *chatSession) handle(line string) error {
	text := strings.TrimSpace(line)
	if text == "" {
		return nil
	}
	if !strings.HasPrefix(line, "/") {
		return t.answer(text)
	}
	command, argument, _ := strings.Cut(text, " ")
	switch command {
	case "/reset":
		t.chat.Reset()
		t.Say("The conversation has been reset.")
	case "/save":
		return t.save(strings.TrimSpace(argument))
	case "/help":
		fmt.Fprintln(t.Err, chatHelp)
	case "/quit", "/exit":
		return errQuit
	default:
		return cli.Misusef("unknown command %s: /help lists the commands; put a space before / to send it as a message", command)
	}
	return nil
}

func (t *chatSession) answer(text string) error {
	ctx, done := t.interrupts.During()
	defer done()
	t.out = cli.WordWriter{To: t.Out, Columns: cli.Columns(t.Out)}
	answer, err := t.chat.Answer(ctx, text)
	done()
	if len(answer.IDs) > 0 {
		t.out.End()
	}
	if errors.Is(err, context.Canceled) {
		if len(answer.IDs) == 0 {
			t.Say("(stopped before the answer began; the message was discarded)")
		}
		return nil
	}
	if err != nil {
		return err
	}
	if answer.FinishReason == mamba.FinishLength {
		t.Say("(stopped after %s; raise --max-new-tokens for longer answers)", format.Counted(len(answer.IDs), "token"))
	}
	t.Detail("read %d of %d tokens; the others were already in the model's state", answer.Read, answer.PromptTokens)
	return nil
}

// save writes the conversation as one row. It does not replace files that existed before the chat.
func (t *chatSession) save(path string) error {
	if path == "" {
		return cli.Misusef("/save needs a file name")
	}
	if len(t.chat.Messages()) == 0 {
		return cli.Misusef("/save: the conversation has no messages yet")
	}
	path = homepath.Expand(path)
	if _, err := os.Stat(path); err == nil && !t.saved[path] {
		return cli.Misusef("/save %s: the file exists; choose another name", path)
	}
	err := atomicfile.WriteOutput(path, func(w io.Writer) error {
		b := bufio.NewWriter(w)
		enc := json.NewEncoder(b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(map[string][]trainer.Message{"messages": t.chat.Messages()}); err != nil {
			return err
		}
		return b.Flush()
	})
	if err != nil {
		return fmt.Errorf("/save %s: %w", path, err)
	}
	t.saved[path] = true
	t.Say("wrote %s: %s", path, format.Counted(len(t.chat.Messages()), "message"))
	return nil
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const chatML = `{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`

// chatModel is a tiny model with a chat template.
func chatModel(t *testing.T, root string) string {
	t.Helper()
	dir := tinyModel(t, root)
	if err := os.WriteFile(filepath.Join(dir, "chat_template.jinja"), []byte(chatML), 0o666); err != nil {
		t.Fatal(err)
	}
	return dir
}

// streamed is what the server has sent for one answer.
type streamed struct {
	text, prompt, failure string
	tokens                int
	done, loading         bool
}

// try asks a model and calls seen after each event.
func (s *studioProcess) try(t *testing.T, ctx context.Context, question map[string]any, seen func(streamed)) (a streamed) {
	t.Helper()
	b, err := json.Marshal(question)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.url.Host+"/api/try", bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.token)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return a
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	event := ""
	for lines.Scan() {
		name, data, _ := strings.Cut(lines.Text(), ": ")
		if name == "event" {
			event = data
		}
		if name != "data" {
			continue
		}
		var fields struct {
			Text, Error string
			Tokens      int
		}
		json.Unmarshal([]byte(data), &fields) // the data of a text event is not an object
		switch event {
		case "loading":
			a.loading = true
		case "prompt":
			a.prompt = fields.Text
		case "text":
			var piece string
			decodeJSON(t, []byte(data), &piece)
			a.text += piece
		case "done":
			a.done, a.tokens = true, fields.Tokens
		case "error":
			a.failure = fields.Error
		}
		if seen != nil {
			seen(a)
		}
	}
	return a
}

// The page generates the same text as generate: with the adapter of any checkpoint, without it, and in a chat.
func TestStudioGeneratesText(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	tiny := chatModel(t, root)
	t.Chdir(t.TempDir())
	train := []string{"--set", "train.max_steps=4", "--set", "train.save_steps=2", "--set", "train.learning_rate=0.5", "--set", "data.dataset_text_field=quote"}
	if err := os.WriteFile("run.yaml", []byte("model: "+tiny+"\noutput_dir: runs/a\ndata: {train: "+root+"/configs/quickstart/quotes.parquet}\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	mambaTrain(t, append([]string{"train", "--quiet", "-c", "run.yaml", "--set", "lora={}"}, train...)...)
	mambaTrain(t, append([]string{"train", "--quiet", "-c", "run.yaml", "--set", "output_dir=runs/full"}, train...)...)
	s := startStudio(t, ".", linkProgram(t))

	var d struct {
		Places          []struct{ Name string }
		Chat, Adapter   bool
		Memory, Machine int64
		Base            string
	}
	s.ask(t, "/api/try?id=runs/a", nil, &d)
	if len(d.Places) != 3 || d.Places[0].Name != "" || d.Places[2].Name != "checkpoint-2" || !d.Chat || !d.Adapter || d.Memory <= 0 || d.Machine <= 0 || d.Base != tiny {
		t.Fatalf("%+v", d)
	}

	generated := func(args ...string) string {
		t.Helper()
		var a answer
		decodeJSON(t, mambaTrain(t, append([]string{"generate", "--json", "-n", "12"}, args...)...), &a)
		return a.Text
	}
	question := func(id, place, side string) map[string]any {
		return map[string]any{"id": id, "place": place, "side": side, "prompt": "The sea", "options": map[string]any{"max_new_tokens": 12}}
	}
	for _, c := range []struct {
		id, place, side string
		args            []string
	}{
		{"runs/a", "", "adapted", []string{"--adapter", "runs/a"}},
		{"runs/a", "", "base", []string{"--model", tiny}},
		{"runs/a", "checkpoint-2", "adapted", []string{"--adapter", "runs/a/checkpoint-2"}},
		{"runs/full", "", "adapted", []string{"--model", "runs/full"}},
		{"runs/full", "", "base", []string{"--model", tiny}},
	} {
		want := generated(append(c.args, "--prompt", "The sea")...)
		if got := s.try(t, t.Context(), question(c.id, c.place, c.side), nil); !got.done || got.text != want || got.prompt != "The sea" {
			t.Errorf("%s %s %s: %+v, want %q", c.id, c.place, c.side, got, want)
		}
	}
	if got := s.try(t, t.Context(), question("runs/full", "", "base"), nil); got.loading {
		t.Error("a model that is in memory was loaded again")
	}

	sampled := question("runs/a", "", "adapted")
	sampled["options"] = map[string]any{"max_new_tokens": 12, "do_sample": true, "temperature": 1.5, "top_k": 20, "seed": 7}
	want := generated("--adapter", "runs/a", "--prompt", "The sea", "--temperature", "1.5", "--top-k", "20", "--seed", "7")
	if got := s.try(t, t.Context(), sampled, nil); got.text != want {
		t.Errorf("sampled: %+v, want %q", got, want)
	}

	chat := question("runs/a", "", "adapted")
	chat["messages"] = []map[string]string{{"role": "user", "content": "<b>Hi</b>"}}
	if err := os.WriteFile("chat.jsonl", []byte(`{"messages":[{"role":"user","content":"<b>Hi</b>"}]}`+"\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	mambaTrain(t, "generate", "--quiet", "-n", "12", "--adapter", "runs/a", "--messages", "chat.jsonl", "--output", "answers.jsonl")
	var written answer
	decodeJSON(t, readFile(t, "answers.jsonl"), &written)
	want = written.Text
	if got := s.try(t, t.Context(), chat, nil); got.text != want || got.prompt != "<|im_start|>user\n<b>Hi</b><|im_end|>\n<|im_start|>assistant\n" {
		t.Errorf("chat: %+v, want %q", got, want)
	}

	for what, change := range map[string]map[string]any{
		"top_p: must be":    {"options": map[string]any{"do_sample": true, "top_p": 2}},
		"has no weights at": {"place": "../a"},
		"no such run":       {"id": "../runs/a"},
		"side must be":      {"side": "left"},
		"want one of auto":  {"precision": "q1"},
	} {
		q := question("runs/a", "", "adapted")
		for k, v := range change {
			q[k] = v
		}
		if _, b := s.send(t, "/api/try", q); !strings.Contains(string(b), what) {
			t.Errorf("want %q, got %s", what, b)
		}
	}
}

// When the page disconnects, generation stops, and the next request gets its turn.
func TestStudioStopsGeneratingOnDisconnect(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	tiny := tinyModel(t, root)
	t.Chdir(t.TempDir())
	mambaTrain(t, "train", "--quiet", "-c", filepath.Join(root, "configs/quickstart.yaml"), "--set", "model="+tiny, "--set", "output_dir=runs/a",
		"--set", "data.train="+filepath.Join(root, "configs/quickstart/quotes.parquet"), "--set", "train.max_steps=1")
	s := startStudio(t, ".", linkProgram(t))
	endless := map[string]any{"id": "runs/a", "side": "adapted", "prompt": "A", "options": map[string]any{
		"max_new_tokens": 1 << 30, "do_sample": true, "temperature": 5.0,
	}}
	ctx, leave := context.WithCancel(t.Context())
	began := make(chan struct{})
	ended := make(chan streamed)
	go func() {
		open := true
		ended <- s.try(t, ctx, endless, func(a streamed) {
			if open && len(a.text) > 100 {
				open = false
				close(began)
			}
		})
	}()
	select {
	case <-began:
	case a := <-ended: // the model has sampled an end token
		t.Skipf("ended by itself: %+v", a)
	}
	leave()
	if a := <-ended; a.done {
		t.Skip("ended by itself")
	}
	short := map[string]any{"id": "runs/a", "side": "base", "prompt": "A", "options": map[string]any{"max_new_tokens": 2}}
	if a := s.try(t, t.Context(), short, nil); !a.done { // generation that does not end would block its turn
		t.Errorf("%+v", a)
	}
}

// Package models lets the page try the models that runs have trained. It loads one model at a time and streams the text
// that it generates, with or without the adapter.
package models

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"mambatrain/data/hub"
	"mambatrain/mamba"
	"mambatrain/studio"
	"mambatrain/studio/runs"
	"mambatrain/trainer"
	"mambatrain/trainer/checkpoint"
	"mambatrain/trainer/recipe"
)

// Models handles the page's requests. At most one model is in memory; requests for another one wait.
type Models struct {
	library *runs.Library
	hub     *hub.Client
	turn    chan struct{} // semaphore, full while a request uses the model
	waiting atomic.Int32

	mu     sync.Mutex // guards unload; the remaining fields belong to the request whose turn it is
	unload *time.Timer
	what   choice
	model  *recipe.Model // nil if none is loaded
}

// New returns a Models for the runs of a library.
func New(l *runs.Library) *Models {
	h := hub.New()
	h.Offline = true // trying a model must not start a download
	return &Models{library: l, hub: h, turn: make(chan struct{}, 1)}
}

// AddTo registers the handlers with a server.
func (m *Models) AddTo(s *studio.Server) {
	s.Handle("GET /api/try", http.HandlerFunc(m.describe))
	s.Handle("POST /api/try", http.HandlerFunc(m.write))
	s.Handle("POST /api/try/unload", http.HandlerFunc(m.forget))
}

// choice is a model to load.
type choice struct {
	model, adapter string // either may be empty
	precision      mamba.Precision
}

// place is where a run has weights: its final output or a checkpoint.
type place struct {
	Name string `json:"name"` // "" for the final output
	Step int    `json:"step"` // 0 for the final output
	kind string // adapter or model
	dir  string
}

// placesOf lists the weights of a run: the final output first, then the checkpoints, newest first.
func placesOf(dir string) (list []place) {
	add := func(name string, step int) {
		at := filepath.Join(dir, name)
		if kind := recipe.ResultIn(at); kind != "" {
			list = append(list, place{name, step, kind, at})
		}
	}
	add("", 0)
	steps, _ := checkpoint.Steps(dir) // empty if the directory is gone
	for _, step := range steps {
		add(fmt.Sprintf("checkpoint-%d", step), step)
	}
	return list
}

var errNoWeights = errors.New("the run has no weights yet: they are saved with its first checkpoint")

// find returns the place of a run's weights by name.
func (m *Models) find(id, name string) (p place, list []place, err error) {
	dir, err := m.library.Dir(id)
	if err != nil {
		return p, nil, err
	}
	list = placesOf(dir)
	for _, p := range list {
		if p.Name == name {
			return p, list, nil
		}
	}
	if len(list) == 0 {
		return p, nil, fmt.Errorf("models: %s: %w", id, errNoWeights)
	}
	return p, list, fmt.Errorf("models: %s has no weights at %q", id, name)
}

// choose returns what to load. If an adapter was trained, both sides use the same loaded model.
func (m *Models) choose(id string, p place, side string, precision mamba.Precision) (choice, error) {
	switch {
	case p.kind == "adapter":
		return choice{adapter: p.dir, precision: precision}, nil
	case side == adapted:
		return choice{model: p.dir, precision: precision}, nil
	}
	base := m.baseOf(id)
	if base == "" {
		return choice{}, fmt.Errorf("models: %s does not name the model it started from", id)
	}
	return choice{model: base, precision: precision}, nil
}

// The sides of a comparison.
const (
	adapted = "adapted"
	base    = "base"
)

// baseOf returns the model that a run started from, or "" if it is unknown.
func (m *Models) baseOf(id string) string {
	for _, r := range m.library.List() {
		if r.ID == id {
			return r.Model
		}
	}
	return ""
}

// description is what can be said about a run's model before it is loaded.
type description struct {
	Places  []place `json:"places"`
	Place   string  `json:"place"`
	Adapter bool    `json:"adapter"` // the base model is loaded along with it
	Base    string  `json:"base"`
	Chat    bool    `json:"chat"`   // it has a chat template
	Memory  int64   `json:"memory"` // needed to load it
	Machine int64   `json:"machine"`
	Loaded  bool    `json:"loaded"`
}

func (m *Models) describe(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	d, err := m.describePlace(r.Context(), q.Get("id"), q.Get("place"), q.Has("place"), mamba.Precision(q.Get("precision")))
	studio.Answer(w, d, err)
}

func (m *Models) describePlace(ctx context.Context, id, name string, named bool, precision mamba.Precision) (d description, err error) {
	p, list, err := m.find(id, name)
	if err != nil && !named && len(list) > 0 {
		p, err = list[0], nil
	}
	if err != nil {
		return d, err
	}
	what, err := m.choose(id, p, adapted, precision)
	if err != nil {
		return d, err
	}
	d = description{Places: list, Place: p.Name, Adapter: what.adapter != "", Base: m.baseOf(id), Machine: recipe.MachineMemory()}
	if d.Memory, err = recipe.ModelMemory(ctx, what.model, what.adapter, recipe.LoadOptions{Precision: precision, Hub: m.hub}); err != nil {
		return d, err
	}
	t, err := recipe.LoadTokenizer(ctx, m.hub, p.dir)
	if err == nil {
		d.Chat = (&recipe.Model{Tokenizer: t}).HasChatFormat()
	}
	select {
	case m.turn <- struct{}{}:
		d.Loaded = m.model != nil && m.what == what
		<-m.turn
	default:
	}
	return d, err
}

const (
	maxWaiting = 8               // requests waiting for the model
	restTime   = 5 * time.Minute // an idle model is dropped after this time
)

var errBusy = errors.New("models: too many requests are waiting for the model")

// with waits for this request's turn and calls f with the model. It calls loading before it reads a model.
func (m *Models) with(ctx context.Context, what choice, loading func(), f func(*recipe.Model) error) error {
	if m.waiting.Add(1) > maxWaiting {
		m.waiting.Add(-1)
		return errBusy
	}
	select {
	case m.turn <- struct{}{}:
		m.waiting.Add(-1)
	case <-ctx.Done():
		m.waiting.Add(-1)
		return ctx.Err()
	}
	defer func() { <-m.turn }()
	m.rest(false)
	defer m.rest(true)
	if m.model == nil || m.what != what {
		m.drop()
		loading()
		loaded, err := recipe.LoadModel(ctx, what.model, what.adapter, recipe.LoadOptions{Precision: what.precision, Hub: m.hub})
		if err != nil {
			return err
		}
		m.model, m.what = loaded, what
	}
	return f(m.model)
}

// drop frees the model's memory.
func (m *Models) drop() {
	if m.model == nil {
		return
	}
	m.model, m.what = nil, choice{}
	debug.FreeOSMemory()
}

// rest starts or cancels the timer that drops an idle model.
func (m *Models) rest(begin bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.unload != nil {
		m.unload.Stop()
	}
	if begin {
		m.unload = time.AfterFunc(restTime, m.dropIdle)
	}
}

// dropIdle drops the model unless it is in use.
func (m *Models) dropIdle() {
	select {
	case m.turn <- struct{}{}:
		m.drop()
		<-m.turn
	default:
	}
}

func (m *Models) forget(w http.ResponseWriter, _ *http.Request) {
	m.dropIdle()
	studio.Answer(w, struct{}{}, nil)
}

// question is a request to generate text.
type question struct {
	ID        string            `json:"id"`
	Place     string            `json:"place"`
	Side      string            `json:"side"`
	Precision mamba.Precision   `json:"precision"`
	Prompt    string            `json:"prompt"`   // text to continue, if there are no messages
	Messages  []trainer.Message `json:"messages"` // conversation to reply to
	Options   options           `json:"options"`
}

// write streams the generated text as server-sent events: loading, prompt, text …, done, or error. It stops when the client
// disconnects.
func (m *Models) write(w http.ResponseWriter, r *http.Request) {
	var q question
	if !studio.Read(w, r, &q) {
		return
	}
	what, err := m.checkQuestion(q)
	if err != nil {
		studio.Answer(w, nil, err)
		return
	}
	out := studio.NewStream(w)
	err = m.with(r.Context(), what, func() { out.Send("loading", struct{}{}) }, func(model *recipe.Model) error {
		if model.Adapter != nil {
			if q.Side == base {
				model.Adapter.Disable()
			} else if err := model.Adapter.Enable(); err != nil {
				return err
			}
		}
		return answer(r.Context(), model, q, out)
	})
	if err != nil && r.Context().Err() == nil {
		out.Send("error", map[string]string{"error": err.Error()})
	}
}

func (m *Models) checkQuestion(q question) (choice, error) {
	if q.Side != adapted && q.Side != base {
		return choice{}, fmt.Errorf("models: side must be %s or %s, got %q", adapted, base, q.Side)
	}
	if err := q.Precision.Validate(); err != nil {
		return choice{}, fmt.Errorf("models: %w", err)
	}
	p, _, err := m.find(q.ID, q.Place)
	if err != nil {
		return choice{}, err
	}
	return m.choose(q.ID, p, q.Side, q.Precision)
}

package studio

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"mambatrain/studio/runs"
)

// watcher looks at the library for all pages at once, and only while there is a page.
type watcher struct {
	library *runs.Library

	mu     sync.Mutex
	pages  map[chan []runs.Summary]bool
	opened chan struct{} // receives when a page appears
}

func newWatcher(l *runs.Library) *watcher {
	return &watcher{library: l, pages: map[chan []runs.Summary]bool{}, opened: make(chan struct{}, 1)}
}

// look is how often the files are looked at.
const look = time.Second

func (w *watcher) run(ctx context.Context) {
	for {
		if w.idle() {
			select {
			case <-ctx.Done():
				return
			case <-w.opened:
			}
		}
		w.send(w.library.List())
		select {
		case <-ctx.Done():
			return
		case <-time.After(look):
		case <-w.opened:
		}
	}
}

func (w *watcher) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.pages) == 0
}

// send gives every page the newest list. One that has not taken the last list gets this one instead.
func (w *watcher) send(list []runs.Summary) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for page := range w.pages {
		select {
		case <-page:
		default:
		}
		page <- list
	}
}

func (w *watcher) subscribe() (page chan []runs.Summary, leave func()) {
	page = make(chan []runs.Summary, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pages[page] = true
	select {
	case w.opened <- struct{}{}:
	default:
	}
	return page, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.pages, page)
	}
}

// stream sends the summaries of runs that have changed as server-sent events, the whole list first.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	const alive = 20 * time.Second // a line for proxies and for pages that are gone
	page, leave := s.watcher.subscribe()
	defer leave()
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w)
	var sent map[string]string
	for {
		select {
		case <-r.Context().Done():
			return
		case <-time.After(alive):
			fmt.Fprint(w, ":\n\n")
		case list := <-page:
			if sent = s.sendChanges(w, sent, list); sent == nil {
				return
			}
		}
		if flush.Flush() != nil {
			return
		}
	}
}

// sendChanges writes an event with the runs that differ from what was sent before, and returns what is now sent.
func (s *Server) sendChanges(w http.ResponseWriter, sent map[string]string, list []runs.Summary) map[string]string {
	now := make(map[string]string, len(list))
	changed := []json.RawMessage{}
	for _, r := range list {
		b, err := json.Marshal(r)
		if err != nil {
			continue
		}
		now[r.ID] = string(b)
		if sent[r.ID] != now[r.ID] {
			changed = append(changed, b)
		}
	}
	gone := []string{}
	for id := range sent {
		if _, there := now[id]; !there {
			gone = append(gone, id)
		}
	}
	if sent != nil && len(changed)+len(gone) == 0 {
		return now
	}
	b, err := json.Marshal(map[string]any{"changed": changed, "gone": gone, "first": sent == nil})
	if err != nil {
		return now
	}
	if _, err := fmt.Fprintf(w, "event: runs\ndata: %s\n\n", b); err != nil {
		return nil
	}
	return now
}

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

// watcher polls the library on behalf of all open pages, and only while a page is open.
type watcher struct {
	library *runs.Library

	mu     sync.Mutex
	pages  map[chan []runs.Summary]bool
	opened chan struct{} // receives when a page connects
}

func newWatcher(l *runs.Library) *watcher {
	return &watcher{library: l, pages: map[chan []runs.Summary]bool{}, opened: make(chan struct{}, 1)}
}

// pollInterval is the interval between polls of the files.
const pollInterval = time.Second

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
		case <-time.After(pollInterval):
		case <-w.opened:
		}
	}
}

func (w *watcher) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.pages) == 0
}

// send gives every page the newest list. If a page has not received the previous list yet, the new one replaces it.
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

// stream sends the whole list of runs and then the summaries that change, as server-sent events.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	const alive = 20 * time.Second // interval of keep-alive lines, which also reveal closed pages
	page, leave := s.watcher.subscribe()
	defer leave()
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w)
	var sent map[string]int // revisions by id
	for {
		select {
		case <-r.Context().Done():
			return
		case <-time.After(alive):
			fmt.Fprint(w, ":\n\n")
		case list := <-page:
			if sent = sendChanges(w, sent, list); sent == nil {
				return
			}
		}
		if flush.Flush() != nil {
			return
		}
	}
}

// sendChanges writes an event with the runs that differ from those sent before and returns the revisions sent so far,
// or nil if the client has disconnected.
func sendChanges(w http.ResponseWriter, sent map[string]int, list []runs.Summary) map[string]int {
	now := make(map[string]int, len(list))
	message := struct {
		First   bool           `json:"first"`
		Changed []runs.Summary `json:"changed"`
		Gone    []string       `json:"gone"`
	}{sent == nil, []runs.Summary{}, []string{}}
	for _, r := range list {
		now[r.ID] = r.Revision()
		if was, there := sent[r.ID]; !there || was != now[r.ID] {
			message.Changed = append(message.Changed, r)
		}
	}
	for id := range sent {
		if _, there := now[id]; !there {
			message.Gone = append(message.Gone, id)
		}
	}
	if !message.First && len(message.Changed)+len(message.Gone) == 0 {
		return now
	}
	b, err := json.Marshal(message)
	if err == nil {
		_, err = fmt.Fprintf(w, "event: runs\ndata: %s\n\n", b)
	}
	if err != nil {
		return nil
	}
	return now
}

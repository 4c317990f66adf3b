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

// sendChanges writes an event with the runs that differ from what was sent before, and returns what is now sent; nil if
// nobody listens any more.
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

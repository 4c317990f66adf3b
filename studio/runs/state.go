package runs

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"path"
	"strconv"
	"strings"

	"mambatrain/internal/pyjson"
	"mambatrain/trainer/checkpoint"
)

// stateHead is the part of trainer_state.json that a summary needs.
type stateHead struct {
	GlobalStep     int
	MaxSteps       int
	BestStep       int
	BestMetric     *pyjson.Float
	TrainBatchSize int

	own      bool // written by this program
	finished bool
}

// readStateHead reads everything except the history, of which it returns only the last rows.
func readStateHead(r io.Reader) (h stateHead, last []checkpoint.Row, err error) {
	summary := false
	err = scanState(r, h.set, func(b []byte) {
		if row, ok := parseRow(b); ok {
			last = keepLast(last, row)
			_, summary = row["train_loss"]
		}
	})
	if !h.own { // transformers does not record whether a run has finished
		h.finished = summary || h.MaxSteps > 0 && h.GlobalStep >= h.MaxSteps
	}
	return h, last, err
}

// set reads the value of a key.
func (h *stateHead) set(key string, b []byte) {
	var err error
	switch key {
	case "global_step":
		err = json.Unmarshal(b, &h.GlobalStep)
	case "max_steps":
		err = json.Unmarshal(b, &h.MaxSteps)
	case "best_global_step":
		err = json.Unmarshal(b, &h.BestStep)
	case "best_metric":
		err = pyjson.Unmarshal(b, &h.BestMetric)
	case "best_model_checkpoint":
		var name string
		if json.Unmarshal(b, &name) == nil && h.BestStep == 0 { // older files contain only the name of the checkpoint
			_, digits, _ := strings.Cut(path.Base(name), "-")
			h.BestStep, _ = strconv.Atoi(digits)
		}
	case "stateful_callbacks":
		var callbacks struct {
			Own *struct {
				Attributes checkpoint.Progress `json:"attributes"`
			} `json:"mamba_train"`
		}
		if pyjson.Unmarshal(b, &callbacks) == nil && callbacks.Own != nil {
			h.own, h.finished = true, callbacks.Own.Attributes.Finished
		}
	}
	_ = err // a value of another type is left at 0
}

// errState reports that a file is not a valid state.
var errState = errors.New("runs: " + checkpoint.StateFile + " is damaged")

// scanState reads a trainer_state.json incrementally. It calls top with each key and its value, and row with each entry of
// log_history. It skips values longer than maxValue. The arguments are valid only during the call.
func scanState(from io.Reader, top func(key string, value []byte), row func(value []byte)) error {
	s := stateScanner{in: bufio.NewReaderSize(from, 1<<16)}
	if s.next() != '{' {
		return errState
	}
	for {
		switch c := s.next(); c {
		case ',':
		case '}':
			return nil
		case '"':
			s.unread()
			key := strings.Trim(string(s.value(maxKey)), `"`)
			if s.next() != ':' {
				return errState
			}
			if key == "log_history" {
				s.list(row)
			} else if v := s.value(maxValue); len(v) > 0 {
				top(key, v)
			}
		default:
			return errState
		}
		if s.failed {
			return errState
		}
	}
}

const (
	maxKey   = 1 << 10
	maxValue = 1 << 22
)

type stateScanner struct {
	in     *bufio.Reader
	buffer []byte
	failed bool
}

// next returns the next byte that is not white space, or 0 at the end.
func (s *stateScanner) next() byte {
	for {
		c, err := s.in.ReadByte()
		if err != nil {
			s.failed = true
			return 0
		}
		if c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return c
		}
	}
}

func (s *stateScanner) unread() { s.in.UnreadByte() }

// list calls row with each element of the list that follows.
func (s *stateScanner) list(row func([]byte)) {
	c := s.next()
	if c != '[' { // null
		s.unread()
		s.value(maxValue)
		return
	}
	for !s.failed {
		switch s.next() {
		case ',':
		case ']':
			return
		default:
			s.unread()
			v := s.value(maxRow)
			if s.failed {
				return
			}
			if len(v) > 0 {
				row(v)
			}
		}
	}
}

// value returns the value that follows, or nil if it is longer than limit. An unmatched bracket is an error.
func (s *stateScanner) value(limit int) []byte {
	s.buffer = s.buffer[:0]
	long, quoted, depth, length := false, false, 0, 0
	s.skipSpace()
	for {
		c, err := s.in.ReadByte()
		if err != nil {
			s.failed = true
			return nil
		}
		if !quoted && depth == 0 && (c == ',' || c == '}' || c == ']' || c == ':' || c == '\n' || c == ' ') {
			s.unread()
			s.failed = s.failed || length == 0
			break
		}
		if length++; length <= limit {
			s.buffer = append(s.buffer, c)
		} else {
			long = true
		}
		switch {
		case quoted && c == '\\':
			escaped, _ := s.in.ReadByte()
			if length++; length <= limit {
				s.buffer = append(s.buffer, escaped)
			}
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		}
	}
	if long {
		return nil
	}
	return s.buffer
}

func (s *stateScanner) skipSpace() {
	if s.next(); !s.failed {
		s.unread()
	}
}

// Package tensorboard writes the events of a training run to a file that TensorBoard reads.
package tensorboard

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mambatrain/trainer"
	"mambatrain/trainer/checkpoint"
)

// Writer writes the rows of the history and the sampled texts to an event file: records of TensorFlow's Event message
// (core/util/event.proto), framed as TFRecord.
type Writer struct {
	w   io.WriteCloser
	now func() time.Time
	err error
}

// New creates an event file in dir. A resumed run creates another one.
func New(f checkpoint.FS, dir string, now func() time.Time) (*Writer, error) {
	if err := f.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("tensorboard: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	at := now()
	name := fmt.Sprintf(checkpoint.EventsPrefix+"%010d.%s.%d.%d", at.Unix(), filepath.Base(host), os.Getpid(), at.Nanosecond())
	w, err := f.Append(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("tensorboard: %w", err)
	}
	b := &Writer{w: w, now: now}
	if b.event(0, message{}.text(eventVersion, "brain.Event:2")); b.err != nil {
		return nil, b.Close()
	}
	return b, nil
}

// Observe writes the events that belong in the file. After a failed write it does nothing; Close reports the failure.
func (b *Writer) Observe(e trainer.Event) {
	switch e := e.(type) {
	case trainer.ResumeEvent:
		// TensorBoard discards events of later steps, which the run repeats.
		b.event(e.Step+1, message{}.inner(eventSession, message{}.number(sessionStatus, sessionStart)))
	case trainer.LogEvent:
		b.row(e.Row)
	case trainer.EvalEvent:
		b.row(e.Row)
	case trainer.SampleEvent:
		if e.Err == nil {
			b.event(e.Step, message{}.inner(eventSummary, message{}.inner(summaryValue, textValue("samples/"+e.Prompt, e.Text))))
		}
	}
}

// Close closes the file and returns the first error that occurred.
func (b *Writer) Close() error {
	err := b.w.Close()
	if b.err != nil {
		err = b.err
	}
	if err != nil {
		return fmt.Errorf("tensorboard: %w", err)
	}
	return nil
}

// row writes one scalar per number, under transformers' tags: eval/… for evaluations, otherwise train/….
func (b *Writer) row(r checkpoint.Row) {
	var summary message
	for _, k := range slices.Sorted(maps.Keys(r)) {
		if k == "step" {
			continue
		}
		tag := "train/" + k
		if rest, ok := strings.CutPrefix(k, checkpoint.EvalPrefix); ok {
			tag = "eval/" + rest
		}
		summary = summary.inner(summaryValue, message{}.text(valueTag, tag).float(valueSimple, float32(r[k])))
	}
	b.event(int(r["step"]), message{}.inner(eventSummary, summary))
}

// textValue returns a value for the text plugin: a tensor of one string.
func textValue(tag, text string) message {
	plugin := message{}.inner(metadataPlugin, message{}.text(pluginName, "text"))
	shape := message{}.inner(shapeDim, message{}.number(dimSize, 1))
	tensor := message{}.number(tensorType, typeString).inner(tensorShape, shape).text(tensorString, text)
	return message{}.text(valueTag, tag).inner(valueTensor, tensor).inner(valueMetadata, plugin)
}

func (b *Writer) event(step int, rest message) {
	if b.err != nil {
		return
	}
	seconds := float64(b.now().UnixMicro()) / 1e6
	e := message{}.double(eventTime, seconds).number(eventStep, step)
	_, b.err = b.w.Write(record(append(e, rest...)))
}

// record returns a framed event: its length, the checksum of the length, the event, and the checksum of the event.
func record(data []byte) []byte {
	sum := func(b []byte) uint32 {
		c := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
		return (c>>15 | c<<17) + 0xa282ead8 // TFRecord's mask
	}
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(data)))
	b = binary.LittleEndian.AppendUint32(b, sum(b))
	b = append(b, data...)
	return binary.LittleEndian.AppendUint32(b, sum(data))
}

// Field numbers and values of the messages that are written.
const (
	eventTime, eventStep, eventVersion, eventSummary, eventSession = 1, 2, 3, 5, 7
	sessionStatus, sessionStart                                    = 1, 1
	summaryValue                                                   = 1
	valueTag, valueSimple, valueTensor, valueMetadata              = 1, 2, 8, 9
	metadataPlugin, pluginName                                     = 1, 1
	tensorType, tensorShape, tensorString, typeString              = 1, 2, 8, 7
	shapeDim, dimSize                                              = 2, 1
)

// message is an encoded protocol buffer. Its methods append a field.
type message []byte

func (m message) key(field, wire int) message { return binary.AppendUvarint(m, uint64(field<<3|wire)) }

func (m message) number(field, v int) message {
	return binary.AppendUvarint(m.key(field, 0), uint64(v))
}

func (m message) double(field int, v float64) message {
	return binary.LittleEndian.AppendUint64(m.key(field, 1), math.Float64bits(v))
}

func (m message) float(field int, v float32) message {
	return binary.LittleEndian.AppendUint32(m.key(field, 5), math.Float32bits(v))
}

func (m message) inner(field int, v message) message {
	return append(binary.AppendUvarint(m.key(field, 2), uint64(len(v))), v...)
}

func (m message) text(field int, v string) message { return m.inner(field, message(v)) }

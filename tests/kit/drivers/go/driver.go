// A driver (conformance/DRIVER.md) in Go, of the roles topics, codec and publisher, with nothing but
// the standard library. It does nothing about the threads of Go's runtime.
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"
	"unsafe"
)

// --- fields ---

type fields map[string]json.RawMessage

func bad(detail string) error { return fail("bad-request", detail) }

// need reads a field of this type.
func need[T any](f fields, name string) (value T, err error) {
	raw, found := f[name]
	if !found || string(raw) == "null" || json.Unmarshal(raw, &value) != nil {
		return value, bad(name + " is missing or has the wrong type")
	}
	return value, nil
}

// optional reads a field of this type if it is there.
func optional[T any](f fields, name string, otherwise T) (T, error) {
	if _, found := f[name]; !found {
		return otherwise, nil
	}
	return need[T](f, name)
}

func seconds(f fields, name string) (time.Duration, error) {
	number, err := optional(f, name, 0.0)
	const most = float64(1 << 30)
	if number > most {
		number = most
	}
	return time.Duration(number * float64(time.Second)), err
}

var decimalDigits = regexp.MustCompile(`\A[0-9]+\z`)

func decimal(f fields, name string) (uint64, error) {
	text, err := need[string](f, name)
	number, malformed := strconv.ParseUint(text, 10, 64)
	if err == nil && (malformed != nil || !decimalDigits.MatchString(text)) {
		err = bad(name + " is no decimal string")
	}
	return number, err
}

func octets(f fields, name string) ([]byte, error) {
	text, err := need[string](f, name)
	found, malformed := base64.StdEncoding.DecodeString(text)
	if err == nil && (malformed != nil || strings.ContainsAny(text, "\r\n")) {
		err = bad(name + " is no base64")
	}
	return found, err
}

func object(f fields, name string) (json.RawMessage, error) {
	_, err := need[fields](f, name)
	return f[name], err
}

// first is the first error.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func now() string {
	var found syscall.Timespec
	const monotonic = 1
	at := uintptr(unsafe.Pointer(&found))
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, monotonic, at, 0); errno != 0 {
		panic(errno)
	}
	return strconv.FormatInt(found.Nano(), 10)
}

// --- operations ---

type reply map[string]any

type driver struct {
	ended chan struct{}
	seq   any
}

func (d *driver) send(fields reply) {
	fields["seq"] = d.seq
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(fields); err != nil {
		panic(err)
	}
}

var operations = map[string]func(*driver, fields) (reply, error){
	"hello": (*driver).hello, "match": (*driver).match, "encode": (*driver).encode,
	"decode": (*driver).decode, "publish": (*driver).publish, "produce": (*driver).produce,
}

func (d *driver) hello(f fields) (reply, error) {
	protocol, err := need[int64](f, "protocol")
	if err == nil && protocol != 1 {
		err = bad("protocol 1 only")
	}
	return reply{
		"implementation": "pubsub-go", "version": "1", "language": runtime.Version(), "spec": "1",
		"roles": []string{"topics", "codec", "publisher"},
	}, err
}

func (d *driver) match(f fields) (reply, error) {
	pattern, noPattern := need[string](f, "pattern")
	topic, noTopic := need[string](f, "topic")
	if err := first(noPattern, noTopic); err != nil {
		return nil, err
	}
	err := first(checkPattern(pattern), checkTopic(topic))
	return reply{"match": matches(pattern, topic)}, err
}

func (d *driver) encode(f fields) (reply, error) {
	f, noMessage := need[fields](f, "message")
	id, noID := decimal(f, "id")
	timestamp, noTimestamp := decimal(f, "timestamp")
	topic, noTopic := need[string](f, "topic")
	headers, noHeaders := object(f, "headers")
	content, noContent := octets(f, "content")
	if err := first(noMessage, noID, noTimestamp, noTopic, noHeaders, noContent); err != nil {
		return nil, err
	}
	if id == 0 {
		return nil, bad("the id is 0")
	}
	file, err := message{id, timestamp, topic, headers, content}.encode()
	return reply{"bytes": file}, err
}

func (d *driver) decode(f fields) (reply, error) {
	file, err := octets(f, "bytes")
	if err != nil {
		return nil, err
	}
	m, err := decode(file)
	if err != nil {
		return nil, err
	}
	return reply{"message": reply{
		"id": strconv.FormatUint(m.id, 10), "timestamp": strconv.FormatUint(m.timestamp, 10),
		"topic": m.topic, "headers": json.RawMessage(compacted(m.headers)), "content": m.content,
	}}, nil
}

func (d *driver) publish(f fields) (reply, error) {
	topic, noTopic := need[string](f, "topic")
	headers, noHeaders := object(f, "headers")
	content, noContent := octets(f, "content")
	timeout, noTimeout := seconds(f, "timeout")
	if err := first(noTopic, noHeaders, noContent, noTimeout); err != nil {
		return nil, err
	}
	count, err := publish(message{topic: topic, headers: headers, content: content}, timeout, d.ended)
	return reply{"count": count}, err
}

func (d *driver) produce(f fields) (reply, error) {
	topic, noTopic := need[string](f, "topic")
	prefix, noPrefix := need[string](f, "prefix")
	count, noCount := need[int](f, "count")
	raw, noSizes := need[[]*int](f, "sizes")
	report, noReport := need[string](f, "report")
	rate, noRate := optional(f, "rate", 0.0)
	timeout, noTimeout := seconds(f, "timeout")
	if err := first(noTopic, noPrefix, noCount, noSizes, noReport, noRate, noTimeout); err != nil {
		return nil, err
	}
	for _, size := range raw {
		if size == nil {
			return nil, bad("a size is null")
		}
	}
	if report != "all" && report != "totals" {
		return nil, bad("report is all or totals")
	}
	done := reply{"messages": 0, "count": 0, "start": now(), "end": now()}
	messages, sum, began := 0, 0, time.Now()
	for n := 0; n < count; n++ {
		text := prefix + ":" + strconv.Itoa(n) + ":"
		size := len(text)
		if wanted := *raw[n%len(raw)]; wanted > size {
			size = wanted
		}
		content := []byte(strings.Repeat(text, size/len(text)+1)[:size])
		headers := mustMarshal(reply{"publisher": prefix, "n": n})
		if rate > 0 {
			due := began.Add(time.Duration(float64(n) / rate * float64(time.Second)))
			select {
			case <-d.ended:
			case <-time.After(time.Until(due)):
			}
		}
		if d.isOver() {
			break
		}
		event := reply{"n": n, "start": now()}
		took, err := publish(message{topic: topic, headers: headers, content: content}, timeout, d.ended)
		event["end"] = now()
		if err == nil {
			event["count"] = took
			messages++
			sum += took
		} else if known := err.(*failure); known.Code == "io-error" || known.Code == "base-unusable" {
			event["error"] = known
		} else {
			return nil, err
		}
		if n == 0 {
			done["start"] = event["start"]
		}
		done["end"] = event["end"]
		if report == "all" {
			d.send(reply{"event": event})
		}
	}
	done["messages"], done["count"] = messages, sum
	return reply{"done": done}, nil
}

func mustMarshal(value any) []byte {
	found, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return found
}

// --- the session ---

func (d *driver) isOver() bool {
	select {
	case <-d.ended:
		return true
	default:
		return false
	}
}

func (d *driver) answer(line []byte) {
	d.seq = nil
	result, err := d.do(line)
	if d.isOver() {
		return
	}
	if err != nil {
		d.send(reply{"error": err})
		return
	}
	d.send(result)
}

func (d *driver) do(line []byte) (reply, error) {
	var request fields
	if !utf8.Valid(line) || json.Unmarshal(line, &request) != nil || request == nil {
		return nil, bad("a request is a JSON object")
	}
	seq, noSeq := need[int64](request, "seq")
	if noSeq == nil {
		d.seq = seq
	}
	name, noName := need[string](request, "op")
	if err := first(noSeq, noName); err != nil {
		return nil, err
	}
	operation, found := operations[name]
	if !found {
		return nil, fail("unknown-op", name)
	}
	return operation(d, request)
}

func main() {
	d := &driver{ended: make(chan struct{})}
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	go func() {
		<-terminated
		close(d.ended)
	}()
	lines := make(chan []byte)
	go read(os.Stdin, lines)
	for {
		select {
		case <-d.ended:
			return
		case line, more := <-lines:
			if !more {
				return
			}
			d.answer(line)
		}
	}
}

// read sends the lines, and closes the channel at their end.
func read(input io.Reader, lines chan<- []byte) {
	reader := bufio.NewReader(input)
	for {
		line, err := reader.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 || err == nil {
			lines <- line
		}
		if err != nil {
			close(lines)
			return
		}
	}
}

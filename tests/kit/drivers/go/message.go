package main

import (
	"encoding/binary"
	"math"
)

var prefix = [5]byte{'P', 'M', 'S', 'G', 1}

// A message, with the headers as JSON.
type message struct {
	id, timestamp    uint64
	topic            string
	headers, content []byte
}

func (m message) encode() ([]byte, error) {
	if err := checkTopic(m.topic); err != nil {
		return nil, err
	}
	if err := checkHeaders(m.headers); err != nil {
		return nil, fail("invalid-headers", err.Error())
	}
	headers := compacted(m.headers)
	if len(headers) > math.MaxUint32 || len(m.content) > math.MaxUint32 {
		return nil, fail("too-large", "a field is too long")
	}
	file := append([]byte{}, prefix[:]...)
	file = binary.BigEndian.AppendUint64(file, m.id)
	file = binary.BigEndian.AppendUint64(file, m.timestamp)
	for _, field := range [][]byte{[]byte(m.topic), headers, m.content} {
		file = binary.BigEndian.AppendUint32(file, uint32(len(field)))
		file = append(file, field...)
	}
	return file, nil
}

func decode(file []byte) (m message, err error) {
	invalid := func(why string) error { return fail("invalid-message", why) }
	if len(file) < 21 || [5]byte(*(*[5]byte)(file)) != prefix {
		return m, invalid("not the beginning of a message of version 1")
	}
	m.id = binary.BigEndian.Uint64(file[5:])
	m.timestamp = binary.BigEndian.Uint64(file[13:])
	rest := file[21:]
	var fields [3][]byte
	for i := range fields {
		if len(rest) < 4 {
			return m, invalid("it ends before a length")
		}
		length := uint64(binary.BigEndian.Uint32(rest))
		rest = rest[4:]
		if length > uint64(len(rest)) { // MSG-13
			return m, invalid("it ends in a field")
		}
		fields[i], rest = rest[:length], rest[length:]
	}
	m.topic, m.headers, m.content = string(fields[0]), fields[1], fields[2]
	if m.id == 0 || len(rest) > 0 || !isTopic(m.topic) {
		return m, invalid("id 0, octets after the content, or a topic that breaks the grammar")
	}
	if len(m.headers) == 0 {
		m.headers = []byte("{}")
	}
	if err := checkHeaders(m.headers); err != nil {
		return m, invalid(err.Error())
	}
	return m, nil
}

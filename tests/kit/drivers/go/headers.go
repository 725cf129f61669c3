package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// checkHeaders checks the text of headers (MSG-7 to MSG-11). encoding/json says nothing of keys that
// occur twice, and replaces octets that are not UTF-8 and lone surrogates.
func checkHeaders(text []byte) error {
	if !utf8.Valid(text) || !json.Valid(text) {
		return errors.New("the headers are not JSON in UTF-8")
	}
	if hasLoneSurrogate(text) {
		return errors.New("a lone surrogate")
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if token, _ := decoder.Token(); token != json.Delim('{') {
		return errors.New("the headers are not an object")
	}
	keys := map[string]bool{}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return err
		}
		key := token.(string)
		if keys[key] {
			return errors.New("a key occurs twice")
		}
		keys[key] = true
		value, err := decoder.Token()
		if err != nil {
			return err
		}
		switch value := value.(type) {
		case json.Delim:
			return errors.New("a value is not a scalar")
		case json.Number:
			if !isInteroperable(value.String()) {
				return errors.New("a number is out of range")
			}
		}
	}
	return nil
}

// isInteroperable is MSG-10.
func isInteroperable(number string) bool {
	if strings.ContainsAny(number, ".eE") {
		_, err := strconv.ParseFloat(number, 64)
		return err == nil
	}
	value, err := strconv.ParseInt(number, 10, 64)
	const limit = 1 << 53
	return err == nil && -limit < value && value < limit
}

// hasLoneSurrogate looks at the escapes of valid JSON.
func hasLoneSurrogate(text []byte) bool {
	for {
		at := bytes.IndexByte(text, '\\')
		if at < 0 {
			return false
		}
		unit, isUnit := escaped(text[at:])
		if !isUnit {
			text = text[at+2:]
			continue
		}
		text = text[at+6:]
		if unit < 0xD800 || unit > 0xDFFF {
			continue
		}
		low, isUnit := escaped(text)
		if unit > 0xDBFF || !isUnit || low < 0xDC00 || low > 0xDFFF {
			return true
		}
		text = text[6:]
	}
}

// escaped is the number in an escape `\uXXXX` at the beginning of the text.
func escaped(text []byte) (uint64, bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return math.MaxUint64, false
	}
	unit, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	return unit, err == nil
}

// compacted is the text of checked headers on one line, without spaces.
func compacted(headers []byte) []byte {
	var found bytes.Buffer
	if err := json.Compact(&found, headers); err != nil {
		panic(err)
	}
	return found.Bytes()
}

// Package jsonvalue reads JSON by exact keys. encoding/json also takes keys that
// differ in case, and of several the last. All functions take valid JSON, as
// json.Valid says.
package jsonvalue

import (
	"bytes"
	"encoding/json"
	"iter"
	"math"
	"strconv"
	"unicode/utf8"
)

// Members are the keys and raw values of an object in their order, duplicates too. A
// value that is no object has none.
func Members(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		if Kind(object) != '{' {
			return
		}
		for rest := space(space(object)[1:]); rest[0] != '}'; {
			var key, value []byte
			key, rest = cut(rest)
			value, rest = cut(space(space(rest)[1:])) // behind the colon
			name := key[1 : len(key)-1]
			if bytes.IndexByte(name, '\\') >= 0 {
				text, _ := String(key)
				name = []byte(text)
			}
			if !yield(name, value) {
				return
			}
			rest = comma(rest)
		}
	}
}

// Elements are the raw elements of an array. A value that is no array has none.
func Elements(array []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if Kind(array) != '[' {
			return
		}
		for rest := space(space(array)[1:]); rest[0] != ']'; {
			var element []byte
			if element, rest = cut(rest); !yield(element) {
				return
			}
			rest = comma(rest)
		}
	}
}

// Kind is the first byte of a value, which tells what it is.
func Kind(value []byte) byte {
	if value = space(value); len(value) > 0 {
		return value[0]
	}
	return 0
}

// String reads a string.
func String(value []byte) (string, bool) {
	if Kind(value) != '"' {
		return "", false
	}
	text := bytes.TrimSpace(value)
	if plain := text[1 : len(text)-1]; bytes.IndexByte(plain, '\\') < 0 && utf8.Valid(plain) {
		return string(plain), true
	}
	var s string
	err := json.Unmarshal(text, &s)
	return s, err == nil
}

// Int reads a whole number, also one like 1.0 or 1e2.
func Int(value []byte) (int, bool) {
	n, err := strconv.ParseFloat(string(bytes.TrimSpace(value)), 64)
	if err != nil || n != math.Trunc(n) || math.Abs(n) > math.MaxInt32 {
		return 0, false
	}
	return int(n), true
}

// cut cuts the first value off. JSON being valid, it is enough to know where strings
// and brackets end.
func cut(text []byte) (value, rest []byte) {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			for begun := i; ; {
				i += 1 + bytes.IndexByte(text[i+1:], '"')
				escapes := 0
				for escapes < i-begun-1 && text[i-1-escapes] == '\\' {
					escapes++
				}
				if escapes%2 == 0 {
					break
				}
			}
		case '{', '[':
			depth++
			continue
		case '}', ']':
			if depth--; depth < 0 {
				return text[:i], text[i:]
			}
		case ',', ':', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return text[:i], text[i:]
			}
			continue
		default:
			continue // within a number, true, false or null
		}
		if depth == 0 {
			return text[:i+1], text[i+1:]
		}
	}
	return text, nil
}

// comma skips a comma, if there is one, and the space around it.
func comma(text []byte) []byte {
	if text = space(text); text[0] == ',' {
		return space(text[1:])
	}
	return text
}

// space skips white space.
func space(text []byte) []byte {
	for len(text) > 0 && (text[0] == ' ' || text[0] == '\t' || text[0] == '\r' || text[0] == '\n') {
		text = text[1:]
	}
	return text
}

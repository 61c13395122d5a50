// Package redact takes secrets out of text that is not ours.
package redact

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

// Mark stands where a secret was.
const Mark = "[redacted]"

const (
	bearer       = "Bearer "
	shortToken   = 8        // bytes; below it, a token may be an ordinary word
	showsOfToken = 3        // bytes of a token's beginning that a cut text may show
	maxValue     = 4 << 10  // bytes of a header's value
	maxHeader    = 64 << 10 // bytes of all names and values

	backslashes = `\\\\\\\\\\\\\\\\` // where so many begin, nothing else begins in three escapes
)

// Secrets are the secrets of one call. The zero value has none. It must not be copied.
type Secrets struct {
	list  []secret
	few   [2]secret // where the list begins, for no allocation
	first [256]bool // the bytes that an occurrence, or a Mark, begins with
	slash bool      // a secret begins with a backslash
}

type secret struct {
	text  string
	as    string // what is shown instead
	shows int    // bytes of its beginning that a cut text may show
}

// AddToken adds an access token. One of less than 8 bytes is redacted behind
// "Bearer " only, since it may be an ordinary word.
func (s *Secrets) AddToken(token string) {
	switch {
	case token == "":
	case len(token) < shortToken:
		s.add(secret{bearer + token, bearer + Mark, len(bearer)})
	default:
		s.add(secret{token, Mark, showsOfToken})
	}
}

// AddPassword adds a text that is redacted at any length; "" is none.
func (s *Secrets) AddPassword(text string) {
	if text != "" {
		s.add(secret{text, Mark, 0})
	}
}

func (s *Secrets) add(added secret) {
	if slices.Contains(s.list, added) {
		return
	}
	if s.list == nil {
		s.list = s.few[:0]
	}
	s.list = append(s.list, added)
	for _, c := range []byte{'\\', '%', '&', Mark[0], added.text[0]} {
		s.first[c] = true
	}
	if r, _ := utf8.DecodeRuneInString(added.text); r <= 0xff {
		s.first[r] = true // as Latin-1
	}
	s.first['+'] = s.first['+'] || added.text[0] == ' '
	s.slash = s.slash || added.text[0] == '\\'
}

// Text returns text with its secrets redacted: the same string if it has none.
func (s *Secrets) Text(text string) string { return s.redact(text, false) }

// Body returns a copy of body with its secrets redacted. If it is cut, that is, if
// the text goes on where body ends, what may be the beginning of a secret there is
// redacted too, but for three bytes of a token's.
func (s *Secrets) Body(body []byte, cut bool) []byte {
	return []byte(s.redact(string(body), cut))
}

// Header returns a copy of h without cookies and with its secrets redacted. Each
// value is cut at 4 KiB, and all names and values together at 64 KiB.
func (s *Secrets) Header(h http.Header) http.Header {
	if h == nil {
		return nil
	}
	left := maxHeader
	kept := make(http.Header, len(h))
	for _, name := range slices.Sorted(maps.Keys(h)) {
		switch http.CanonicalHeaderKey(name) {
		case "Set-Cookie", "Set-Cookie2":
			continue
		}
		for _, value := range h[name] {
			if left -= len(name); left <= 0 {
				return kept
			}
			short := value[:min(len(value), maxValue, left)]
			left -= len(short)
			shown := s.Text(name)
			kept[shown] = append(kept[shown], s.redact(short, len(short) < len(value)))
		}
	}
	return kept
}

func (s *Secrets) redact(text string, cut bool) string {
	var out strings.Builder
	m := matcher{text: text, cut: cut, steps: stepsPerByte*len(text)*min(len(s.list), someSecrets) + leastSteps*len(s.list)}
	done := 0 // what is before it is in out
	for i := 0; i < len(text); i++ {
		c := text[i]
		if !s.first[c] || c == '\\' && !s.slash && strings.HasPrefix(text[i:], backslashes) {
			continue
		}
		end, as := -1, ""
		for k := range s.list {
			if e := m.match(&s.list[k], 0, i); e > end {
				end, as = e, s.list[k].as
			}
		}
		switch {
		case end > done: // even if it begins in the one before
			if i > done || done == 0 {
				out.WriteString(text[done:i])
				out.WriteString(as)
			}
			done = end
		case strings.HasPrefix(text[i:], Mark):
			i += len(Mark) - 1 // a secret may be a part of it
		}
	}
	if done == 0 {
		return text
	}
	out.WriteString(text[done:])
	return out.String()
}

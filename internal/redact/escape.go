package redact

import (
	"bytes"
	"encoding/json"
	"html"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	escapes = `\%&+` // what every escape begins with
	depth   = 3      // escapes within escapes
	// maxWork bounds what decoding a text may cost, in bytes times secrets: a text that takes
	// more was made for that, and is withheld.
	maxWork = 256 << 20
	// apart stands for a Mark in a text that is decoded: no secret has it, and a secret that is
	// a part of a Mark is not found in it.
	apart = "\uffff"
)

// in returns the forms of a secret to look for in a text: all of them if it has escapes.
func (s *secret) in(escaped bool) []string {
	if s.forms == nil {
		s.forms = []string{s.text}
		if plain := latin1(s.text); plain != s.text {
			s.forms = append(s.forms, plain)
		}
	}
	if n := min(2, len(s.forms)); !escaped {
		return s.forms[:n]
	}
	if len(s.forms) <= 2 {
		for _, form := range []string{
			inJSON(s.text, true), inJSON(s.text, false), url.QueryEscape(s.text), url.PathEscape(s.text), html.EscapeString(s.text),
		} {
			if !slices.Contains(s.forms, form) {
				s.forms = append(s.forms, form)
			}
		}
	}
	return s.forms
}

// inJSON returns text as encoding/json writes it, without the quotation marks.
func inJSON(text string, escapeHTML bool) string {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(escapeHTML)
	_ = encoder.Encode(text) //nolint:errchkjson // A string can always be encoded.
	return strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(out.String(), `"`), "\n"), `"`)
}

// latin1 returns text in Latin-1, or as it is if it can't be.
func latin1(text string) string {
	var out []byte
	for _, r := range text {
		if r > 0xff {
			return text
		}
		out = append(out, byte(r)) //nolint:gosec // It is at most 0xff.
	}
	return string(out)
}

// hiddenIn tells whether a text shows a secret once its escapes are decoded, in any order.
func (s *Secrets) hiddenIn(text string, cut bool) bool {
	work := 0
	seen := map[string]bool{}
	layer := []string{strings.ReplaceAll(text, Mark, apart)}
	for level := 0; ; level++ {
		var next []string
		for _, one := range layer {
			if seen[one] {
				continue
			}
			seen[one] = true
			whole := one
			if cut {
				whole = strings.TrimSuffix(one, cutEscape.FindString(one[max(0, len(one)-40):]))
			}
			if work += len(one) * len(s.list); work > maxWork || level > 0 && s.standIn(one) || cut && (s.endsIn(one) || s.endsIn(whole)) {
				return true
			}
			for _, decode := range decoders {
				next = append(next, decode(one))
				if whole != one {
					next = append(next, decode(whole))
				}
			}
		}
		if layer = next; level == depth {
			return false
		}
	}
}

// standIn tells whether a secret stands in text, or enough of its beginning.
func (s *Secrets) standIn(text string) bool {
	for i := range s.list {
		for _, form := range s.list[i].in(false) {
			if strings.Contains(text, form[:min(len(form), enough)]) {
				return true
			}
		}
	}
	return false
}

// endsIn tells whether text ends with the beginning of a secret.
func (s *Secrets) endsIn(text string) bool {
	for i := range s.list {
		for _, form := range s.list[i].in(false) {
			if beginningAtEnd(text, form) > s.list[i].shows {
				return true
			}
		}
	}
	return false
}

// cutEscape is an escape at the end of a text that is cut.
var cutEscape = regexp.MustCompile(`(?:\\(?:[uUx][0-9a-fA-F{]*)?|%[0-9a-fA-F]?|&[#0-9A-Za-z]*)+$`)

// decoders undo one layer of escapes each. They are lenient: what is no escape stays.
var decoders = []func(string) string{
	func(text string) string { return unescape(text, `"\/bfnrt`) },
	func(text string) string { return unescape(text, shortEscapes) },
	func(text string) string { return unescape(text, "") },
	percentDecode,
	func(text string) string { return percentDecode(strings.ReplaceAll(text, "+", " ")) },
	html.UnescapeString,
	fromLatin1,
}

// unescape decodes the escapes of JSON or JavaScript: those by a code and, of short, those by
// one character.
func unescape(text, short string) string {
	i := strings.IndexByte(text, '\\')
	if i < 0 {
		return text
	}
	var out strings.Builder
	for ; i >= 0; i = strings.IndexByte(text, '\\') {
		out.WriteString(text[:i])
		text = text[i:]
		r, n := byCode(text)
		if utf16.IsSurrogate(r) {
			if low, m := byCode(text[n:]); utf16.DecodeRune(r, low) != utf8.RuneError {
				r, n = utf16.DecodeRune(r, low), n+m
			}
		}
		if n == 0 && len(text) > 1 && strings.IndexByte(short, text[1]) >= 0 {
			r, n = rune("\"\\/'\b\f\n\r\t"[strings.IndexByte(shortEscapes, text[1])]), 2
		}
		if n == 0 {
			r, n = '\\', 1
		}
		out.WriteRune(r)
		text = text[n:]
	}
	out.WriteString(text)
	return out.String()
}

const shortEscapes = `"\/'bfnrt`

// byCode decodes \xNN, \uNNNN, \u{N} or \UNNNNNNNN at the beginning of text, and returns how many
// bytes that is: 0 if it is none of these.
func byCode(text string) (r rune, n int) {
	if len(text) < 2 || text[0] != '\\' {
		return 0, 0
	}
	digits := 0
	switch text[1] {
	case 'x':
		digits = 2
	case 'u':
		digits = 4
		if end := strings.IndexByte(text[:min(len(text), 20)], '}'); end > 3 && text[2] == '{' {
			code, err := strconv.ParseUint(text[3:end], 16, 32)
			return rune(min(code, unicode.MaxRune+1)), (end + 1) * valid(err)
		}
	case 'U':
		digits = 8
	}
	if digits == 0 || len(text) < 2+digits {
		return 0, 0
	}
	code, err := strconv.ParseUint(text[2:2+digits], 16, 32)
	return rune(min(code, unicode.MaxRune+1)), (2 + digits) * valid(err)
}

func valid(err error) int {
	if err != nil {
		return 0
	}
	return 1
}

// fromLatin1 reads the bytes of text that are not UTF-8 as Latin-1.
func fromLatin1(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	var out strings.Builder
	for i, r := range text {
		if r == utf8.RuneError && text[i] != "\ufffd"[0] {
			r = rune(text[i])
		}
		out.WriteRune(r)
	}
	return out.String()
}

// percentDecode decodes the percent-encoding of a URL.
func percentDecode(text string) string {
	if !strings.Contains(text, "%") {
		return text
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 < len(text) {
			if b, err := strconv.ParseUint(text[i+1:i+3], 16, 8); err == nil {
				out = append(out, byte(b))
				i += 2
				continue
			}
		}
		out = append(out, text[i])
	}
	return string(out)
}

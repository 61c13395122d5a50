// Package redact takes secrets out of text that is not ours.
//
// A secret is replaced where it stands as it is, or in the form in which the standard library
// writes it in JSON, a URL or HTML. Any other escaped form is not looked for in its place: if
// a text shows the secret once its escapes are decoded, up to three deep, the whole of the text
// is withheld.
package redact

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// Mark stands where a secret was.
	Mark = "[redacted]"
	// Withheld stands for a text that has a secret in it where it can't be replaced.
	Withheld = "[redacted: the text has a secret in it]"
)

const (
	bearer       = "Bearer "
	shortToken   = 8        // bytes; below it, a token may be an ordinary word
	showsOfToken = 3        // bytes of a token's beginning that a cut text may show
	enough       = 64       // bytes of a secret's beginning that count as the secret: a server may cut it short
	maxValue     = 4 << 10  // bytes of a header's value
	maxHeader    = 64 << 10 // bytes of all names and values
)

// Secrets are the secrets of one call. The zero value has none. It must not be copied.
type Secrets struct {
	list []secret
	few  [2]secret // where list begins: most calls have one secret, and one allocation less of 41
}

type secret struct {
	text  string
	keeps string   // of its beginning: what stays in front of the Mark
	shows int      // bytes of its beginning that a cut text may show
	query bool     // it is a value of the query, or the whole of it
	forms []string // the ways to write it; nil until they are needed
}

// AddToken adds an access token. One of less than 8 bytes is redacted behind "Bearer " only,
// since it may be an ordinary word.
func (s *Secrets) AddToken(token string) {
	switch {
	case token == "":
	case len(token) < shortToken:
		s.add(secret{text: bearer + token, keeps: bearer, shows: len(bearer)})
	default:
		s.add(secret{text: token, shows: showsOfToken})
	}
}

// AddPassword adds a text that is redacted at any length; "" is none.
func (s *Secrets) AddPassword(text string) {
	if text != "" {
		s.add(secret{text: text})
	}
}

// AddQuery adds a value of the query, or the whole of it; "" is none.
func (s *Secrets) AddQuery(text string) {
	if text != "" {
		s.add(secret{text: text, shows: showsOfToken, query: true})
	}
}

// WithoutQuery returns the secrets that are not of the query.
func (s *Secrets) WithoutQuery() *Secrets {
	if !slices.ContainsFunc(s.list, func(one secret) bool { return one.query }) {
		return s
	}
	others := new(Secrets)
	for _, one := range s.list {
		if !one.query {
			others.list = append(others.list, one)
		}
	}
	return others
}

func (s *Secrets) add(added secret) {
	for _, one := range s.list {
		if one.text == added.text && one.shows == added.shows && one.query == added.query {
			return
		}
	}
	if s.list == nil {
		s.list = s.few[:0]
	}
	s.list = append(s.list, added)
}

// Text returns text with its secrets redacted: the same string if it has none.
func (s *Secrets) Text(text string) string { return s.redact(text, false) }

// Body returns a copy of body with its secrets redacted. If it is cut, that is, if the text
// goes on where body ends, what may be the beginning of a secret there is redacted too, but
// for three bytes of a token's.
func (s *Secrets) Body(body []byte, cut bool) []byte {
	return []byte(s.redact(string(body), cut))
}

// Header returns a copy of h without cookies and with its secrets redacted. Each value is cut
// at 4 KiB, and all names and values together at 64 KiB.
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
	if len(s.list) == 0 || text == "" || text == Withheld {
		return text
	}
	escaped := strings.ContainsAny(text, escapes)
	if !escaped && !cut && s.absent(text) {
		return text
	}
	text = s.replace(text, cut, escaped)
	if escaped && s.hiddenIn(text, cut) {
		return Withheld
	}
	return text
}

// absent tells whether a text without escapes certainly has no secret. Most messages have
// none, and need no copy then.
func (s *Secrets) absent(text string) bool {
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return false // It may be a secret in Latin-1.
		}
	}
	return !slices.ContainsFunc(s.list, func(one secret) bool {
		return strings.Contains(text, one.text[:min(len(one.text), enough)])
	})
}

// span is a part of a text to be replaced.
type span struct {
	start, end int
	as         string
}

// replace replaces the secrets that stand in text in one of their forms. A Mark that is there
// already is no part of a secret, unless the secret has a Mark in it.
func (s *Secrets) replace(text string, cut, escaped bool) string {
	for i := range s.list {
		if strings.Contains(s.list[i].text, Mark) {
			text = strings.ReplaceAll(text, s.list[i].text, Mark)
		}
	}
	pieces := strings.Split(text, Mark)
	for i, piece := range pieces {
		var spans []span
		for k := range s.list {
			one := &s.list[k]
			for _, form := range one.in(escaped) {
				spans = one.find(spans, piece, form, cut && i == len(pieces)-1)
			}
		}
		pieces[i] = replaceSpans(piece, spans)
	}
	return strings.Join(pieces, Mark)
}

// find adds the spans in which piece has the secret in a form, or at least the first bytes of
// that. If piece is cut, a beginning of the form at its end counts too.
func (s *secret) find(spans []span, piece, form string, cut bool) []span {
	head := form[:min(len(form), enough)]
	for from := 0; ; {
		i := strings.Index(piece[from:], head)
		if i < 0 {
			break
		}
		start := from + i
		end := start + commonPrefix(piece[start:], form)
		spans = append(spans, span{start, end, s.keeps + Mark})
		from = start + 1
	}
	if n := beginningAtEnd(piece, form); cut && n > s.shows {
		spans = append(spans, span{len(piece) - n, len(piece), Mark})
	}
	return spans
}

// replaceSpans replaces spans of text. Those that overlap are one.
func replaceSpans(text string, spans []span) string {
	if len(spans) == 0 {
		return text
	}
	slices.SortFunc(spans, func(a, b span) int {
		if a.start != b.start {
			return a.start - b.start
		}
		return b.end - a.end
	})
	var out strings.Builder
	done := 0
	for len(spans) > 0 {
		one := spans[0]
		spans = spans[1:]
		for len(spans) > 0 && spans[0].start < one.end {
			if spans[0].end > one.end {
				one.end, one.as = spans[0].end, Mark
			}
			spans = spans[1:]
		}
		out.WriteString(text[done:one.start])
		out.WriteString(one.as)
		done = one.end
	}
	out.WriteString(text[done:])
	return out.String()
}

func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// beginningAtEnd returns how many bytes at the end of text are the beginning of form.
func beginningAtEnd(text, form string) int {
	for n := min(len(text), len(form)); n > 0; n-- {
		if strings.HasSuffix(text, form[:n]) {
			return n
		}
	}
	return 0
}

package redact

import (
	"bytes"
	"html"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	depth = 3 // escapes within escapes

	// As much of a secret's beginning, in bytes, is an occurrence, together with what
	// follows it in the secret. It is redacted where a server cut it short, and bounds the work.
	enough = 64

	// When these are used up, the rest of the text is redacted. Only a text made for it,
	// or a secret that repeats itself, takes so many. A step is about half a nanosecond
	// of comparing, and a few of decoding.
	stepsPerByte = 48
	leastSteps   = 30_000
	someSecrets  = 8 // have steps of their own; a query may have a hundred
)

// A matcher finds secrets in a text.
type matcher struct {
	text  string
	cut   bool // the text goes on where it ends
	steps int  // left

	named bool // what is looked for may be an entity with any name
	open  bool // what was read may go on behind the text's end
	deep  bool // what was read could be read one escape deeper
	loose bool // it is an entity without a semicolon, so that it may end elsewhere
}

// A hop is a way to read on in a secret.
type hop struct{ n, end int } // how many bytes of the secret, and where they end in the text

// match returns where the longest occurrence of s ends whose first p bytes end at j,
// or -1.
func (m *matcher) match(s *secret, p, j int) int {
	for p < len(s.text) && m.steps > 0 {
		m.steps -= 3
		if j < len(m.text) && m.text[j] == s.text[p] && !ambiguous(m.text[j]) {
			p, j = p+1, j+1
			continue
		}
		var buf [8]hop
		hops := m.hops(buf[:0], s.text, p, j)
		if len(hops) == 1 && !m.open {
			p, j = p+hops[0].n, hops[0].end
			continue
		}
		end := -1
		switch {
		case m.cut && (p > s.shows && j == len(m.text) || p >= s.shows && m.open):
			end = len(m.text)
		case p >= enough:
			end = j
		}
		for _, h := range hops {
			end = max(end, m.match(s, p+h.n, h.end))
		}
		return end
	}
	if p < len(s.text) {
		return len(m.text)
	}
	return j
}

// ambiguous tells whether c may be something else than itself, though a secret has it.
func ambiguous(c byte) bool {
	return introduces(rune(c)) || c == Mark[0] || c == 0xc3 // "Ã", as Latin-1 and in UTF-8
}

func introduces(c rune) bool { return c == '\\' || c == '%' || c == '&' }

// hops returns the ways to read what stands at j as the beginning of secret[p:].
func (m *matcher) hops(hops []hop, secret string, p, j int) []hop {
	m.steps -= 12
	m.open = false
	switch {
	case j == len(m.text):
		return hops
	case strings.HasPrefix(m.text[j:], Mark) && !strings.Contains(secret, Mark):
		return hops // else what is redacted could become a part of a secret
	}
	want := secret[p:]
	m.named = !alphanumeric(rune(want[0])) || strings.HasPrefix(want, "fj")
	return m.deeper(hops, want, rune(m.text[j]), 0, j+1, 0)
}

// deeper adds to hops that the characters v and w, read through so many escapes, end
// at end, and what they may be the beginning of an escape of.
func (m *matcher) deeper(hops []hop, want string, v, w rune, end, escapes int) []hop {
	for _, n := range widths(want, v) {
		if n == 0 {
			continue
		}
		if w == 0 {
			hops = add(hops, hop{n, end})
			continue
		}
		for _, more := range widths(want[n:], w) {
			if more > 0 {
				hops = add(hops, hop{n + more, end})
			}
		}
	}
	if v == '+' && want[0] == ' ' {
		hops = add(hops, hop{1, end})
	}
	if escapes == depth || !introduces(v) {
		return hops
	}
	for inner, deep, last := 0, true, -1; inner < depth && deep; inner++ {
		m.deep = false
		r, w, e := m.escape(v, end, inner, escapes == 0)
		deep = m.deep
		if e >= 0 && e != last {
			hops = m.deeper(hops, want, r, w, e, max(inner, escapes)+1)
			last = e
		}
	}
	return hops
}

func add(hops []hop, h hop) []hop {
	if slices.Contains(hops, h) {
		return hops
	}
	return append(hops, h)
}

// widths returns how many bytes of secret are v, as a byte and in UTF-8; 0 is none.
func widths(secret string, v rune) (n [2]int) {
	if secret == "" {
		return n
	}
	if v == rune(secret[0]) {
		n[0] = 1
	}
	if r, size := utf8.DecodeRuneInString(secret); r == v && size > 1 {
		n[1] = size
	}
	return n
}

// read returns the character at j, decoding at most so many escapes, and where it
// ends.
func (m *matcher) read(j, escapes int) (rune, int) {
	if j >= len(m.text) {
		m.open = true
		return -1, j
	}
	v, end, deeper := rune(m.text[j]), j+1, m.deep
	for level := 0; introduces(v); {
		by, at, raw, found, loose := v, end, level == 0, false, false
		for inner, deep := level, true; inner < escapes && deep; inner++ {
			m.deep, m.loose = false, false
			r, w, e := m.escape(by, at, inner, raw)
			if e >= 0 && w == 0 && (!found || loose && !m.loose) {
				v, end, level, found, loose = r, e, inner+1, true, by == '&' && m.loose
			}
			deep = m.deep
			deeper = deeper || deep
		}
		if !found {
			deeper = true
			break
		}
	}
	m.deep = deeper
	return v, end
}

// escape decodes what follows v at j, each character of which may be escaped so often
// itself, but, if v is raw, not in v's own way: who does so escapes v too. It returns
// one character or two, and where they end, or -1.
func (m *matcher) escape(v rune, j, escapes int, raw bool) (r, second rune, end int) {
	m.steps -= 4
	if raw && j < len(m.text) && rune(m.text[j]) == v {
		if v == '\\' {
			return v, 0, j + 1
		}
		return 0, 0, -1
	}
	c, next := m.read(j, escapes)
	switch v {
	case '%':
		high := digit(c)
		if high < 0 {
			return 0, 0, -1
		}
		if c, next = m.read(next, escapes); digit(c) < 0 {
			return 0, 0, -1
		}
		return high<<4 | digit(c), 0, next
	case '&':
		if c == '#' {
			r, end = m.reference(next, escapes)
			return r, 0, end
		}
		if !alphanumeric(c) {
			return 0, 0, -1
		}
		return m.entity(c, next, escapes)
	}
	switch c {
	case 'x':
		r, end = m.number(next, escapes, 16, 2, 2)
	case 'U':
		r, end = m.number(next, escapes, 16, 8, 8)
	case 'u':
		r, end = m.unicode(next, escapes)
	default:
		i := strings.IndexRune(`"\/'bfnrt`, c)
		if i < 0 {
			return 0, 0, -1
		}
		r, end = rune("\"\\/'\b\f\n\r\t"[i]), next
	}
	return r, 0, end
}

// unicode decodes what follows \u.
func (m *matcher) unicode(j, escapes int) (rune, int) {
	if c, next := m.read(j, escapes); c == '{' {
		r, end := m.number(next, escapes, 16, 1, 16)
		if end < 0 {
			return 0, -1
		}
		if c, next = m.read(end, escapes); c != '}' {
			return 0, -1
		}
		return r, next
	}
	r, end := m.number(j, escapes, 16, 4, 4)
	if !utf16.IsSurrogate(r) {
		return r, end
	}
	for shallow := range escapes + 1 { // read deeper, the backslash may take what follows
		c, next := m.read(end, shallow)
		if c != '\\' {
			continue
		}
		if c, next = m.read(next, escapes); c != 'u' {
			continue
		}
		low, last := m.number(next, escapes, 16, 4, 4)
		if pair := utf16.DecodeRune(r, low); last >= 0 && pair != utf8.RuneError {
			return pair, last
		}
	}
	return 0, -1
}

// reference decodes what follows &#.
func (m *matcher) reference(j, escapes int) (rune, int) {
	base := rune(10)
	if c, next := m.read(j, escapes); c == 'x' || c == 'X' {
		base, j = 16, next
	}
	r, end := m.number(j, escapes, base, 1, 16)
	if end < 0 {
		return 0, -1
	}
	c, next := m.read(end, escapes)
	if m.loose = c != ';'; !m.loose {
		end = next
	}
	if 0x80 <= r && r <= 0x9f { // Windows-1252
		r, _ = utf8.DecodeRuneInString(html.UnescapeString("&#" + strconv.Itoa(int(r)) + ";"))
	}
	return r, end
}

// entity decodes the name after & that begins with first, which ends at j.
func (m *matcher) entity(first rune, j, escapes int) (r, second rune, end int) {
	var buf [34]byte
	var ends [len(buf) + 1]int
	name := utf8.AppendRune(append(buf[:0], '&'), first)
	ends[2] = j
	for len(name) < len(buf) && name[len(name)-1] != ';' {
		c, next := m.read(j, escapes)
		if !alphanumeric(c) && c != ';' {
			break
		}
		name = utf8.AppendRune(name, c)
		j, ends[len(name)] = next, next
	}
	m.loose = name[len(name)-1] != ';'
	switch string(name) { // what escapes consist of, without a look into html's table
	case "&percnt;":
		return '%', 0, j
	case "&bsol;":
		return '\\', 0, j
	case "&num;":
		return '#', 0, j
	case "&semi;":
		return ';', 0, j
	case "&lcub;", "&lbrace;":
		return '{', 0, j
	case "&rcub;", "&rbrace;":
		return '}', 0, j
	case "&amp;", "&AMP;":
		return '&', 0, j
	}
	if bytes.HasPrefix(name, []byte("&amp")) || bytes.HasPrefix(name, []byte("&AMP")) {
		return '&', 0, ends[4]
	}
	if !m.named || len(name) < 3 {
		return 0, 0, -1
	}
	text := string(name)
	plain := html.UnescapeString(text)
	if plain == text {
		return 0, 0, -1
	}
	r, size := utf8.DecodeRuneInString(plain)
	rest := plain[size:] // of the name, since it need not end with a semicolon, or of what it is a name of
	if rest != "" && text[len(text)-1] == ';' && rest[len(rest)-1] != ';' {
		second, _ = utf8.DecodeRuneInString(rest)
		rest = ""
	}
	return r, second, ends[len(text)-len(rest)]
}

// number reads digits.
func (m *matcher) number(j, escapes int, base rune, least, most int) (rune, int) {
	value := rune(0)
	for n := range most {
		c, next := m.read(j, escapes)
		d := digit(c)
		if d < 0 || d >= base {
			if n < least {
				return 0, -1
			}
			break
		}
		value, j = min(value*base+d, unicode.MaxRune+1), next
	}
	return value, j
}

func digit(c rune) rune {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return -1
}

func alphanumeric(c rune) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

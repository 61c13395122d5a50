package flashback

import (
	"encoding/json"
	"html"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

const (
	redacted = "[redacted]"
	// minSecret is the length in bytes from which a token is taken out wherever it
	// stands. A shorter one may be a word that a message has for its own sake, and is
	// taken out behind "Bearer" only.
	minSecret = 8
)

// Secret is a text, such as a password, that no printer, encoder or log shows.
type Secret struct {
	reveal func() string // a closure, which nothing that prints looks into
}

// NewSecret returns a Secret that holds text.
func NewSecret(text string) Secret { return Secret{func() string { return text }} }

// String returns "[redacted]".
func (Secret) String() string { return redacted }

// GoString returns "[redacted]".
func (Secret) GoString() string { return redacted }

func (s Secret) text() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

// redact takes the tokens of the call, and the password in its body, out of a text
// that is not ours. Where they stand in it escaped, be it in several ways, the text
// comes back unescaped.
func (c *call) redact(text string) string { return c.redactIn(text, 3) }

func (c *call) redactIn(text string, depth int) string {
	text = c.cut(text)
	if depth == 0 || !strings.ContainsAny(text, `\%&`) {
		return text
	}
	// One way at a time: a password may itself look escaped in another.
	for _, unescape := range []func(string) string{unescapeJSON, unescapeURL, html.UnescapeString} {
		plain := unescape(text)
		if plain == text {
			continue
		}
		if clean := c.redactIn(plain, depth-1); clean != plain {
			text = clean
		}
	}
	return text
}

func (c *call) cut(text string) string {
	if c.secret != "" {
		text = strings.ReplaceAll(text, c.secret, redacted)
		text = strings.ReplaceAll(text, strings.ReplaceAll(c.secret, " ", "+"), redacted) // as in a form
	}
	tokens := []string{c.token}
	if c.spent != nil {
		tokens = append(tokens, c.spent...)
		slices.SortFunc(tokens, func(a, b string) int { return len(b) - len(a) }) // one may begin with another
	}
	for _, token := range tokens {
		switch {
		case token == "" || len(text) < len(token):
		case len(token) < minSecret:
			text = strings.ReplaceAll(text, "Bearer "+token, "Bearer "+redacted)
		default:
			text = strings.ReplaceAll(text, token, redacted)
		}
	}
	return text
}

// cutTail takes the beginning of a token off the end of a text that was cut there.
func (c *call) cutTail(text string) string {
	for _, token := range append([]string{c.token}, c.spent...) {
		for n := len(token) - 1; n >= minSecret/2; n-- {
			if before, found := strings.CutSuffix(text, token[:n]); found {
				return before + redacted
			}
		}
	}
	return text
}

// How JSON and URLs write a character in another way.
var (
	jsonEscape = regexp.MustCompile(`(?:\\u[0-9a-fA-F]{4})+|\\["\\/bfnrt]`)
	urlEscape  = regexp.MustCompile(`%[0-9a-fA-F]{2}`)
)

func unescapeJSON(text string) string {
	return jsonEscape.ReplaceAllStringFunc(text, func(escape string) string {
		var plain string
		_ = json.Unmarshal([]byte(`"`+escape+`"`), &plain) // the expression finds nothing else
		return plain
	})
}

func unescapeURL(text string) string {
	return urlEscape.ReplaceAllStringFunc(text, func(escape string) string {
		plain, _ := url.PathUnescape(escape) // as above
		return plain
	})
}

// redactAnswer takes the tokens out of an answer that echoes them.
func (c *call) redactAnswer(a *answer) {
	a.message = c.redact(a.message)
	// A little more than is kept, so that nothing is cut off that would be found whole.
	a.body = []byte(c.redact(string(a.body[:min(len(a.body), maxErrorBody+maxErrorBody/8)])))
	switch {
	case a.cut && c.secret != "":
		a.body = nil // it may end in the middle of the password, in whatever way escaped
	case a.cut:
		a.body = []byte(c.cutTail(string(a.body)))
	}
	a.header = a.header.Clone() // the transport may hand out the same one again
	for _, values := range a.header {
		for i, value := range values {
			values[i] = c.redact(value)
		}
	}
}

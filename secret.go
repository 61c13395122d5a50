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
// that is not ours. Where they stand in it escaped, be it several times over, the
// text comes back unescaped.
func (c *call) redact(text string) string {
	plain := text
	for range 4 {
		if clean := c.cut(plain); clean != plain {
			text, plain = clean, clean
		}
		if !strings.ContainsAny(plain, `\%&`) {
			break
		}
		plain = unescape(plain)
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

// escape is how JSON and URLs write a character in another way.
var escape = regexp.MustCompile(`(?:\\u[0-9a-fA-F]{4})+|\\["\\/bfnrt]|%[0-9a-fA-F]{2}`)

func unescape(text string) string {
	return html.UnescapeString(escape.ReplaceAllStringFunc(text, func(found string) string {
		var char string
		if found[0] == '%' {
			char, _ = url.PathUnescape(found)
		} else {
			_ = json.Unmarshal([]byte(`"`+found+`"`), &char)
		}
		return char
	}))
}

// redactAnswer takes the tokens out of an answer that echoes them.
func (c *call) redactAnswer(a *answer) {
	a.message = c.redact(a.message)
	a.body = []byte(c.redact(string(a.body)))
	if c.secret != "" && c.last.err != nil {
		a.body = nil // it may end in the middle of the password
	}
	a.header = a.header.Clone() // the transport may hand out the same one again
	for _, values := range a.header {
		for i, value := range values {
			values[i] = c.redact(value)
		}
	}
}

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
// that is not ours, as they are and as a page or a URL writes them.
func (c *call) redact(text string) string {
	tokens := []string{c.token}
	if c.spent != nil || c.secret != "" {
		tokens = append(append(tokens, c.secret), c.spent...)
		slices.SortFunc(tokens, func(a, b string) int { return len(b) - len(a) }) // one may begin with another
	}
	for _, token := range tokens {
		if token == "" || len(text) < len(token) {
			continue
		}
		if len(token) < minSecret && token != c.secret {
			text = strings.ReplaceAll(text, "Bearer "+token, "Bearer "+redacted)
			continue
		}
		text = strings.ReplaceAll(text, token, redacted)
		for _, form := range []string{url.QueryEscape(token), url.PathEscape(token), html.EscapeString(token)} {
			if form != token {
				text = strings.ReplaceAll(text, form, redacted)
			}
		}
	}
	return text
}

// jsonEscape is how JSON writes a character in another way.
var jsonEscape = regexp.MustCompile(`\\u[0-9a-fA-F]{4}|\\["\\/bfnrt]`)

// redactAnswer takes the tokens out of an answer that echoes them.
func (c *call) redactAnswer(a *answer) {
	a.message = c.redact(a.message)
	a.body = []byte(c.redact(string(a.body)))
	plain := jsonEscape.ReplaceAllStringFunc(string(a.body), func(escape string) string {
		var char string
		_ = json.Unmarshal([]byte(`"`+escape+`"`), &char) // the expression finds nothing else
		return char
	})
	if clean := c.redact(plain); clean != plain {
		a.body = []byte(clean)
	}
	a.header = a.header.Clone() // the transport may hand out the same one again
	for _, values := range a.header {
		for i, value := range values {
			values[i] = c.redact(value)
			if plain, err := url.QueryUnescape(values[i]); err == nil && c.redact(plain) != plain {
				values[i] = redacted
			}
		}
	}
}

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

// redact takes the tokens of the call out of a text that is not ours, as they are
// and as a page or a URL writes them.
func (c *call) redact(text string) string {
	tokens := []string{c.token}
	if c.spent != nil {
		tokens = append(tokens, c.spent...)
		slices.SortFunc(tokens, func(a, b string) int { return len(b) - len(a) }) // one may begin with another
	}
	for _, token := range tokens {
		if token == "" || len(text) < len(token) {
			continue
		}
		if len(token) < minSecret {
			text = strings.ReplaceAll(text, "Bearer "+token, "Bearer "+redacted)
			continue
		}
		for _, form := range []string{token, url.QueryEscape(token), url.PathEscape(token), html.EscapeString(token)} {
			text = strings.ReplaceAll(text, form, redacted)
		}
	}
	return text
}

// jsonEscape is how JSON writes a character in another way.
var jsonEscape = regexp.MustCompile(`\\u[0-9a-fA-F]{4}|\\["\\/]`)

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

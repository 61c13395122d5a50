package flashback

import (
	"encoding/hex"
	"net/url"
	"regexp"
	"strings"
)

const (
	redacted = "[redacted]"
	// minSecret is the length in bytes from which a token is taken out wherever it
	// stands. A shorter one may be a word that a message has for its own sake, and is
	// taken out behind "Bearer" only.
	minSecret = 8
)

// redact takes the tokens of the call out of a text that is not ours.
func (c *call) redact(text string) string {
	for _, token := range c.spent {
		text = redactToken(text, token)
	}
	return redactToken(text, c.token)
}

func redactToken(text, token string) string {
	switch {
	case token == "":
		return text
	case len(token) < minSecret:
		return strings.ReplaceAll(text, "Bearer "+token, "Bearer "+redacted)
	}
	return strings.ReplaceAll(text, token, redacted)
}

// jsonEscape is how JSON may write a character that it need not escape.
var jsonEscape = regexp.MustCompile(`\\/|\\u00[0-7][0-9a-fA-F]`)

// redactAnswer takes the tokens out of an answer that echoes them.
func (c *call) redactAnswer(a *answer) {
	a.message = c.redact(a.message)
	a.body = []byte(c.redact(string(a.body)))
	plain := jsonEscape.ReplaceAllFunc(a.body, func(escape []byte) []byte {
		if len(escape) == len(`\/`) {
			return escape[1:]
		}
		char, _ := hex.DecodeString(string(escape[len(`\u00`):])) // the expression has found two digits
		return char
	})
	if clean := c.redact(string(plain)); clean != string(plain) {
		a.body = []byte(clean)
	}
	a.header = a.header.Clone() // the transport may hand out the same one again
	for _, values := range a.header {
		for i, value := range values {
			values[i] = c.redact(value)
			if plain, err := url.QueryUnescape(value); err == nil && c.redact(plain) != plain {
				values[i] = redacted
			}
		}
	}
}

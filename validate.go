package flashback

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/flashbacknetwork/flashback-go/internal/redact"
)

// checkSegment returns what is wrong with a value that can't be one segment of a path, as
// the rest of a sentence. Servers and proxies drop or resolve such segments even when they
// are escaped, so that another endpoint would be called.
func checkSegment(value string) error {
	switch {
	case strings.TrimSpace(value) == "":
		return errors.New("is empty")
	case value == "." || value == "..":
		return errors.New("is a path segment with a meaning of its own; give the real one")
	case !utf8.ValidString(value):
		return errors.New("is not valid UTF-8; convert it")
	case strings.ContainsFunc(value, invisible):
		return errors.New("has control or invisible characters (a newline? a byte order mark?); use strings.TrimSpace, or remove them")
	}
	return nil
}

// invisible tells whether a character can't be seen. A space can, of whatever width.
func invisible(r rune) bool {
	return !unicode.IsGraphic(r) || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// encode returns the JSON of a body. It refuses a text that encoding/json would silently
// change: what is not UTF-8 becomes U+FFFD, also in a password.
func encode(body any) ([]byte, error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return nil, newOpaque(err.Error(), err) // A MarshalJSON may fail with the error of another call.
	}
	_, raw := body.(json.RawMessage)
	switch {
	case bytes.Contains(encoded, []byte(`"`+redact.Mark+`"`)):
		return nil, errors.New(`the body has "[redacted]" in it, as a Secret is encoded; use its Reveal`)
	case !utf8.Valid(encoded), !raw && hasReplacement(encoded):
		return nil, errors.New("a text in the body is not valid UTF-8, or has U+FFFD in it; convert it, or send U+FFFD in a json.RawMessage")
	}
	return encoded, nil
}

// hasReplacement tells whether JSON has U+FFFD in it, written out or escaped.
func hasReplacement(encoded []byte) bool {
	if bytes.Contains(encoded, []byte("\uFFFD")) {
		return true
	}
	unescaped := bytes.ReplaceAll(encoded, []byte(`\\`), nil) // An escaped backslash begins no escape.
	return bytes.Contains(unescaped, []byte(`\ufffd`)) || bytes.Contains(unescaped, []byte(`\uFFFD`))
}

package redact_test

import (
	"encoding/json"
	"fmt"
	"html"
	"math/rand/v2"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"

	"github.com/flashbacknetwork/flashback-go/internal/redact"
)

// Encoders escape what they have to, and anything else as the dice fall.
var encoders = []func(*rand.Rand, string) string{inJSON, inJavaScript, inURL, inHTML}

func inJSON(dice *rand.Rand, text string) string {
	var out strings.Builder
	for _, r := range text {
		short := strings.IndexRune("\"\\/\b\f\n\r\t", r)
		switch {
		case short >= 0 && (short != 2 || dice.IntN(2) == 0) && dice.IntN(2) == 0:
			out.WriteString([]string{`\"`, `\\`, `\/`, `\b`, `\f`, `\n`, `\r`, `\t`}[short])
		case r < 0x20 || r == '"' || r == '\\' || dice.IntN(3) == 0:
			for _, unit := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&out, []string{`\u%04x`, `\u%04X`}[dice.IntN(2)], unit)
			}
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}

func inJavaScript(dice *rand.Rand, text string) string {
	var out strings.Builder
	for _, r := range text {
		switch {
		case r != '\\' && r != '"' && dice.IntN(2) == 0:
			out.WriteRune(r)
		case r < 0x100 && dice.IntN(2) == 0:
			fmt.Fprintf(&out, `\x%02x`, r)
		default:
			fmt.Fprintf(&out, []string{`\u{%x}`, `\u{%06X}`}[dice.IntN(2)], r)
		}
	}
	return out.String()
}

func inURL(dice *rand.Rand, text string) string {
	var out strings.Builder
	for _, r := range text {
		switch {
		case r == ' ' && dice.IntN(2) == 0:
			out.WriteByte('+')
		case r <= ' ' || r == '%' || r == '+' || r == '&' || dice.IntN(3) == 0:
			for _, b := range []byte(string(r)) {
				fmt.Fprintf(&out, []string{"%%%02x", "%%%02X"}[dice.IntN(2)], b)
			}
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}

func inHTML(dice *rand.Rand, text string) string { return references(dice, text, false) }

func inLooseHTML(dice *rand.Rand, text string) string { return references(dice, text, true) }

func references(dice *rand.Rand, text string, loose bool) string {
	named := map[rune][]string{
		'&': {"&amp"}, '<': {"&lt"}, '>': {"&gt"}, '"': {"&quot"}, 'ä': {"&auml"}, 'Ã': {"&Atilde"},
		'/': {"&sol;"}, '%': {"&percnt;"}, '\\': {"&bsol;"}, '+': {"&plus;"}, '€': {"&euro;"}, '#': {"&num;"}, ';': {"&semi;"},
	}
	var out strings.Builder
	for i, r := range text {
		rest := text[i+utf8.RuneLen(r):]
		var escape string
		switch names := named[r]; {
		case r == 0 || r >= 0x7f && r < 0xa0 || r != '&' && dice.IntN(2) == 0: // the former have none
			out.WriteRune(r)
			continue
		case names != nil && dice.IntN(2) == 0:
			escape = names[0]
		default:
			escape = fmt.Sprintf([]string{"&#%d", "&#x%x", "&#X%04X"}[dice.IntN(3)], r)
		}
		out.WriteString(escape)
		needed := rest == "" || strings.ContainsAny(rest[:1], `;&%\`) || rest[0] >= '0' && rest[0] <= '9' || rest[0]|0x20 >= 'a' && rest[0]|0x20 <= 'z'
		if !strings.HasSuffix(escape, ";") && (needed || !loose || dice.IntN(2) == 0) {
			out.WriteByte(';')
		}
	}
	return out.String()
}

// Decoders are the standard library's.
var (
	jsonEscape = regexp.MustCompile(`(?:\\u[0-9a-fA-F]{4})+|\\["\\/bfnrt]`)
	urlEscape  = regexp.MustCompile(`(?:%[0-9a-fA-F]{2})+`)
	decoders   = []func(string) string{
		func(text string) string {
			return jsonEscape.ReplaceAllStringFunc(text, func(escape string) string {
				var plain string
				_ = json.Unmarshal([]byte(`"`+escape+`"`), &plain)
				return plain
			})
		},
		func(text string) string {
			return urlEscape.ReplaceAllStringFunc(text, func(escape string) string {
				plain, _ := url.QueryUnescape(escape)
				return plain
			})
		},
		func(text string) string {
			return urlEscape.ReplaceAllStringFunc(strings.ReplaceAll(text, "+", " "), func(escape string) string {
				plain, _ := url.QueryUnescape(escape)
				return plain
			})
		},
		html.UnescapeString,
	}
)

// hidden tells in which decoding of text, if any, the secret stands.
func hidden(text, secret string, depth int) (string, bool) {
	if strings.Contains(text, secret) || strings.Contains(text, latin1(secret)) {
		return text, true
	}
	if depth > 0 && strings.ContainsAny(text, `\%&+`) {
		for _, decode := range decoders {
			if plain := decode(text); plain != text {
				if found, ok := hidden(plain, secret, depth-1); ok {
					return found, true
				}
			}
		}
	}
	return "", false
}

// latin1 returns text in Latin-1, or as it is if it can't be.
func latin1(text string) string {
	var out []byte
	for _, r := range text {
		if r > 0xff {
			return text
		}
		out = append(out, byte(r)) //nolint:gosec // it is small enough
	}
	return string(out)
}

// check puts the secret, escaped as the dice fall, between two texts, and looks for it
// in what is shown.
func check(t *testing.T, secret, before, after string, seed uint64) {
	t.Helper()
	if secret == "" || !utf8.ValidString(secret) || strings.ContainsAny(secret, "\ufffd\x01") || strings.Contains(secret, redact.Mark) {
		t.Skip("no secret, or one that can't be told from what is shown instead")
	}
	var s redact.Secrets
	s.AddPassword(secret)
	dice := rand.New(rand.NewPCG(seed, 0))
	escaped := secret
	for layers := dice.IntN(4); layers > 0; layers-- {
		encode := encoders[dice.IntN(len(encoders))]
		if layers == 1 && dice.IntN(4) == 0 {
			encode = inLooseHTML // escaped once more, it can be read in two ways
		}
		escaped = encode(dice, escaped)
	}
	if escaped == secret && dice.IntN(2) == 0 {
		escaped = latin1(secret)
	}
	shown := s.Text(before + escaped + after)
	if !strings.ContainsAny(before, `\%&`) { // else it may change what the escapes mean
		assert.NotContains(t, strings.ReplaceAll(strings.ReplaceAll(shown, redact.Withheld, "\x01"), redact.Mark, "\x01"), escaped, "%q", secret)
	}
	found, leaks := hidden(strings.ReplaceAll(strings.ReplaceAll(shown, redact.Withheld, "\x01"), redact.Mark, "\x01"), secret, 3)
	assert.False(t, leaks, "%q in %q, shown as %q, decoded %q", secret, before+escaped+after, shown, found)
	assert.Equal(t, shown, s.Text(shown), "idempotent: %q in %q", secret, before+escaped+after)
	if text := before + after; !strings.ContainsAny(text, `\%&+`) && !strings.Contains(text, secret) && !strings.Contains(text, latin1(secret)) && len(secret) <= 64 {
		assert.Equal(t, text, s.Text(text), "%q", secret)
	}
}

const (
	secretRunes = "abcAB0149 \"'\\/%&+;#<>{}[]uxnäßÃÂ©€😀\n"
	aroundRunes = "abcxyz019 \"'\\/%&+;#<>=:,.[]{}ä\n"
)

func pick(dice *rand.Rand, runes string, n int) string {
	var out []rune
	all := []rune(runes)
	for range n {
		out = append(out, all[dice.IntN(len(all))])
	}
	return string(out)
}

func TestNoDecodingShowsASecret(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4_000) {
		dice := rand.New(rand.NewPCG(seed, 1))
		secret := pick(dice, secretRunes, 4+dice.IntN(12))
		check(t, secret, pick(dice, aroundRunes, dice.IntN(8)), pick(dice, aroundRunes, dice.IntN(8)), seed)
		if t.Failed() {
			return
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("pässword", "a ", " b", uint64(1))
	f.Add(`50%&amp;x`, `C:\`, "41", uint64(2))
	f.Add(`a\u0041`, "%", ";", uint64(3))
	f.Add("\u0080", "0", "0", uint64(95))
	f.Fuzz(check)
}

package redact_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/flashbacknetwork/flashback-go/internal/redact"
)

func TestASecretIsReplacedInItsUsualForms(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ secret, text, want string }{
		"as it is":                    {"pa55word", "a pa55word!", "a [redacted]!"},
		"in JSON":                     {"p\"ä\n<", `{"a":"p\"ä\n\u003c","b":1}`, `{"a":"[redacted]","b":1}`},
		"in JSON, HTML not escaped":   {`p"ä<`, `{"a":"p\"ä<","b":"\n"}`, `{"a":"[redacted]","b":"\n"}`},
		"in a path":                   {"p ä/", "/a/p%20%C3%A4%2F/b", "/a/[redacted]/b"},
		"in a query":                  {"p ä/", "?a=p+%C3%A4%2F&b=%20", "?a=[redacted]&b=%20"},
		"in HTML":                     {`p"ä'<`, "<b>p&#34;ä&#39;&lt;</b>&nbsp;", "<b>[redacted]</b>&nbsp;"},
		"in Latin-1":                  {"pässword", "p\xe4ssword", redact.Mark},
		"that looks escaped, raw":     {"50%&amp;x", "50%&amp;x", redact.Mark},
		"that looks escaped, in HTML": {"50%&amp;x", "50%&amp;amp;x", redact.Mark},
		"that looks escaped, in JSON": {`a\u0041`, `a\\u0041`, redact.Mark},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s redact.Secrets
			s.AddPassword(test.secret)
			assert.Equal(t, test.want, s.Text(test.text))
		})
	}
}

func TestATextThatShowsASecretOnceItIsDecodedIsWithheld(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ secret, text string }{
		"other escapes of JSON":        {`p"ä/😀`, `{"a":"p\"\u00e4\/\ud83d\uDE00"}`},
		"JSON in JSON":                 {`p"ä`, `{"a":"{\"b\":\"p\\\"\\u00e4\"}"}`},
		"JavaScript":                   {"päß😀", `p\xe4\u{df}\u{1F600}`},
		"a URL in lower case":          {"p ä/", "?a=p%20%C3%a4%2f&b"},
		"a URL as Latin-1":             {"p ä/", "p+%E4/"},
		"HTML by names":                {`p"ä'<`, "p&quot;&#xE4;&#39;&lt;"},
		"HTML without semicolons":      {`p"ä'<x`, "p&quot&#xE4&#39&ltx"},
		"HTML, two characters in one":  {"xfjy", "x&fjlig;y"},
		"three escapes in one another": {`p"ä`, "p%2526quot%253B%25C3%25A4"},
		"what looks escaped, in a URL": {"%41", "a=%2541"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s redact.Secrets
			s.AddPassword(test.secret)
			shown := s.Text(test.text)
			assert.True(t, shown == redact.Withheld || shown == redact.Mark || shown == "a="+redact.Mark, shown)
			assert.Equal(t, shown, s.Text(shown))
		})
	}
	var s redact.Secrets
	s.AddPassword("e")
	assert.Equal(t, redact.Withheld, s.Text("%65"))
	assert.Equal(t, redact.Withheld, s.Text(redact.Withheld), "its own words are no secret")
	assert.Equal(t, "a [redacted]%20b", s.Text("a [redacted]%20b"), "nor those of a mark")
}

func TestTextWithoutASecretIsTheSame(t *testing.T) {
	t.Parallel()
	var none, s redact.Secrets
	s.AddToken("a-token-of-19-bytes")
	text := strings.Repeat(`<a href="/?a=1&amp;b=%20">a-token-of-18</a>{"a":"\u00e4"}`, 20)
	for _, s := range []*redact.Secrets{&none, &s} {
		assert.Equal(t, text, s.Text(text))
		assert.Equal(t, text, string(s.Body([]byte(text), true)))
	}
}

func TestManySecretsAreRedacted(t *testing.T) {
	t.Parallel()
	var s redact.Secrets
	for i := range 1000 {
		s.AddToken(fmt.Sprintf("0123456789abcdef%06x", i))
	}
	hostile := strings.Repeat("0123456789abcde ", 4<<10)
	assert.Equal(t, hostile, s.Text(hostile))
	text := strings.Repeat("none of them is in this text. ", 100)
	assert.Equal(t, text, s.Text(text))
	assert.Equal(t, "a [redacted], b [redacted]", s.Text("a 0123456789abcdef0003e7, b 0123456789abcdef000000"))
}

//nolint:paralleltest // It counts allocations.
func TestTextWithoutASecretIsNotCopied(t *testing.T) {
	var s redact.Secrets
	s.AddToken("a-token-of-19-bytes")
	text := strings.Repeat("User activated successfully. ", 20)
	assert.LessOrEqual(t, testing.AllocsPerRun(10, func() { s.Text(text) }), 1.0, "a slice of one piece")
}

func TestAShortTokenIsRedactedBehindBearerOnly(t *testing.T) {
	t.Parallel()
	var s redact.Secrets
	s.AddToken("user")
	s.AddToken("user")
	s.AddToken("")
	s.AddPassword("")
	assert.Equal(t, "a user: Bearer [redacted]", s.Text("a user: Bearer user"))
	assert.Equal(t, "a user: Bearer [redacted]", s.Text("a user: Bearer%20user"))
}

func TestSecretsThatOverlapAreRedactedWhole(t *testing.T) {
	t.Parallel()
	var s redact.Secrets
	s.AddToken("token-one")
	s.AddToken("token-one-and-more")
	s.AddPassword("xt")
	assert.Equal(t, "[redacted], [redacted]", s.Text("token-one-and-more, xtoken-one"))

	s = redact.Secrets{}
	s.AddPassword("pa55word-and-more")
	s.AddPassword("pa55word")
	assert.Equal(t, "[redacted]!", s.Text("pa55word-and-more!"))
}

func TestALongBeginningOfASecretIsRedacted(t *testing.T) {
	t.Parallel()
	var s redact.Secrets
	long := pick(rand.New(rand.NewPCG(1, 1)), "abcdefghijklmnopqrstuvwxyz", 200)
	s.AddToken(long)
	assert.Equal(t, "[redacted], and so on", s.Text(long[:64]+", and so on"))
	assert.Equal(t, long[:63]+", and so on", s.Text(long[:63]+", and so on"))
}

func TestTheMarkIsLeftAlone(t *testing.T) {
	t.Parallel()
	for _, password := range []string{"e", "[", "redacted", "x[", "]y"} {
		var s redact.Secrets
		s.AddPassword(password)
		s.AddToken("token-one")
		shown := s.Text("<token-one>" + password + "xtoken-oney")
		assert.Contains(t, shown, "<"+redact.Mark+">")
		assert.Equal(t, shown, s.Text(shown))
	}
	var s redact.Secrets
	s.AddPassword("[redacted]x")
	assert.Equal(t, "a [redacted]", s.Text("a [redacted]x"))
}

func TestTheBeginningOfASecretAtACutIsRedacted(t *testing.T) {
	t.Parallel()
	dice := rand.New(rand.NewPCG(1, 1))
	token := pick(dice, "abcdefghijklmnopqrstuvwxyz0123456789-_.~", 10<<10)
	for name, test := range map[string]struct {
		secret string
		add    func(*redact.Secrets, string)
		shows  int
	}{
		"token":    {token, (*redact.Secrets).AddToken, 3},
		"password": {"Pä\"§ %word", (*redact.Secrets).AddPassword, 0},
	} {
		for i, encode := range append(encoders, func(_ *rand.Rand, text string) string { return text }) {
			t.Run(fmt.Sprint(name, i), func(t *testing.T) {
				t.Parallel()
				var s redact.Secrets
				test.add(&s, test.secret)
				escaped := encode(rand.New(rand.NewPCG(2, 2)), test.secret)
				for n := 1; n <= len(escaped); n++ {
					if n > 200 && n < len(escaped)-200 && n%37 != 0 {
						continue
					}
					shown := string(s.Body([]byte("a: "+escaped[:n]), true))
					if shown == redact.Withheld {
						continue
					}
					if strings.HasSuffix(shown, redact.Mark) {
						require.Equal(t, "a: "+redact.Mark, shown, n)
						continue
					}
					require.Equal(t, "a: "+escaped[:n], shown)
					plain := escaped[:n]
					for _, decode := range decoders {
						plain = decode(plain)
					}
					plain = strings.SplitN(strings.ReplaceAll(plain, "%", `\`), `\`, 2)[0] // without half an escape
					plain = strings.SplitN(plain, "&", 2)[0]
					shared := 0
					for shared < min(len(plain), len(test.secret)) && plain[shared] == test.secret[shared] {
						shared++
					}
					require.LessOrEqual(t, shared, test.shows, shown)
				}
				whole := string(s.Body([]byte("a: "+escaped+" b"), true))
				if whole != redact.Withheld {
					require.Equal(t, "a: "+redact.Mark+" b", whole)
				}
				require.Equal(t, "a: "+escaped[:4], s.Text("a: "+escaped[:4]), "what is not cut is no beginning")
			})
		}
	}
}

func TestABodyIsACopy(t *testing.T) {
	t.Parallel()
	var s redact.Secrets
	body := []byte("a body")
	s.Body(body, false)[0] = 'b'
	assert.Equal(t, "a body", string(body))
}

func TestAHeaderHasNeitherCookiesNorSecretsNorMuchElse(t *testing.T) {
	t.Parallel()
	var s redact.Secrets
	s.AddToken("a-token-of-19-bytes")
	long := strings.Repeat("x", 5000)
	h := http.Header{
		"Set-Cookie": {"a=b"}, "Set-Cookie2": {"a=b"}, "set-cookie": {"a=b"},
		"X-A-Token-Of-19-Bytes": {"1"}, "x-a-token-of-19-bytes": {"2"},
		"Location": {"/?t=a%2Dtoken-of-19-bytes", "/"}, "X-Long": {long}, "X-Cut": {long[:4090] + "a-token-of-19-bytes"},
	}
	before := h.Clone()
	assert.Equal(t, http.Header{
		"X-A-Token-Of-19-Bytes": {"1"}, "x-[redacted]": {"2"},
		"Location": {redact.Withheld, "/"}, "X-Long": {long[:4096]}, "X-Cut": {long[:4090] + redact.Mark},
	}, s.Header(h))
	assert.Equal(t, before, h)
	for i := range 100 {
		h[fmt.Sprint("X-", i)] = []string{long}
	}
	size := 0
	for name, values := range s.Header(h) {
		size += len(values) * len(name)
		for _, value := range values {
			size += len(value)
		}
	}
	assert.InDelta(t, 64<<10, size, 100)
	assert.Nil(t, s.Header(nil))
}

// When the work at a text is more than is allowed, it is withheld. So a text that comes back
// as it is took no more.
func TestTheWorkIsBounded(t *testing.T) {
	t.Parallel()
	token := pick(rand.New(rand.NewPCG(1, 1)), "abcdefghijklmnopqrstuvwxyz0123456789-_.~", 10<<10)
	for _, password := range []string{"pässword", `"quoted"`, "+", "zzzzzzzzzz"} {
		var s redact.Secrets
		s.AddToken(token)
		s.AddPassword(password)
		for _, part := range []string{
			`\`, "%", "&", "%25", "25", "&amp;", "amp;", `\u005c`, "%26", `\\\"`, "&nbsp", token[:60] + "!", "%5cb=some-text", "&#37c=some-text", `\\\\\\\"d=some-text`, "&a=1",
		} {
			for _, first := range []string{"", "%", "&", `\`} {
				text := first + strings.Repeat(part, (64<<10)/len(part))
				if password == `"quoted"` || !strings.Contains(text, password) {
					assert.True(t, text == s.Text(text), "%q %q", password, first+part) //nolint:testifylint // a difference of 64 KiB helps nobody
				}
			}
		}
	}
	var s redact.Secrets
	for i := range 3000 {
		s.AddPassword(fmt.Sprintf("secret-%d", i))
	}
	text := strings.Repeat(`\u0041%41&#65;+`, (64<<10)/15)
	assert.Equal(t, redact.Withheld, s.Text(text), "a control: a text that takes more")
}

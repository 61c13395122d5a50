package redact_test

import (
	"strings"
	"testing"

	"github.com/flashbacknetwork/flashback-go/internal/redact"
)

func bench(b *testing.B, secret, text string) {
	b.Helper()
	var s redact.Secrets
	s.AddToken(secret)
	b.ReportAllocs()
	for b.Loop() {
		s.Text(text)
	}
}

func BenchmarkText(b *testing.B) {
	jwt := "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9." + strings.Repeat("eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6", 27)
	page := `<tr class="row"><td>&nbsp;the entry&#39;s name</td><td><a href="/users?id=7&amp;next=%2Fhome%3Fa%3Db">{"event":"\u00e9v\"n"}</a></td></tr>` + "\n"
	distinct := strings.Repeat("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_", 160)
	as := strings.Repeat("a", 10<<10)
	fill := func(s string) string { return strings.Repeat(s, (64<<10)/len(s)+1)[:64<<10] }
	for name, test := range map[string]struct{ secret, text string }{
		"page":                   {jwt, fill(page)},
		"page, password":         {"\"päss word", fill(page)},
		"backslashes":            {as, fill(`\`)},
		"backslashes, backslash": {strings.Repeat(`\`, 1023) + "x", fill(`\`)},
		"backslashes, 15":        {as, fill(strings.Repeat(`\`, 15) + "q")},
		"percent":                {as, fill("%25")},
		"percents":               {as, fill("%")},
		"percent 2":              {as, "%" + fill("25")},
		"amp":                    {as, fill("&amp;")},
		"amp 2":                  {as, "&" + fill("amp;")},
		"nbsp":                   {"\"" + as, fill("&nbsp;")},
		"half":                   {distinct, fill(distinct[:5<<10])},
		"as":                     {as, fill("a")},
		"short as":               {as[:1024], fill("a")},
		"63 as":                  {as, fill(as[:63] + "b")},
		"63 percent as":          {as, fill(strings.Repeat("%61", 63) + "b")},
		"json in json":           {as, fill(`\\\"\\u0061\\n`)},
	} {
		b.Run(name, func(b *testing.B) { bench(b, test.secret, test.text) })
	}
}

package flashback_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// envelopes are all an envelope in a 4xx or 5xx, and say "No way".
var envelopes = map[string]string{
	"success and message":            `{"success":false,"message":"No way"}`,
	"message alone":                  `{"message":"No way"}`,
	"error alone":                    `{"error":"No way"}`,
	"success and error":              `{"success":false,"error":"No way"}`,
	"message goes before error":      `{"success":false,"error":"Forbidden","message":"No way"}`,
	"success that is no boolean":     `{"success":"no","message":"No way"}`,
	"message that is no string":      `{"success":false,"message":null,"error":"No way"}`,
	"error that is no string":        `{"error":{"code":7},"message":"No way"}`,
	"other fields and white space":   " {\n \"statusCode\": 7, \"success\": false, \"message\": \"No way\", \"data\": [] }\n",
	"escapes":                        `{"\u0073uccess":false,"message":"No\u0020way"}`,
	"success true, which is a lie":   `{"success":true,"message":"No way"}`,
	"a deep object beside a message": `{"message":"No way","data":{"message":"other","success":true}}`,
	"a list of strings":              `{"statusCode":7,"message":["No way"],"error":"Bad Request"}`,
	"a list of strings alone":        `{"message": [ "No way" ]}`,
	"an error that is a list":        `{"success":false,"error":["No way"]}`,
	"a byte order mark":              "\ufeff" + `{"success":false,"message":"No way"}`,
	"keys in other cases beside it":  `{"Message":"Other","message":"No way","MESSAGE":"other","Success":7}`,
	"success twice":                  `{"success":true,"success":false,"message":"No way"}`,
	"a code beside a message":        `{"message":"No way","error_code":"E7"}`,
	"a code that is no string":       `{"message":"No way","error_code":7}`,
}

// noEnvelopes are none in any response.
var noEnvelopes = map[string]string{
	"HTML":                           htmlPage,
	"empty":                          "",
	"white space":                    " \n",
	"half an object":                 `{"success":false,"message":"User is not del`,
	"an object and a half":           `{"success":false,"message":"No way"}{"succ`,
	"an array":                       `[{"success":false,"message":"No way"}]`,
	"null":                           `null`,
	"a string":                       `"No way"`,
	"a number":                       `7`,
	"a boolean":                      `true`,
	"an empty object":                `{}`,
	"other fields":                   `{"status":"error","detail":"No way"}`,
	"fields of other types":          `{"success":"no","message":7,"error":{"message":"No way"}}`,
	"fields that are null":           `{"success":null,"message":null,"error":null}`,
	"an envelope inside an object":   `{"data":{"success":false,"message":"No way"}}`,
	"text":                           "upstream connect error",
	"a script around an object":      `callback({"success":false,"message":"No way"})`,
	"an object in single quotes":     `{'success':false,'message':'No way'}`,
	"an object that is not in UTF-8": "\xff\xfe{\x00}\x00",
	"keys in other cases":            `{"Success":false,"MESSAGE":"No way","Error":"No way","error_Code":"E7"}`,
	"a key with a long s":            `{"\u017fuccess":false,"me\u017fsage":"No way"}`,
	"an empty list":                  `{"message":[]}`,
	"a list that is not of strings":  `{"message":["No way",7]}`,
	"two byte order marks":           "\ufeff\ufeff" + `{"success":false,"message":"No way"}`,
	"a code that is no string alone": `{"error_code":7}`,
}

// failOnce is the failure of one attempt with one response.
func failOnce(t *testing.T, status int, body string, header ...string) *flashback.Error {
	t.Helper()
	w := newWire(t, says(status, body, header...))
	got, err := w.client(flashback.WithMaxRetries(0)).Organization.Users.Activate(t.Context(), "user-1")
	assert.Nil(t, got)
	e := asError(t, err)
	assert.Equal(t, status, e.StatusCode)
	assert.Equal(t, 1, e.Attempts)
	return e
}

func TestTheKindOfAnEnvelope(t *testing.T) {
	t.Parallel()
	for status, want := range map[int][]string{
		400: {"ErrBadRequest"},
		401: {"ErrUnauthorized"},
		403: {"ErrForbidden"},
		404: {"ErrNotFound"},
		409: {"ErrConflict"},
		422: {"ErrBadRequest"},
		429: {"ErrRateLimited"},
		402: {}, 405: {}, 406: {}, 410: {}, 413: {}, 418: {}, 423: {}, 425: {}, 451: {}, 498: {},
		408: {"ErrOutcomeUnknown"}, 499: {"ErrOutcomeUnknown"},
		500: {"ErrOutcomeUnknown", "ErrServer"},
		502: {"ErrOutcomeUnknown", "ErrServer"},
		503: {"ErrOutcomeUnknown", "ErrServer"},
		504: {"ErrOutcomeUnknown", "ErrServer"},
		520: {"ErrOutcomeUnknown", "ErrServer"},
		599: {"ErrOutcomeUnknown", "ErrServer"},
		501: {"ErrServer"},
		505: {"ErrServer"},
		600: {"ErrOutcomeUnknown", "ErrServer"},
		999: {"ErrOutcomeUnknown", "ErrServer"},
	} {
		for name, body := range envelopes {
			t.Run(fmt.Sprint(status, " ", name), func(t *testing.T) {
				t.Parallel()
				e := failOnce(t, status, body)
				assert.Equal(t, want, kinds(e))
				assert.Equal(t, "No way", e.Message)
				assert.Equal(t, slices.Contains(want, "ErrOutcomeUnknown"), e.OutcomeUnknown)
			})
		}
		t.Run(fmt.Sprint(status, " success alone"), func(t *testing.T) {
			t.Parallel()
			e := failOnce(t, status, `{"success":false}`)
			assert.Equal(t, want, kinds(e))
			assert.Empty(t, e.Message)
		})
	}
}

func TestTheKindOfWhatIsNoEnvelope(t *testing.T) {
	t.Parallel()
	for status, want := range map[int][]string{
		101: {"ErrUnexpectedResponse"},
		200: {"ErrOutcomeUnknown", "ErrUnexpectedResponse"},
		201: {"ErrOutcomeUnknown", "ErrUnexpectedResponse"},
		206: {"ErrOutcomeUnknown", "ErrUnexpectedResponse"},
		299: {"ErrOutcomeUnknown", "ErrUnexpectedResponse"},
		300: {"ErrUnexpectedResponse"},
		301: {"ErrOutcomeUnknown", "ErrUnexpectedResponse"},
		302: {"ErrOutcomeUnknown", "ErrUnexpectedResponse"},
		303: {"ErrOutcomeUnknown", "ErrUnexpectedResponse"},
		304: {"ErrUnexpectedResponse"},
		307: {"ErrUnexpectedResponse"},
		308: {"ErrUnexpectedResponse"},
		399: {"ErrUnexpectedResponse"},
		400: {"ErrUnexpectedResponse"},
		401: {"ErrUnauthorized"},
		403: {"ErrUnexpectedResponse"},
		404: {"ErrUnexpectedResponse"},
		405: {"ErrUnexpectedResponse"},
		407: {"ErrUnexpectedResponse"},
		408: {"ErrOutcomeUnknown", "ErrUnexpectedResponse"},
		409: {"ErrUnexpectedResponse"},
		422: {"ErrUnexpectedResponse"},
		425: {"ErrUnexpectedResponse"},
		429: {"ErrRateLimited"},
		499: {"ErrOutcomeUnknown", "ErrUnexpectedResponse"},
		500: {"ErrOutcomeUnknown", "ErrServer"},
		501: {"ErrServer"},
		502: {"ErrOutcomeUnknown", "ErrServer"},
		503: {"ErrOutcomeUnknown", "ErrServer"},
		504: {"ErrOutcomeUnknown", "ErrServer"},
		505: {"ErrServer"},
		599: {"ErrOutcomeUnknown", "ErrServer"},
		-1:  {"ErrOutcomeUnknown", "ErrServer"},
		0:   {"ErrOutcomeUnknown", "ErrServer"},
		99:  {"ErrOutcomeUnknown", "ErrServer"},
		600: {"ErrOutcomeUnknown", "ErrServer"},
	} {
		for name, body := range noEnvelopes {
			t.Run(fmt.Sprint(status, " ", name), func(t *testing.T) {
				t.Parallel()
				e := failOnce(t, status, body)
				assert.Equal(t, want, kinds(e))
				assert.Empty(t, e.Message)
				assert.Equal(t, slices.Contains(want, "ErrOutcomeUnknown"), e.OutcomeUnknown)
			})
		}
	}
}

func TestAUserIsNoEnvelopeOfARefusal(t *testing.T) {
	t.Parallel()
	for _, status := range []int{403, 404} {
		_, err := newWire(t, says(status, `{"id":"user-1"}`)).client().Organization.Users.Get(t.Context(), "user-1")
		assert.Equal(t, []string{"ErrUnexpectedResponse"}, kinds(err), "%d", status)
	}
}

func TestUserIsNotDeletedIsComparedWithoutCaseSpaceAndFullStop(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"as documented":           `{"success":false,"message":"User is not deleted"}`,
		"message alone":           `{"message":"User is not deleted"}`,
		"error alone":             `{"error":"User is not deleted"}`,
		"success and error":       `{"success":false,"error":"User is not deleted"}`,
		"lower case":              `{"success":false,"message":"user is not deleted"}`,
		"upper case":              `{"success":false,"message":"USER IS NOT DELETED"}`,
		"space around":            `{"success":false,"message":" \t User is not deleted \n"}`,
		"a full stop":             `{"success":false,"message":"User is not deleted."}`,
		"a full stop and a space": `{"success":false,"message":"User is not deleted. "}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := failOnce(t, 400, body)
			assert.Equal(t, []string{"ErrBadRequest", "ErrUserNotDeleted"}, kinds(e))
			assert.False(t, e.OutcomeUnknown)
		})
	}
}

func TestAnotherWordingIsJustABadRequest(t *testing.T) {
	t.Parallel()
	for _, message := range []string{
		"User is deleted", "User not deleted", "The user is not deleted", "User is not deleted yet", "User is already active",
		"User  is not deleted", "Userisnotdeleted", "User is not deleted!", "User is not deleted, sorry.", `\"User is not deleted\"`, "",
	} {
		t.Run(message, func(t *testing.T) {
			t.Parallel()
			e := failOnce(t, 400, `{"success":false,"message":"`+message+`"}`)
			assert.Equal(t, []string{"ErrBadRequest"}, kinds(e))
			assert.False(t, e.OutcomeUnknown)
		})
		t.Run(message+", after an ambiguous attempt", func(t *testing.T) {
			t.Parallel()
			refusal := says(400, `{"success":false,"message":"`+message+`"}`)
			w := newWire(t, says(503, ""), refusal, says(200, `{"data":{"id":"user-1","deletedAt":"2026-01-01T00:00:00Z"}}`))
			_, err := w.client().Organization.Users.Activate(t.Context(), "user-1")
			assert.Equal(t, []string{"ErrOutcomeUnknown"}, kinds(asError(t, err)))

			w = newWire(t, says(503, ""), refusal, says(200, `{"data":{"id":"user-1","deletedAt":null}}`))
			got, err := w.client().Organization.Users.Activate(t.Context(), "user-1")
			require.NoError(t, err)
			assert.True(t, got.Recovered)
		})
	}
}

func TestTheDocumentedWordsWithAnotherStatusAreNotErrUserNotDeleted(t *testing.T) {
	t.Parallel()
	for status, want := range map[int][]string{
		200: {"ErrUnexpectedResponse"},
		302: {"ErrOutcomeUnknown", "ErrUnexpectedResponse"},
		307: {"ErrUnexpectedResponse"},
		401: {"ErrUnauthorized"},
		403: {"ErrForbidden"},
		404: {"ErrNotFound"},
		409: {"ErrConflict"},
		422: {"ErrBadRequest"},
		500: {"ErrOutcomeUnknown", "ErrServer"},
		501: {"ErrServer"},
	} {
		e := failOnce(t, status, notDeleted)
		assert.Equal(t, want, kinds(e), status)
	}
}

func TestARedirectIsUnexpectedWhateverItsLocation(t *testing.T) {
	t.Parallel()
	for status, want := range map[int][]string{
		301: {"ErrOutcomeUnknown", "ErrUnexpectedResponse"}, // as after a form that was taken
		302: {"ErrOutcomeUnknown", "ErrUnexpectedResponse"},
		303: {"ErrOutcomeUnknown", "ErrUnexpectedResponse"},
		304: {"ErrUnexpectedResponse"},
		307: {"ErrUnexpectedResponse"},
		308: {"ErrUnexpectedResponse"},
	} {
		for name, header := range map[string][]string{
			"no Location":        nil,
			"a path":             {"Location", "/elsewhere"},
			"another host":       {"Location", "https://evil.example/"},
			"the same URL":       {"Location", flashback.DefaultBaseURL + "/organization/users/user-1/activate"},
			"a malformed one":    {"Location", "://"},
			"a bad escape":       {"Location", "/%zz"},
			"a bad host":         {"Location", "http://[::1"},
			"control characters": {"Location", "/\x00\n"},
		} {
			for _, body := range []string{"", htmlPage, activated, noWay} {
				t.Run(fmt.Sprint(status, " ", name), func(t *testing.T) {
					t.Parallel()
					w := newWire(t, says(status, body, header...)) // one response alone: nothing is followed or repeated
					_, err := w.client().Organization.Users.Activate(t.Context(), "user-1")
					e := asError(t, err)
					assert.Equal(t, want, kinds(e))
					assert.Equal(t, status, e.StatusCode)
					assert.Equal(t, 1, e.Attempts)
					if header != nil {
						assert.Equal(t, header[1], e.Header.Get("Location"))
					}
				})
			}
		}
	}
}

func TestA2xxThatSaysFalseIsUnexpectedAndDefinite(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 201, 202, 206, 299} {
		for body, message := range map[string]string{
			`{"success":false}`:                                         "",
			`{"success":false,"message":"No way"}`:                      "No way",
			`{"success":false,"error":"No way"}`:                        "",
			`{"success":false,"message":"User is not deleted"}`:         "User is not deleted",
			`{"success":false,"message":"User activated successfully"}`: "User activated successfully",
		} {
			w := newWire(t, says(status, body))
			_, err := w.client().Organization.Users.Activate(t.Context(), "user-1")
			e := asError(t, err)
			assert.Equal(t, []string{"ErrUnexpectedResponse"}, kinds(e))
			assert.Equal(t, status, e.StatusCode)
			assert.Equal(t, message, e.Message)
			assert.False(t, e.OutcomeUnknown)
		}
	}
}

func TestAnErrorStringMakesNoEnvelopeOfA2xx(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 201, 299} {
		e := failOnce(t, status, `{"error":"No way"}`)
		assert.Equal(t, []string{"ErrOutcomeUnknown", "ErrUnexpectedResponse"}, kinds(e))
		assert.Empty(t, e.Message)
	}
}

func TestA2xxEnvelopeThatDoesNotSayFalseIsASuccess(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 201, 203, 204, 206, 299} {
		for body, message := range map[string]string{
			activated:                            "User activated successfully",
			`{"success":true}`:                   "",
			`{"message":"Done"}`:                 "Done",
			`{"success":null,"message":"Done"}`:  "Done",
			`{"message":""}`:                     "",
			`{"success":true,"message":null}`:    "",
			`{"success":true,"message":7}`:       "",
			`{"success":true,"error":"a relic"}`: "",
			"\n {\"success\":true, \"data\":{\"success\":false}, \"message\":\"Done\"} ": "Done",
		} {
			t.Run(fmt.Sprint(status, " ", body), func(t *testing.T) {
				t.Parallel()
				w := newWire(t, says(status, body))
				got, err := w.client().Organization.Users.Activate(t.Context(), "user-1")
				require.True(t, err == nil, "an untyped nil") //nolint:testifylint // NoError would take a typed one
				assert.Equal(t, &flashback.Activation{UserID: "user-1", Message: message, Attempts: 1}, got)
			})
		}
	}
}

func TestAnErrorHasWhatTheLastResponseHad(t *testing.T) {
	t.Parallel()
	e := failOnce(t, 403, `{"success":false,"message":"Insufficient permissions to activate users"}`,
		"X-Request-Id", "req-1", "Retry-After", "7", "X-Ratelimit-Remaining", "3", "Set-Cookie", "a=1", "Set-Cookie", "b=2")
	assert.Equal(t, "organization.users.activate", e.Op)
	assert.Equal(t, "user-1", e.ID)
	assert.Equal(t, 403, e.StatusCode)
	assert.Equal(t, "Insufficient permissions to activate users", e.Message)
	assert.JSONEq(t, `{"success":false,"message":"Insufficient permissions to activate users"}`, string(e.Body))
	assert.Equal(t, "3", e.Header.Get("X-Ratelimit-Remaining"))
	assert.NotContains(t, e.Header, "Set-Cookie", "which is a secret")
	assert.Equal(t, "POST", e.Method)
	assert.Equal(t, flashback.DefaultBaseURL+"/organization/users/user-1/activate", e.URL)
	assert.Equal(t, "req-1", e.RequestID)
	assert.Equal(t, 7*time.Second, e.RetryAfter)
	assert.Equal(t, 1, e.Attempts)
	assert.False(t, e.OutcomeUnknown)
	assert.Equal(t, flashback.ErrForbidden, errors.Unwrap(e))
}

func TestTheHeaderOfAnErrorIsACopy(t *testing.T) {
	t.Parallel()
	header := http.Header{"X-Mine": {"1"}}
	w := newWire(t, func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 404, Header: header}, nil
	})
	_, err := w.client().Organization.Users.Activate(t.Context(), "user-1")
	e := asError(t, err)
	e.Header.Set("X-Mine", "2")
	e.Header.Set("X-Other", "3")
	assert.Equal(t, http.Header{"X-Mine": {"1"}}, header, "the transport's own is not changed")
}

func TestAnErrorWithoutAResponseHasNothingOfOne(t *testing.T) {
	t.Parallel()
	w := newWire(t, fails(io.ErrUnexpectedEOF), fails(syscall.ECONNRESET))
	_, err := w.client(flashback.WithMaxRetries(1)).Organization.Users.Activate(t.Context(), "user-1")
	e := asError(t, err)
	require.ErrorIs(t, err, syscall.ECONNRESET)
	assert.Equal(t, []string{"ErrOutcomeUnknown"}, kinds(e))
	assert.Zero(t, e.StatusCode)
	assert.Empty(t, e.Message)
	assert.Empty(t, e.Header)
	assert.Empty(t, e.Body)
	assert.Empty(t, e.RequestID)
	assert.Zero(t, e.RetryAfter)
	assert.Equal(t, 2, e.Attempts)
	assert.True(t, e.OutcomeUnknown)
}

func TestTheLastResponseDecidesAndTheOutcomeIsThatOfAllAttempts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		responses []httpmock.Responder
		want      []string
		status    int
		message   string
	}{
		{"403 after an ambiguous attempt", []httpmock.Responder{fails(io.EOF), says(403, noWay)}, []string{"ErrOutcomeUnknown"}, 403, "No way"},
		{"404 after a 503", []httpmock.Responder{says(503, noWay), says(404, `{"message":"User not found"}`)}, []string{"ErrOutcomeUnknown"}, 404, "User not found"},
		{"404 after a 429", []httpmock.Responder{says(429, noWay), says(404, `{"message":"User not found"}`)}, []string{"ErrNotFound"}, 404, "User not found"},
		{"403 after a refused connection", []httpmock.Responder{fails(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}), says(403, noWay)}, []string{"ErrForbidden"}, 403, "No way"},
		{"501 after a 425", []httpmock.Responder{says(425, ""), says(501, "")}, []string{"ErrServer"}, 501, ""},
		{"a page after a page", []httpmock.Responder{says(200, htmlPage), says(404, htmlPage)}, []string{"ErrOutcomeUnknown", "ErrUnexpectedResponse"}, 404, ""},
		{"false after a 502", []httpmock.Responder{says(502, htmlPage), says(200, noWay)}, []string{"ErrOutcomeUnknown", "ErrUnexpectedResponse"}, 200, "No way"},
		{"a redirect after a 408", []httpmock.Responder{says(408, ""), says(302, "")}, []string{"ErrOutcomeUnknown", "ErrUnexpectedResponse"}, 302, ""},
		{"401 after an ambiguous attempt", []httpmock.Responder{fails(io.EOF), says(401, "")}, []string{"ErrOutcomeUnknown", "ErrUnauthorized"}, 401, ""},
		{"429 at last, after a 500", []httpmock.Responder{says(500, ""), says(429, "")}, []string{"ErrOutcomeUnknown", "ErrRateLimited"}, 429, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWire(t, tt.responses...)
			_, err := w.client(flashback.WithMaxRetries(len(tt.responses)-1)).Organization.Users.Activate(t.Context(), "user-1")
			e := asError(t, err)
			assert.Equal(t, tt.want, kinds(e))
			assert.Equal(t, tt.status, e.StatusCode)
			assert.Equal(t, tt.message, e.Message)
			assert.Equal(t, len(tt.responses), e.Attempts)
			assert.Equal(t, slices.Contains(tt.want, "ErrOutcomeUnknown"), e.OutcomeUnknown)
		})
	}
}

func TestTheLastResponseIsKeptWhereLaterAttemptsHadNone(t *testing.T) {
	t.Parallel()
	w := newWire(t, says(503, noWay, "X-Request-Id", "req-1"), fails(io.ErrUnexpectedEOF))
	_, err := w.client(flashback.WithMaxRetries(1)).Organization.Users.Activate(t.Context(), "user-1")
	e := asError(t, err)
	assert.Equal(t, []string{"ErrOutcomeUnknown", "ErrServer"}, kinds(e))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF, "what failed last is a cause too")
	assert.Equal(t, 503, e.StatusCode)
	assert.Equal(t, "No way", e.Message)
	assert.Equal(t, "req-1", e.RequestID)
	assert.Equal(t, 2, e.Attempts)
}

func TestABodyIsKeptUpTo64KiB(t *testing.T) {
	t.Parallel()
	long := `{"success":false,"message":"` + strings.Repeat("é", 100_000) + `"}`
	for name, body := range map[string]string{
		"short":          noWay,
		"just 64 KiB":    strings.Repeat("x", 64<<10),
		"one byte more":  strings.Repeat("x", 64<<10) + "y",
		"a long message": long,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, status := range []int{400, 500} {
				e := failOnce(t, status, body)
				assert.Equal(t, body[:min(len(body), 64<<10)], string(e.Body))
				assert.LessOrEqual(t, cap(e.Body), 80<<10, "the rest is not held on to")
			}
		})
	}
	assert.Equal(t, strings.Repeat("é", 32<<10), failOnce(t, 400, long).Message, "a message is kept up to 64 KiB too")
	cut := failOnce(t, 400, `{"message":"`+strings.Repeat("日", 30_000)+`"}`).Message
	assert.Equal(t, strings.Repeat("日", (64<<10)/3), cut, "and not cut within a letter")
}

func TestTheRequestIDIsFoundInItsUsualHeaders(t *testing.T) {
	t.Parallel()
	for _, header := range []string{"X-Request-Id", "Request-Id", "X-Correlation-Id", "X-Amzn-Requestid", "X-Trace-Id", "Cf-Ray"} {
		e := failOnce(t, 404, noWay, header, "req-1")
		assert.Equal(t, "req-1", e.RequestID, header)
		e = failOnce(t, 404, noWay, header, "other", "X-Request-Id", "req-1")
		if header != "X-Request-Id" {
			assert.Equal(t, "req-1", e.RequestID, "X-Request-Id goes before %s", header)
		}
		assert.Contains(t, e.Error(), e.RequestID)
	}
	assert.Empty(t, failOnce(t, 404, noWay, "X-Other-Id", "req-1").RequestID)
}

func TestRetryAfterIsRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for value, want := range map[string]time.Duration{
			"120": 2 * time.Minute, " 5 ": 5 * time.Second, "0": 0, "": 0,
			"-5": 0, "soon": 0, "1.": time.Second, "1.0": time.Second, "1.5": 2 * time.Second, "0.2": time.Second, "1.5.5": 0, ".5": 0, "0x10": 0, "5s": 0, "٣": 0,
			time.Now().Add(time.Hour).UTC().Format(http.TimeFormat):  time.Hour,
			time.Now().Add(2 * time.Hour).UTC().Format(time.RFC850):  2 * time.Hour,
			time.Now().Add(3 * time.Hour).UTC().Format(time.ANSIC):   3 * time.Hour,
			time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat): 0,
			"9223372037": math.MaxInt64, "9223372036854775807": math.MaxInt64, "99999999999999999999999": math.MaxInt64,
		} {
			for _, status := range []int{403, 429, 503} {
				e := failOnce(t, status, noWay, "Retry-After", value)
				assert.Equal(t, want, e.RetryAfter, "%d with Retry-After %q", status, value)
			}
		}
	})
}

func TestErrorTextNamesWhatMatters(t *testing.T) {
	t.Parallel()
	text := failOnce(t, 403, noWay, "X-Request-Id", "req-1").Error()
	for _, part := range []string{
		"organization.users.activate", "user-1", "403", "No way", "req-1", "POST https://backend.flashback.tech/organization/users/user-1/activate",
	} {
		assert.Contains(t, text, part)
	}
	assert.Contains(t, failOnce(t, 503, "").Error(), "unknown")
	assert.NotContains(t, text, "unknown")

	w := newWire(t, says(503, ""), fails(errors.New("the cable was cut")))
	_, err := w.client(flashback.WithMaxRetries(1)).Organization.Users.Activate(t.Context(), "user-1")
	text = asError(t, err).Error()
	assert.Contains(t, text, "503")
	assert.Contains(t, text, "the cable was cut")
	assert.Contains(t, text, "2 attempts")
}

func TestErrorTextIsOneShortLineWhateverCameOrWasGiven(t *testing.T) {
	t.Parallel()
	hostile := map[string]string{
		"letters":         "x",
		"newlines":        "x\r\n",
		"escapes":         "\x1b[31mred\a\x07\x00",
		"DEL and C1":      "\x7f\u0085\u009b31m",
		"bidi marks":      "\u202eabc\u2066\u200f",
		"line separators": "a\u2028b\u2029",
		"wide letters":    "日本",
		"quotes":          `"`,
		"backslashes":     `\`,
		"percent signs":   "%s%n%!d",
		"invalid UTF-8":   "\xff\xc3",
	}
	for name, unit := range hostile {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := strings.Repeat(unit, 5000)
			id := strings.Map(func(r rune) rune { // what an ID may be
				if !unicode.IsGraphic(r) || r == utf8.RuneError {
					return '"'
				}
				return r
			}, text)
			body := fmt.Sprintf(`{"success":false,"message":%s}`, jsonString(text))
			long := errors.New(text)
			for _, responses := range [][]httpmock.Responder{
				{says(400, body, "X-Request-Id", text)},
				{says(404, htmlPage, "X-Request-Id", text)},
				{says(503, body, "X-Request-Id", text, "Retry-After", text)},
				{says(302, "", "Location", text)},
				{fails(long)},
				{says(503, body, "X-Request-Id", text), fails(long)},
				{says(503, body, "X-Request-Id", text), fails(&net.OpError{Op: "dial", Net: "tcp", Err: long})},
			} {
				w := newWire(t, responses...)
				_, err := w.client(flashback.WithMaxRetries(len(responses)-1)).Organization.Users.Activate(t.Context(), id)
				e := asError(t, err)
				for _, line := range []string{err.Error(), fmt.Sprint(err), fmt.Sprintf("%v", e)} {
					assert.LessOrEqual(t, utf8.RuneCountInString(line), 720, "%d bytes: %s", len(line), line)
					assert.True(t, utf8.ValidString(line), "%q", line)
					assert.False(t, strings.ContainsFunc(line, func(r rune) bool {
						return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
					}), "%q", line)
					assert.Contains(t, line, "organization.users.activate")
					assert.Contains(t, line, "https://backend.flashback.tech/")
				}
			}
		})
	}
}

// jsonString writes a text as JSON, all of it escaped.
func jsonString(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		fmt.Fprintf(&b, `\u%04x`, r)
	}
	b.WriteByte('"')
	return b.String()
}

func TestEveryFailureIsAnError(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for _, tt := range []struct {
		name      string
		ctx       context.Context //nolint:containedctx // a row of a table
		within    time.Duration   // until the deadline; 0: there is none
		id        string
		responses []httpmock.Responder
		opts      []flashback.Option
		want      error
	}{
		{name: "an empty ID", id: "", want: flashback.ErrInvalidArgument},
		{name: "a canceled context", ctx: ended, id: "user-1", want: context.Canceled},
		{name: "a deadline that has passed", within: -time.Second, id: "user-1", want: context.DeadlineExceeded},
		{name: "a response", id: "user-1", responses: []httpmock.Responder{says(404, noWay)}, want: flashback.ErrNotFound},
		{name: "a response of no kind", id: "user-1", responses: []httpmock.Responder{says(409, noWay)}},
		{name: "no response", id: "user-1", responses: []httpmock.Responder{fails(io.EOF)}, opts: []flashback.Option{flashback.WithMaxRetries(0)}, want: io.EOF},
		{name: "no response from a transport that says nothing", id: "user-1", responses: []httpmock.Responder{fails(nil)}, opts: []flashback.Option{flashback.WithMaxRetries(0)}, want: flashback.ErrOutcomeUnknown},
		{name: "a wait that would outlast the deadline", within: 40 * time.Second, id: "user-1", responses: []httpmock.Responder{says(429, "", "Retry-After", "50")}, want: context.DeadlineExceeded},
		{name: "a wait that is too long", id: "user-1", responses: []httpmock.Responder{says(429, "", "Retry-After", "61")}, want: flashback.ErrRateLimited},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx := tt.ctx
			if ctx == nil {
				ctx = t.Context()
			}
			if tt.within != 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, tt.within) // from now on: other tests may come first
				defer cancel()
			}
			w := newWire(t, tt.responses...)
			got, err := w.client(tt.opts...).Organization.Users.Activate(ctx, tt.id)
			assert.Nil(t, got)
			e := asError(t, err)
			_, direct := err.(*flashback.Error) //nolint:errorlint // that it is one itself
			assert.True(t, direct)
			if tt.want != nil {
				require.ErrorIs(t, err, tt.want)
			}
			assert.Equal(t, "organization.users.activate", e.Op)
			assert.Equal(t, tt.id, e.ID)
			assert.Equal(t, len(tt.responses), e.Attempts)
			assert.NotEmpty(t, e.Error())
			assert.Equal(t, e.OutcomeUnknown, errors.Is(err, flashback.ErrOutcomeUnknown))
		})
	}
}

func TestAnErrorIsUsedLikeAPathError(t *testing.T) {
	t.Parallel()
	wrapped := fmt.Errorf("bring back %s: %w", "jane", failOnce(t, 404, noWay))
	require.ErrorIs(t, wrapped, flashback.ErrNotFound)
	require.NotErrorIs(t, wrapped, flashback.ErrForbidden)
	var e *flashback.Error
	require.ErrorAs(t, wrapped, &e)
	require.ErrorIs(t, e, flashback.ErrNotFound)
	assert.Equal(t, 404, e.StatusCode)
	require.ErrorIs(t, errors.Join(io.EOF, wrapped), flashback.ErrNotFound)

	unknown := fmt.Errorf("bring back %s: %w", "jane", failOnce(t, 503, ""))
	require.ErrorIs(t, unknown, flashback.ErrOutcomeUnknown)
	require.ErrorIs(t, unknown, flashback.ErrServer)
}

func TestAnErrorOfOnesOwnMakingWorks(t *testing.T) {
	t.Parallel()
	assert.NotEmpty(t, new(flashback.Error).Error())
	require.NoError(t, errors.Unwrap(new(flashback.Error)))
	assert.Empty(t, kinds(new(flashback.Error)))
	assert.Equal(t, []string{"ErrOutcomeUnknown"}, kinds(&flashback.Error{OutcomeUnknown: true}))
}

func TestTheSentinelsAreDistinct(t *testing.T) {
	t.Parallel()
	for name, sentinel := range sentinels {
		want := []string{name}
		for _, general := range []string{"ErrBadRequest", "ErrNotFound"} {
			if errors.Is(sentinel, sentinels[general]) && name != general {
				want = []string{general, name} // a documented message of that status
			}
		}
		assert.ElementsMatch(t, want, kinds(sentinel))
	}
}

func TestAListOfMessagesIsJoined(t *testing.T) {
	t.Parallel()
	e := failOnce(t, 400, `{"statusCode":400,"message":["email must be an email","firstName should not be empty"],"error":"Bad Request"}`)
	assert.Equal(t, []string{"ErrBadRequest"}, kinds(e))
	assert.Equal(t, "email must be an email; firstName should not be empty", e.Message)
	assert.Contains(t, e.Error(), "email must be an email; firstName should not be empty")
}

func TestTheErrorCodeIsRead(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, body, message, code string
		kind                      []string // of a 403
	}{
		{"alone, it makes an envelope", `{"error_code":"ROLE_TOO_LOW"}`, "", "ROLE_TOO_LOW", []string{"ErrForbidden"}},
		{"beside a message", `{"message":"No way","error_code":"ROLE_TOO_LOW"}`, "No way", "ROLE_TOO_LOW", []string{"ErrForbidden"}},
		{"beside an error", `{"error":"No way","error_code":"ROLE_TOO_LOW"}`, "No way", "ROLE_TOO_LOW", []string{"ErrForbidden"}},
		{"a number is none", `{"error_code":7}`, "", "", []string{"ErrUnexpectedResponse"}},
		{"its key is exact", `{"Error_Code":"ROLE_TOO_LOW"}`, "", "", []string{"ErrUnexpectedResponse"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := failOnce(t, 403, tt.body)
			assert.Equal(t, tt.kind, kinds(e))
			assert.Equal(t, tt.message, e.Message)
			assert.Equal(t, tt.code, e.Code)
			if tt.code != "" && tt.message == "" {
				assert.Contains(t, e.Error(), tt.code)
			}
		})
	}
	e := failOnce(t, 200, `{"error_code":"ROLE_TOO_LOW"}`)
	assert.Equal(t, []string{"ErrOutcomeUnknown", "ErrUnexpectedResponse"}, kinds(e), "it makes no envelope of a 2xx")
}

func TestOfDuplicatesOfSuccessFalseWins(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{"success":false,"success":true}`, `{"success":true,"success":false}`, `{"success":true,"message":"Done","success":false,"success":true}`,
		`{"\u0073uccess":false,"success":true}`, `{"success":"x","success":false}`,
	} {
		w := newWire(t, says(200, body))
		_, err := w.client().Organization.Users.ResendInvitation(t.Context(), "user-1")
		assert.Equal(t, []string{"ErrOutcomeUnknown", "ErrUnexpectedResponse"}, kinds(asError(t, err)), "neither a success nor a failure: %s", body)
	}
	for _, body := range []string{"\ufeff" + `{"success":false,"message":"Done"}`, `{"success":false,"success":false}`} {
		w := newWire(t, says(200, body))
		_, err := w.client().Organization.Users.Activate(t.Context(), "user-1")
		assert.Equal(t, []string{"ErrUnexpectedResponse"}, kinds(asError(t, err)), body)
	}
	for _, body := range []string{`{"success":true,"Success":false}`, `{"success":true,"SUCCESS":false,"\u017fuccess":false}`} {
		w := newWire(t, says(200, body))
		_, err := w.client().Organization.Users.Activate(t.Context(), "user-1")
		require.NoError(t, err, "keys are exact: %s", body)
	}
}

func TestAnUnexpectedResponseSaysWhatWasExpectedAndWhatCame(t *testing.T) {
	t.Parallel()
	get := func(c *flashback.Client) error {
		_, err := c.Organization.Users.Get(t.Context(), "user-1")
		return err
	}
	list := func(c *flashback.Client) error {
		_, err := c.Organization.Users.List(t.Context())
		return err
	}
	activate := func(c *flashback.Client) error {
		_, err := c.Organization.Users.Activate(t.Context(), "user-1")
		return err
	}
	for _, tt := range []struct {
		name     string
		call     func(*flashback.Client) error
		response httpmock.Responder
		want     []string
		not      string
	}{
		{"a page", activate, says(200, htmlPage, "Content-Type", "text/html"), []string{"expected an envelope", "text/html", "<!DOCTYPE html>"}, "</html>"},
		{"a proxy's page", activate, says(404, "404 page\n\n  not found", "Content-Type", "text/plain"), []string{"text/plain", "404 page not found"}, ""},
		{"nothing", activate, says(200, " \n"), []string{"expected an envelope", "an empty body"}, ""},
		{"a body without a type", activate, says(200, "[]"), []string{"a body without a Content-Type", "[]"}, ""},
		{"a refusal", activate, says(200, noWay), []string{`"success": false`, "No way"}, ""},
		{"a redirect", activate, says(307, "", "Location", "https://login.example/start?code=hush"), []string{"a redirect to https://login.example/start"}, "hush"},
		{"a user without an ID", get, says(200, `{"success":true,"data":{"email":"a@example.com"}}`), []string{"expected the user", "no user that has an ID"}, "a@example.com"},
		{"another user", get, says(200, `{"success":true,"data":{"id":"user-2"}}`), []string{"expected the user", `another user, "user-2"`}, ""},
		{"a user who is refused", get, says(200, noWay), []string{"expected the user", `"success": false`, "No way"}, "ID"},
		{"no user", get, says(200, `{"success":true}`), []string{"expected the user", "no user"}, ""},
		{"a page instead of a list", list, says(200, htmlPage, "Content-Type", "text/html"), []string{"expected a list of users", "text/html"}, ""},
		{"a list without data", list, says(200, `{"success":true,"total":1}`), []string{"expected a list of users", "data"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := tt.call(newWire(t, tt.response).client(flashback.WithMaxRetries(0)))
			require.ErrorIs(t, err, flashback.ErrUnexpectedResponse)
			for _, part := range tt.want {
				assert.Contains(t, err.Error(), part)
			}
			if tt.not != "" {
				assert.NotContains(t, err.Error(), tt.not)
			}
		})
	}
}

func TestAnErrorTellsMethodAndURLWithoutSecrets(t *testing.T) {
	t.Parallel()
	w := newWire(t, says(404, noWay))
	_, err := w.client(flashback.WithBaseURL("https://h.example/api/")).Organization.Users.Delete(t.Context(), "")
	e := asError(t, err)
	assert.Empty(t, e.URL, "nothing was sent")
	_, err = w.client(flashback.WithBaseURL("https://h.example/api/")).Organization.Users.Get(t.Context(), "a/b?c=d")
	e = asError(t, err)
	assert.Equal(t, "GET", e.Method)
	assert.Equal(t, "https://h.example/api/organization/users/a%2Fb%3Fc=d", e.URL)
	assert.Contains(t, e.Error(), "GET https://h.example/api/organization/users/a%2Fb%3Fc=d")
}

// ofAnotherCall are errors as another call has returned them.
func ofAnotherCall(t *testing.T) map[string]error {
	t.Helper()
	_, invalid := newWire(t).client().Organization.Users.Activate(t.Context(), "")
	return map[string]error{
		"not deleted":     failOnce(t, 400, notDeleted),
		"outcome unknown": failOnce(t, 503, ""),
		"unauthorized":    failOnce(t, 401, ""),
		"rate limited":    failOnce(t, 429, ""),
		"invalid":         invalid,
		"wrapped":         fmt.Errorf("user-9: %w", failOnce(t, 404, noWay)),
		"joined":          errors.Join(io.EOF, failOnce(t, 409, noWay)),
		"a sentinel":      flashback.ErrSelfDeletion,
		"its own context": fmt.Errorf("%w and %w", context.DeadlineExceeded, context.Canceled),
	}
}

// other makes an error recognizable, as the caller's own.
type other struct{ err error }

func (o *other) Error() string { return "other: " + o.err.Error() }
func (o *other) Unwrap() error { return o.err }

// checkOnlyItself checks that err matches the caller's own error, of the wanted kinds
// and of no other, and that no *Error but its own is found in it.
func checkOnlyItself(t *testing.T, err error, mine *other, want ...string) *flashback.Error {
	t.Helper()
	e := asError(t, err)
	assert.ElementsMatch(t, want, kinds(err))
	require.ErrorIs(t, err, mine)
	var found *other
	require.ErrorAs(t, err, &found)
	var inner *flashback.Error
	require.NotErrorAs(t, e.Err, &inner, "another call's error is in it")
	if errors.As(mine, &inner) {
		assert.NotErrorIs(t, e.Err, inner, "it is another call's error")
	}
	assert.Contains(t, err.Error(), "other: ")
	return e
}

func TestTheErrorOfAnotherCallAsTheCauseOfAContextIsNotThisOnes(t *testing.T) {
	t.Parallel()
	for name, foreign := range ofAnotherCall(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mine := &other{foreign}
			ctx, cancel := context.WithCancelCause(t.Context())
			cancel(mine)
			_, err := newWire(t).client().Organization.Users.Activate(ctx, "user-1")
			e := checkOnlyItself(t, err, mine)
			require.ErrorIs(t, err, context.Canceled)
			require.NotErrorIs(t, err, context.DeadlineExceeded)
			assert.Zero(t, e.Attempts)

			ctx, cancel = context.WithCancelCause(t.Context())
			w := newWire(t, func(req *http.Request) (*http.Response, error) {
				cancel(mine)
				return nil, context.Cause(req.Context()) // as net/http does
			})
			_, err = w.client().Organization.Users.Activate(ctx, "user-1")
			_ = checkOnlyItself(t, err, mine, "ErrOutcomeUnknown")
			require.ErrorIs(t, err, context.Canceled)
			assert.Equal(t, 1, strings.Count(err.Error(), "other: "), "a cause is printed once: %v", err)
		})
	}
}

func TestTheErrorOfAnotherCallFromATransportIsNotThisOnes(t *testing.T) {
	t.Parallel()
	for name, foreign := range ofAnotherCall(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mine := &other{foreign}
			w := newWire(t, fails(mine))
			_, err := w.client(flashback.WithMaxRetries(0)).Organization.Users.Activate(t.Context(), "user-1")
			_ = checkOnlyItself(t, err, mine, "ErrOutcomeUnknown")
			require.NotErrorIs(t, err, context.Canceled)
			require.NotErrorIs(t, err, context.DeadlineExceeded)
		})
	}
}

func TestTheErrorOfAnotherCallFromATokenSourceIsNotThisOnes(t *testing.T) {
	t.Parallel()
	for name, foreign := range ofAnotherCall(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mine := &other{foreign}
			client := newWire(t).clientWithToken("", flashback.WithTokenSource(func(context.Context) (string, error) { return "", mine }))
			_, err := client.Organization.Users.Activate(t.Context(), "user-1")
			e := checkOnlyItself(t, err, mine)
			require.NotErrorIs(t, err, context.Canceled)
			require.NotErrorIs(t, err, context.DeadlineExceeded)
			assert.Zero(t, e.Attempts)
			assert.Contains(t, err.Error(), "token source")
		})
	}
}

func TestOneFailureOfAGroupIsNotThatOfTheOthers(t *testing.T) {
	t.Parallel()
	// As errgroup does: the first failure ends the context of all, and is its cause.
	ctx, cancel := context.WithCancelCause(t.Context())
	_, first := newWire(t, says(400, notDeleted)).client().Organization.Users.Activate(ctx, "user-1")
	require.ErrorIs(t, first, flashback.ErrUserNotDeleted)
	cancel(first)
	_, second := newWire(t).client().Organization.Users.Activate(ctx, "user-2")
	e := asError(t, second)
	assert.Empty(t, kinds(second))
	require.ErrorIs(t, second, context.Canceled)
	assert.Equal(t, "user-2", e.ID)
	assert.Zero(t, e.Attempts)
	assert.Contains(t, second.Error(), "User is not deleted", "the cause is shown")
}

func TestADialThatTimesOutAsTheCallerCancelsIsNoDeadline(t *testing.T) {
	t.Parallel()
	for name, dial := range map[string]error{
		"a dial":              &net.OpError{Op: "dial", Net: "tcp", Err: context.DeadlineExceeded},
		"a dial, by its name": &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded},
		"a time limit":        context.DeadlineExceeded,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			w := newWire(t, func(*http.Request) (*http.Response, error) {
				cancel()
				return nil, dial
			})
			_, err := w.client().Organization.Users.Activate(ctx, "user-1")
			require.ErrorIs(t, err, context.Canceled)
			require.NotErrorIs(t, err, context.DeadlineExceeded)
		})
	}
}

// odd is an error that can't be compared.
type odd []string

func (o odd) Error() string { return strings.Join(o, " ") }

func TestErrorsThatCanNotBeComparedDoNoHarm(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(odd{"it", "ended"})
	_, err := newWire(t).client().Organization.Users.Activate(ended, "user-1")
	require.ErrorIs(t, err, context.Canceled)

	_, err = newWire(t, fails(odd{"it", "broke"})).client(flashback.WithMaxRetries(0)).Organization.Users.Activate(t.Context(), "user-1")
	assert.Equal(t, []string{"ErrOutcomeUnknown"}, kinds(err))
	require.NotErrorIs(t, err, odd{"it", "broke"}, "what can't be compared is not found")
	var found odd
	require.ErrorAs(t, err, &found)

	client := newWire(t).clientWithToken("", flashback.WithTokenSource(func(context.Context) (string, error) { return "", odd{"no", "token"} }))
	_, err = client.Organization.Users.Activate(t.Context(), "user-1")
	require.ErrorAs(t, err, &found)
}

func TestZeroValuesReturnErrors(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	made := newWire(t).client()
	for name, users := range map[string]*flashback.UsersService{
		"new": new(flashback.UsersService), "nil": nil, "of a new service": new(flashback.OrganizationService).Users,
	} {
		for method, call := range map[string]func() (any, error){
			"List": func() (any, error) { return users.List(ctx) },
			"Get":  func() (any, error) { return users.Get(ctx, "user-1") },
			"Create": func() (any, error) {
				return users.Create(ctx, flashback.NewUser{Email: "e", Password: flashback.NewSecret("p")})
			},
			"Update": func() (any, error) {
				return users.Update(ctx, "user-1", flashback.UserUpdate{Name: new("n")})
			},
			"Delete":           func() (any, error) { return users.Delete(ctx, "user-1") },
			"Activate":         func() (any, error) { return users.Activate(ctx, "user-1") },
			"ResendInvitation": func() (any, error) { return users.ResendInvitation(ctx, "user-1") },
		} {
			got, err := call()
			require.ErrorIs(t, err, flashback.ErrInvalidArgument, "%s.%s", name, method)
			assert.Nil(t, got, "%s.%s", name, method)
			assert.Zero(t, asError(t, err).Attempts)
		}
	}
	var none *flashback.OrganizationService
	for _, organization := range []*flashback.OrganizationService{none, new(flashback.OrganizationService), {Users: made.Organization.Users}} {
		_, err := organization.Get(ctx, "org-1")
		require.ErrorIs(t, err, flashback.ErrInvalidArgument)
		_, err = organization.Update(ctx, "org-1", flashback.OrganizationUpdate{Name: new("n")})
		require.ErrorIs(t, err, flashback.ErrInvalidArgument)
	}
	var client *flashback.Client
	for _, c := range []*flashback.Client{client, {}, {Organization: made.Organization}} {
		_, err := c.With()
		require.ErrorIs(t, err, flashback.ErrInvalidArgument)
		assert.NotPanics(t, c.CloseIdleConnections)
	}
	_, err := flashback.NewClient(wireToken, nil)
	require.ErrorIs(t, err, flashback.ErrInvalidArgument)
	_, err = made.With(nil)
	require.ErrorIs(t, err, flashback.ErrInvalidArgument)

	for name, zero := range map[string]any{
		"Error": new(flashback.Error), "Secret": flashback.Secret{}, "Client": flashback.Client{}, "User": flashback.User{},
		"Role": flashback.Role(0), "NewUser": flashback.NewUser{}, "UserList": flashback.UserList{},
	} {
		assert.NotPanics(t, func() { leaks(zero) }, name)
	}
	assert.Empty(t, flashback.Secret{}.Reveal())
	assert.Equal(t, flashback.Secret{}, flashback.NewSecret(""))
}

func TestOddErrorsOfTheCallersCodeDoNotPanic(t *testing.T) {
	t.Parallel()
	var none *flashback.Error
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(none)
	_, err := newWire(t).client().Organization.Users.Activate(ctx, "user-1")
	require.ErrorIs(t, err, context.Canceled)
	assert.NotEmpty(t, err.Error())
	var typed *net.OpError
	_, err = newWire(t, fails(typed)).client(flashback.WithMaxRetries(0)).Organization.Users.Activate(t.Context(), "user-1")
	assert.True(t, asError(t, err).OutcomeUnknown)
	assert.NotEmpty(t, err.Error())
	_, err = flashback.NewClient(wireToken, flashback.WithLogger(new(slog.Logger)))
	require.ErrorIs(t, err, flashback.ErrInvalidArgument)
	_, ok := flashback.AttemptFrom(nil) //nolint:staticcheck // It is what is tested.
	assert.False(t, ok)
	assert.False(t, (*flashback.User)(nil).Deleted())
}

func TestANilErrorDoesNotPanic(t *testing.T) {
	t.Parallel()
	var e *flashback.Error
	assert.NotErrorIs(t, e, flashback.ErrOutcomeUnknown) //nolint:testifylint // It must not panic.
	require.NoError(t, e.Unwrap())
	assert.NotPanics(t, func() { e.LogValue() })
	_, err := e.MarshalJSON()
	require.NoError(t, err)
	assert.Empty(t, (*flashback.UserList)(nil).Deleted())
	assert.Empty(t, flashback.RefusedToken(nil)) //nolint:staticcheck // It must not panic.
}

func TestWhatGotAResponseWasSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, err := newWire(t, says(429, ""), fails(flashback.ErrNotSent)).client(flashback.WithMaxRetries(1)).Organization.Users.Activate(t.Context(), "user-1")
		require.NotErrorIs(t, err, flashback.ErrNotSent)
		require.ErrorIs(t, err, flashback.ErrRateLimited)
		_, err = newWire(t, lost, fails(flashback.ErrNotSent)).client(flashback.WithMaxRetries(1)).Organization.Users.List(t.Context())
		require.NotErrorIs(t, err, flashback.ErrNotSent)
	})
}

func TestATransportThatHasNotSentMatchesErrNotSent(t *testing.T) {
	t.Parallel()
	open := fmt.Errorf("circuit open: %w", flashback.ErrNotSent)
	_, err := newWire(t, fails(open)).client(flashback.WithMaxRetries(0)).Organization.Users.Activate(t.Context(), "user-1")
	require.ErrorIs(t, err, flashback.ErrNotSent)
	_, err = newWire(t, fails(errors.New("lost")), fails(open)).client(flashback.WithMaxRetries(1)).Organization.Users.Activate(t.Context(), "user-1")
	require.NotErrorIs(t, err, flashback.ErrNotSent, "the first attempt may have been")
}

func TestSuccessFalseWinsOverAnyOtherSuccess(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{"success":null,"success":false,"message":"No way"}`, `{"success":false,"success":1,"message":"No way"}`,
	} {
		_, err := newWire(t, says(200, body)).client().Organization.Users.Activate(t.Context(), "user-1")
		assert.False(t, asError(t, err).OutcomeUnknown, body)
	}
	for status, body := range map[int]string{200: `{"success":false,"results":[{"id":"user-1","ok":true}]}`, 207: `{"success":false,"message":"No way"}`} {
		_, err := newWire(t, says(status, body)).client().Organization.Users.ResendInvitation(t.Context(), "user-1")
		assert.True(t, asError(t, err).OutcomeUnknown, "a part may have been applied: %s", body)
	}
	got, err := newWire(t, says(207, `{"success":false}`), says(200, `{"id":"user-1","deletedAt":null}`)).client().Organization.Users.Activate(t.Context(), "user-1")
	require.NoError(t, err)
	assert.True(t, got.Recovered, "a read-back settles it")
}

func TestTextOfABodyOrARedirectIsRedacted(t *testing.T) {
	t.Parallel()
	for name, respond := range map[string]httpmock.Responder{
		"an ID":                 says(200, `{"id":"`+wireToken+`"}`),
		"a redirect's fragment": says(302, "", "Location", "https://u:hidden-1@login.example/a?b=hidden-1#access_token=hidden-1"),
	} {
		_, err := newWire(t, respond).client().Organization.Users.Get(t.Context(), "user-1")
		assert.NotContains(t, asError(t, err).Error(), wireToken, name)
		assert.NotContains(t, err.Error(), "hidden-1", name)
	}
	err := newWire(t, says(404, `{"message":"Cannot GET /x?code=hidden-value-1"}`)).client().
		Do(t.Context(), flashback.Request{Method: "GET", Path: "/x", Query: url.Values{"code": {"hidden-value-1"}}}, nil)
	assert.NotContains(t, err.Error(), "hidden-value-1")
}

// An errgroup ends the context of all calls with the error of one.
func TestACauseThatSaysThatNothingWasSentIsAboutAnotherCall(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	w := newWire(t, func(req *http.Request) (*http.Response, error) {
		cancel(fmt.Errorf("the breaker is open: %w", flashback.ErrNotSent)) // this one has been applied
		return nil, context.Cause(req.Context())
	})
	_, err := w.client().Organization.Users.Activate(ctx, "user-1")
	require.ErrorIs(t, err, flashback.ErrOutcomeUnknown)
	require.NotErrorIs(t, err, flashback.ErrNotSent)
}

func TestACauseHasNoSessionOfAnotherLogin(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(&flashback.Error{Err: &flashback.MFARequiredError{}})
	_, err := newWire(t).client().Organization.Users.Activate(ctx, "user-1")
	var mfa *flashback.MFARequiredError
	require.ErrorIs(t, err, context.Canceled)
	assert.NotErrorAs(t, err, &mfa)
}

func TestTheTextOfAnUnknownOutcomeSaysSoFirst(t *testing.T) {
	t.Parallel()
	err := &flashback.Error{Op: "organization.users.activate", ID: "user-1", OutcomeUnknown: true, Err: flashback.ErrServer}
	assert.EqualError(t, err, `flashback: organization.users.activate "user-1": outcome unknown (it may have been applied): server error`)
}

func TestNoKindOfACallersOwnErrorIsThatOfTheCall(t *testing.T) {
	t.Parallel()
	for _, kind := range []error{
		flashback.ErrBadRequest, flashback.ErrUserNotDeleted, flashback.ErrSelfDeletion, flashback.ErrRoleCombination, flashback.ErrNoFields,
		flashback.ErrUnauthorized, flashback.ErrSessionLost, flashback.ErrNoTokens, flashback.ErrForbidden, flashback.ErrNotFound,
		flashback.ErrConflict, flashback.ErrRateLimited, flashback.ErrServer, flashback.ErrUnexpectedResponse, flashback.ErrIncompleteList,
		flashback.ErrOutcomeUnknown, flashback.ErrInvalidArgument, flashback.ErrNotSent,
	} {
		c, err := flashback.NewClient("", flashback.WithTokenSource(func(context.Context) (string, error) {
			return "", fmt.Errorf("another call: %w", kind)
		}))
		require.NoError(t, err)
		_, err = c.Organization.Users.Get(t.Context(), "user-1")
		require.ErrorContains(t, err, "another call")
		assert.NotErrorIs(t, err, kind)
	}
}

package call

import (
	"errors"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

func TestWhatABodySays(t *testing.T) {
	t.Parallel()
	const (
		none, envelope, falseSuccess = verdict.NoEnvelope, verdict.Envelope, verdict.EnvelopeSuccessFalse

		part = true // may have been applied
	)
	for _, tt := range []struct {
		name    string
		status  int
		body    string
		want    verdict.Body
		part    bool
		message string
	}{
		{"a success", 200, `{"success":true}`, envelope, false, ""},
		{"a message", 200, `{"message":"m"}`, envelope, false, "m"},
		{"a list of messages", 200, `{"message":["a","b"]}`, envelope, false, "a; b"},
		{"an empty list is no message", 200, `{"message":[]}`, none, false, ""},
		{"a list with something else is no message", 200, `{"message":["a",1]}`, none, false, ""},
		{"an error is none in a success", 200, `{"error":"e"}`, none, false, ""},
		{"an error is the message of a refusal", 400, `{"error":"e"}`, envelope, false, "e"},
		{"a message is more than an error", 400, `{"error":"e","message":"m"}`, envelope, false, "m"},
		{"an error_code is an envelope of a refusal", 400, `{"error_code":"c"}`, envelope, false, ""},
		{"nothing known is none", 400, `{"a":"b"}`, none, false, ""},
		{"a refusal", 400, `{"success":false}`, falseSuccess, false, ""},
		{"false in a success", 200, `{"success":false,"message":"m"}`, falseSuccess, false, "m"},
		{"another type in a success", 200, `{"success":"yes","message":"m"}`, none, false, "m"},
		{"another type in a refusal", 400, `{"success":"no","message":"m"}`, envelope, false, "m"},
		{"another type, then false", 200, `{"success":"yes","success":false}`, envelope, part, ""},
		{"true, then false", 200, `{"success":true,"success":false}`, envelope, part, ""},
		{"false, then true", 200, `{"success":false,"success":true}`, envelope, part, ""},
		{"false, then true, in a refusal", 400, `{"success":false,"success":true}`, falseSuccess, false, ""},
		{"false, with results", 200, `{"success":false,"results":[1]}`, envelope, part, ""},
		{"false, with results, in a refusal", 400, `{"success":false,"results":[1]}`, falseSuccess, false, ""},
		{"false, without results", 200, `{"success":false,"results":[]}`, falseSuccess, false, ""},
		{"false, with results of null", 200, `{"success":false,"results":null}`, falseSuccess, false, ""},
		{"false of a 207", 207, `{"success":false}`, envelope, part, ""},
		{"a number of successes", 200, `{"success":3,"message":"m"}`, envelope, false, "m"},
		{"no successes", 200, `{"success":0,"message":"m"}`, none, false, "m"},
		{"null", 200, `{"success":null,"message":"m"}`, envelope, false, "m"},
		{"another key", 200, `{"Success":true}`, none, false, ""},
		{"a byte order mark", 200, "\xef\xbb\xbf" + `{"success":true}`, envelope, false, ""},
		{"no JSON", 200, "fine", none, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := Response{Status: tt.status, Body: []byte(tt.body)}
			got := r.classify(&Op{Method: http.MethodPost}, &Input{})
			assert.Equal(t, verdict.Response{Status: tt.status, Body: tt.want, Incomplete: tt.part}, got)
			assert.Equal(t, tt.want != none, r.Envelope, "Envelope")
			assert.Equal(t, tt.message, r.Message)
		})
	}
}

func TestWhatIsReadMakesASuccess(t *testing.T) {
	t.Parallel()
	const thing, said, text, page = `{"id":1}`, `{"id":1,"message":"m"}`, "fine", "<!doctype html><p>fine"
	lacks := errors.New("no id")
	required, notRequired := Op{Required: true}, Op{}
	empty := Op{Required: true, AllowEmpty: true}
	anyBody, noPage := Op{Required: true, Body: AnyBody}, Op{Required: true, Body: NoPage}
	for _, tt := range []struct {
		name   string
		op     Op
		status int
		body   string
		err    error // of Read
		want   verdict.Response
		read   bool // Read is called
	}{
		{"what is there", required, 200, thing, nil, verdict.Response{Body: verdict.Envelope}, true},
		{"what is missing", required, 200, thing, lacks, verdict.Response{Incomplete: true}, true},
		{"what is missing in an envelope", required, 200, said, lacks, verdict.Response{Body: verdict.Envelope, Incomplete: true}, true},
		{"what may be missing", notRequired, 200, said, lacks, verdict.Response{Body: verdict.Envelope}, true},
		{"what does not fit", notRequired, 200, thing, MismatchError{"another"}, verdict.Response{Body: verdict.Envelope, Incomplete: true}, true},
		{"what can't be written", notRequired, 200, thing, WriteError{lacks}, verdict.Response{Body: verdict.Envelope, Incomplete: true}, true},
		{"what may be old", notRequired, 200, thing, errStale, verdict.Response{Body: verdict.Envelope, Stale: true}, true},
		{"what says false is not read", notRequired, 200, `{"success":false}`, nil, verdict.Response{Body: verdict.EnvelopeSuccessFalse}, false},
		{"what says neither is not read", notRequired, 200, `{"success":"yes"}`, nil, verdict.Response{}, false},
		{"what will be done later is not read", notRequired, 202, thing, nil, verdict.Response{}, false},
		{"a redirect is not read", notRequired, 300, thing, nil, verdict.Response{}, false},
		{"a refusal is not read", notRequired, 400, thing, nil, verdict.Response{}, false},
		{"a 204", required, 204, "", nil, verdict.Response{Incomplete: true}, false},
		{"a 204 that may be empty", empty, 204, "", nil, verdict.Response{}, false},
		{"an empty 200", empty, 200, "", nil, verdict.Response{Incomplete: true}, false},
		{"any body", anyBody, 200, page, nil, verdict.Response{Body: verdict.Envelope}, true},
		{"any body that can't be written", anyBody, 200, page, WriteError{lacks}, verdict.Response{Body: verdict.Envelope, Incomplete: true}, true},
		{"any body of a refusal is not read", anyBody, 400, page, nil, verdict.Response{Incomplete: true}, false},
		{"a text that is no page", noPage, 200, text, nil, verdict.Response{Body: verdict.Envelope}, true},
		{"a page", noPage, 200, page, nil, verdict.Response{Incomplete: true}, false},
		{"a HEAD", Op{Method: http.MethodHead, Required: true}, 404, "", nil, verdict.Response{Body: verdict.Envelope}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			called := false
			r := Response{Status: tt.status, Body: []byte(tt.body)}
			got := r.classify(&tt.op, &Input{Read: func(*Response) error {
				called = true
				return tt.err
			}})
			tt.want.Status = tt.status
			assert.Equal(t, tt.want, got)
			assert.Equal(t, tt.read, called, "Read was called")
		})
	}
}

func TestAPageIsKnownByItsType(t *testing.T) {
	t.Parallel()
	for contentType, want := range map[string]bool{
		"": false, "text/plain": false, "application/json": false, "TEXT/HTML; charset=utf-8": true, "application/xhtml+xml": true,
	} {
		r := Response{Header: http.Header{"Content-Type": {contentType}}, Body: []byte("fine")}
		assert.Equal(t, want, r.isPage(), contentType)
	}
}

func TestABodyThatIsTakenAsItIsKeepsItsByteOrderMark(t *testing.T) {
	t.Parallel()
	const marked = "\xef\xbb\xbf{}"
	for body, want := range map[Body]string{JSON: "{}", NoPage: "{}", AnyBody: marked} {
		r := Response{Status: 200, Body: []byte(marked)}
		r.classify(&Op{Body: body}, &Input{Read: func(*Response) error { return nil }})
		assert.Equal(t, want, string(r.Body))
	}
}

func TestADocumentedMessageIsRecognized(t *testing.T) {
	t.Parallel()
	op := Op{Documented: []Message{{Text: "It is so", AlreadySo: true}, {Text: "You may not"}}}
	for _, tt := range []struct {
		message               string
		documented, alreadySo bool
	}{
		{"It is so", true, true},
		{" it IS so. ", true, true},
		{"You may not.", true, false},
		{"It is so now", false, false},
		{"", false, false},
	} {
		r := Response{Status: 400, Body: []byte(`{"success":false,"message":"` + tt.message + `"}`)}
		got := r.classify(&op, &Input{})
		assert.Equal(t, tt.documented, got.Documented, tt.message)
		assert.Equal(t, tt.alreadySo, got.AlreadySo, tt.message)
	}
}

func TestARequestIsNamedByTheFirstHeaderThatDoes(t *testing.T) {
	t.Parallel()
	h := http.Header{}
	assert.Empty(t, RequestID(h))
	h.Set("Cf-Ray", "ray")
	assert.Equal(t, "ray", RequestID(h))
	h.Set("X-Request-Id", "request")
	assert.Equal(t, "request", RequestID(h))
}

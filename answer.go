package flashback

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
)

const (
	maxBody      = 1 << 20  // bytes of most answers that are read, after decompression
	maxListBody  = 64 << 20 // and of a list's
	maxErrorBody = 64 << 10 // bytes of it that an Error keeps
)

var errTooLarge = errors.New("the answer's body is larger than the client reads")

// answer is what the server sent: its status, its header, and its body as far as
// it came.
type answer struct {
	status int
	header http.Header
	body   []byte
	cut    bool // the body is not whole

	// The envelope, if the body is one.
	envelope bool
	success  bool   // true unless the envelope says otherwise
	message  string // the server's own words
	data     any    // what the operation found in it
}

// readAnswer reads and closes the body of resp. Its error says that the answer is
// not whole; the answer then has what came of it.
func readAnswer(resp *http.Response, op *operation) (*answer, error) {
	a := &answer{status: resp.StatusCode, header: resp.Header}
	// The body of a 101 is the bare connection, which never ends.
	if resp.Body == nil || a.status < 200 {
		closeBody(resp)
		return a, nil
	}
	defer closeBody(resp)
	limit := op.maxBody
	if limit == 0 {
		limit = maxBody
	}
	var err error
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err == nil && int64(len(a.body)) > limit {
		a.body = a.body[:limit]
		err = errTooLarge
	}
	if err != nil {
		a.cut = true
		return a, err
	}
	a.parse(op)
	return a, nil
}

func closeBody(resp *http.Response) {
	if resp != nil && resp.Body != nil {
		_ = resp.Body.Close() // all that mattered has been read
	}
}

// parse finds the envelope: a JSON object with a boolean "success", a string
// "message", or both; in a 4xx or 5xx a string "error" will do, and in a 2xx what
// the operation reads.
func (a *answer) parse(op *operation) {
	var fields struct {
		Success json.RawMessage `json:"success"`
		Message any             `json:"message"`
		Error   any             `json:"error"`
	}
	if lenient(json.Unmarshal(a.body, &fields)) != nil {
		return
	}
	success := string(fields.Success)
	isBool := success == "true" || success == "false"
	message, isText := fields.Message.(string)
	if !isText && a.status >= 400 {
		message, isText = fields.Error.(string)
	}
	a.success = success != "false"
	a.message = message
	if op.data != nil && a.status < 300 && a.success {
		a.data = op.data(a)
	}
	a.envelope = isBool || isText || a.data != nil
	if a.status < 300 && !isBool && success != "" && success != "null" {
		a.envelope = false // neither true nor false: it must not pass for a success
	}
}

// dataOf reads the "data" of an answer as a T, or is nil if it is none.
func dataOf[T any](a *answer) any {
	var fields struct {
		Data *T `json:"data"`
	}
	if lenient(json.Unmarshal(a.body, &fields)) != nil || fields.Data == nil {
		return nil
	}
	return fields.Data
}

// dataIn is what the operation found in the answer of a call: nil if the call
// failed, and empty if the answer did not have it.
func dataIn[T any](o outcome) *T {
	if o.answer == nil {
		return nil
	}
	if data, ok := o.answer.data.(*T); ok {
		return data
	}
	return new(T)
}

// saysNotNeeded compares the message with the documented one, without case,
// surrounding space and a final full stop.
func (a *answer) saysNotNeeded(op *operation) bool {
	got := strings.TrimSpace(a.message)
	return a.status == http.StatusBadRequest && op.notNeeded != "" &&
		strings.EqualFold(strings.TrimSpace(strings.TrimSuffix(got, ".")), op.notNeeded)
}

package flashback

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
)

const (
	maxBody      = 1 << 20  // bytes of an answer that are read, after decompression
	maxErrorBody = 64 << 10 // bytes of it that an Error keeps
)

var errTooLarge = errors.New("the answer's body is larger than 1 MiB")

// answer is what the server sent: its status, its header, and its body as far as
// it came.
type answer struct {
	status int
	header http.Header
	body   []byte

	// The envelope, if the body is one.
	envelope bool
	success  bool   // true unless the envelope says otherwise
	message  string // the server's own words
}

// readAnswer reads and closes the body of resp. Its error says that the answer is
// not whole; the answer then has what came of it.
func readAnswer(resp *http.Response) (*answer, error) {
	a := &answer{status: resp.StatusCode, header: resp.Header}
	// The body of a 101 is the bare connection, which never ends.
	if resp.Body == nil || a.status < 200 {
		closeBody(resp)
		return a, nil
	}
	defer closeBody(resp)
	var err error
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return a, err
	}
	if len(a.body) > maxBody {
		a.body = a.body[:maxBody]
		return a, errTooLarge
	}
	a.parse()
	return a, nil
}

func closeBody(resp *http.Response) {
	if resp != nil && resp.Body != nil {
		_ = resp.Body.Close() // all that mattered has been read
	}
}

// parse finds the envelope: a JSON object with a boolean "success", a string
// "message", or both; in a 4xx or 5xx a string "error" will do.
func (a *answer) parse() {
	var fields struct {
		Success any `json:"success"`
		Message any `json:"message"`
		Error   any `json:"error"`
	}
	if json.Unmarshal(a.body, &fields) != nil {
		return
	}
	success, isBool := fields.Success.(bool)
	message, isText := fields.Message.(string)
	if !isText && a.status >= 400 {
		message, isText = fields.Error.(string)
	}
	a.envelope = isBool || isText
	if a.status < 300 && !isBool && fields.Success != nil {
		a.envelope = false // neither true nor false: it must not pass for a success
	}
	a.success = success || !isBool
	a.message = message
}

// says compares the message with the documented one, without case, surrounding
// space and a final full stop.
func (a *answer) says(documented string) bool {
	got := strings.TrimSpace(a.message)
	return strings.EqualFold(strings.TrimSpace(strings.TrimSuffix(got, ".")), documented)
}

package flashback

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode"
)

// operation is one endpoint of the API, and what is known about repeating it.
type operation struct {
	name   string // in errors and logs
	method string
	path   string // {id} stands for the ID
	taken  string // an ID with which the path would be another endpoint's
	repeat repeating

	// notNeeded is the documented message of a 400 that says that the user is as
	// asked for.
	notNeeded string
	// look reads what may tell whether an attempt has taken effect; did says what the
	// data tell of the ID.
	look *operation
	did  func(data any, id string) (did, told bool)

	data    func(*answer) any // what the answer carries, or nil if it does not
	maxBody int64             // bytes of an answer that are read; 0 for 1 MiB
}

// repeating is what a second request does after one that may have taken effect.
type repeating int

const (
	sets  repeating = iota // no more than the first did
	reads                  // nothing, as the first
	once                   // maybe more than was asked for
)

// input is what the caller gives to a call.
type input struct {
	id     string
	body   any    // nil for none
	secret string // in the body
}

// newRequest builds the request of a call, all but its header, which is made anew
// for each attempt.
func (c *call) newRequest(ctx context.Context) error {
	u := c.client.baseURL
	path := c.op.path
	if before, after, hasID := strings.Cut(path, "{id}"); hasID {
		if err := c.op.checkID(c.id); err != nil {
			return err
		}
		if escaped := url.PathEscape(c.id); escaped != c.id || u.RawPath != "" {
			u.RawPath = u.EscapedPath() + before + escaped + after
		}
		path = before + c.id + after
	} else if u.RawPath != "" {
		u.RawPath += path
	}
	u.Path += path
	c.request.Request = (&http.Request{
		Method:     c.op.method,
		URL:        &u,
		Host:       u.Host,
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
	}).WithContext(ctx)
	if c.body == nil {
		return nil
	}
	body, err := json.Marshal(c.body)
	if err != nil {
		return err
	}
	// Which would be a silent change of a password.
	if bytes.Contains(bytes.ReplaceAll(body, []byte(`\\`), nil), []byte(`\ufffd`)) {
		return errors.New("a text is not valid UTF-8; convert it")
	}
	return c.request.SetBody(body) // with GetBody: net/http needs it where a connection turns out to be closed
}

// checkID refuses what can't be one segment of a path: servers and proxies drop
// or resolve such segments even when they are escaped, so that another endpoint
// would be called.
func (op *operation) checkID(id string) error {
	switch {
	case id == "":
		return errors.New("the ID is empty")
	case id == "." || id == "..":
		return errors.New("the ID is a path segment with a meaning of its own; give the real one")
	case id == op.taken:
		return fmt.Errorf("the ID %q is the name of another endpoint; give the real one", id)
	case strings.ContainsFunc(id, unicode.IsControl):
		return errors.New("the ID has control characters in it (a file's newline?); use strings.TrimSpace")
	}
	return nil
}

// setHeader completes a header that is one attempt's alone: the token may differ
// from attempt to attempt, and net/http may still be reading that of an attempt
// that was given up.
func (c *Client) setHeader(req *http.Request, token string) {
	h := req.Header
	values := [...]string{"application/json", "Bearer " + token, c.userAgent} // one allocation for all
	h["Accept"] = values[0:1:1]
	h["Authorization"] = values[1:2:2]
	h["User-Agent"] = values[2:3:3]
	if req.ContentLength > 0 {
		h["Content-Type"] = values[0:1:1]
	}
}

package flashback

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"unicode"
)

// operation is one endpoint: its name in errors and logs, its method, and its
// path around the ID.
type operation struct {
	name          string
	method        string
	before, after string
}

// newRequest builds the request of a call, all but its header, which is made anew
// for each attempt.
func (c *Client) newRequest(ctx context.Context, op *operation, id string) (*http.Request, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	u := c.baseURL
	if escaped := url.PathEscape(id); escaped != id || u.RawPath != "" {
		u.RawPath = u.EscapedPath() + op.before + escaped + op.after
	}
	u.Path += op.before + id + op.after
	return (&http.Request{
		Method:     op.method,
		URL:        &u,
		Host:       u.Host,
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
	}).WithContext(ctx), nil
}

// checkID refuses what can't be one segment of a path: servers and proxies drop
// or resolve such segments even when they are escaped, so that another endpoint
// would be called.
func checkID(id string) error {
	switch {
	case id == "":
		return errors.New("the ID is empty")
	case id == "." || id == "..":
		return errors.New("the ID is a path segment with a meaning of its own; give a user's ID")
	case strings.ContainsFunc(id, unicode.IsControl):
		return errors.New("the ID has control characters in it (a file's newline?); use strings.TrimSpace")
	}
	return nil
}

// setHeader completes a header that is one attempt's alone: the token may differ
// from attempt to attempt, and net/http may still be reading that of an attempt
// that was given up.
func (c *Client) setHeader(h http.Header, token string) {
	values := [...]string{"application/json", "Bearer " + token, c.userAgent} // one allocation for all
	h["Accept"] = values[0:1:1]
	h["Authorization"] = values[1:2:2]
	h["User-Agent"] = values[2:3:3]
}

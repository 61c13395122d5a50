package call

import (
	"context"
	"net/http"
	"net/url"
	"strings"
)

// newRequest builds the request of a call, all but its header, which is made anew
// for each attempt.
func (c *call) newRequest(ctx context.Context) error {
	u := &c.url
	*u = c.client.BaseURL
	escaped := strings.Replace(c.op.Path, "{id}", url.PathEscape(c.in.ID), 1)
	plain, err := url.PathUnescape(escaped)
	if err != nil {
		return err
	}
	if plain != escaped || u.RawPath != "" {
		u.RawPath = u.EscapedPath() + escaped
	}
	u.Path += plain
	u.RawQuery = c.op.Query
	if u.RawQuery != "" {
		c.secrets.AddPassword("?" + u.RawQuery) // as a transport's error has it
		for _, values := range u.Query() {
			for _, value := range values {
				c.secrets.AddToken(value) // it may be secret, if it is as long as one
			}
		}
	}
	c.request.Request = (&http.Request{
		Method:     c.op.Method,
		URL:        u,
		Host:       u.Host,
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Close:      c.op.Grants, // a connection's buffers keep what it has read
	}).WithContext(ctx)
	if c.in.Body == nil {
		return nil
	}
	return c.request.SetBody(c.in.Body) // with GetBody: net/http needs it where a connection turns out to be closed
}

// setHeader completes a header that is one attempt's alone: the token may differ
// from attempt to attempt, and net/http may still be reading that of an attempt
// that was given up.
func (c *call) setHeader(req *http.Request) {
	h := req.Header
	values := [...]string{"application/json", c.client.bearer(c.token), c.client.UserAgent, "no-cache"} // one allocation for all
	h["Accept"] = values[0:1:1]
	if c.op.Auth != Anonymous {
		h["Authorization"] = values[1:2:2]
	}
	h["User-Agent"] = values[2:3:3]
	if c.readBack {
		h["Cache-Control"] = values[3:4:4]
	}
	if req.ContentLength > 0 {
		h["Content-Type"] = values[0:1:1]
	}
}

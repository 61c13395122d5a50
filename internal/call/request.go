package call

import (
	"net/http"
	"net/url"
)

// buildRequest builds the request of a call. Its header is made anew for each attempt.
func (c *call) buildRequest() error {
	u, err := c.url()
	if err != nil {
		return err
	}
	c.request.Request = (&http.Request{
		Method:     c.op.Method,
		URL:        u,
		Host:       u.Host,
		Header:     http.Header{},
		Close:      c.op.Grants, // because the buffers of a connection keep what they have read
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
	}).WithContext(c.ctx)
	if c.in.Body == nil {
		return nil
	}
	// SetBody sets GetBody too, which net/http needs to use another connection in place of one
	// that turns out to be closed.
	return c.request.SetBody(c.in.Body)
}

func (c *call) url() (*url.URL, error) {
	path, err := url.PathUnescape(c.in.Path)
	if err != nil {
		return nil, err
	}
	u := c.client.BaseURL
	if path != c.in.Path || u.RawPath != "" {
		u.RawPath = u.EscapedPath() + c.in.Path
	}
	u.Path += path
	u.RawQuery = c.op.Query
	if u.RawQuery != "" {
		c.hidden().AddQuery("?" + u.RawQuery) // as it stands in the error of a transport
		for _, values := range u.Query() {
			for _, value := range values {
				if len(value) >= 8 { // A shorter one may be an ordinary word.
					c.hidden().AddQuery(value)
				}
			}
		}
	}
	return &u, nil
}

// setHeader completes the header of one attempt, in which http.Client has put cookies.
func (c *call) setHeader(req *http.Request) {
	h := req.Header
	h["Accept"] = []string{"application/json"}
	if c.op.Body == AnyBody {
		h["Accept"] = []string{"*/*"}
	}
	h["User-Agent"] = []string{c.client.UserAgent}
	if c.op.Auth != Anonymous {
		h["Authorization"] = []string{"Bearer " + c.token}
	}
	if c.parent != nil {
		h["Cache-Control"] = []string{"no-cache"}
	}
	if req.ContentLength > 0 {
		h["Content-Type"] = []string{"application/json"}
	}
}

// withoutQueryValues returns a URL without the values of its query, which may be secret.
func withoutQueryValues(u *url.URL) string {
	shown := *u
	if query := shown.Query(); len(query) > 0 {
		for key := range query {
			query[key] = []string{""}
		}
		shown.RawQuery = query.Encode()
	}
	return shown.String()
}

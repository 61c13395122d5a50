package flashbacktest

import (
	"bytes"
	"fmt"
	"net/http"
)

// reply is the response of a handler, which is kept until a fault has had its say. As under
// net/http, the header is that of the first write, and an informational status comes
// before the response.
type reply struct {
	header  http.Header // the handler's, which it may go on changing
	written *response   // nil before the first write
	early   []response  // informational: status and header alone
}

// response is a response as it is sent.
type response struct {
	status int
	header http.Header
	body   bytes.Buffer
}

// Header returns the header that the handler sets.
func (p *reply) Header() http.Header { return p.header }

// WriteHeader takes the first status that is not informational, and each informational one
// before it.
func (p *reply) WriteHeader(status int) {
	switch {
	case status < 100 || status > 999:
		panic(fmt.Sprintf("flashbacktest: invalid status %d of a handler", status))
	case p.written != nil: // under net/http this is logged
	case status < 200 && status != http.StatusSwitchingProtocols:
		p.early = append(p.early, response{status: status, header: p.header.Clone()})
	default:
		p.written = &response{status: status, header: p.header.Clone()}
	}
}

// Write writes to the body, after a status of 200 if there was none.
func (p *reply) Write(data []byte) (int, error) {
	p.Flush()
	if s := p.written.status; s < 200 || s == http.StatusNoContent || s == http.StatusNotModified {
		return 0, http.ErrBodyNotAllowed
	}
	return p.written.body.Write(data)
}

// Flush ends the header. The response is sent when the handler has returned.
func (p *reply) Flush() {
	if p.written == nil {
		p.WriteHeader(http.StatusOK)
	}
}

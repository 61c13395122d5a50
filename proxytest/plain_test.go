package proxytest_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"testing"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/stretchr/testify/assert"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

//nolint:paralleltest // One case at a time: see try.
func TestPlain(t *testing.T) {
	try(t, "plain: no fault", func(s *scenario) {
		s.patient()
		s.url = "http://" + s.serve(false, plainServer).addr
	}, func(is *assert.Assertions, sum tally) {
		is.LessOrEqual(sum.connections, 2*workers)
		is.Equal(calls, sum.attempts)
	})
	try(t, "plain: idle connections closed", func(s *scenario) {
		s.pause = 2 * time.Millisecond
		s.url = "http://" + s.serve(false, clossyIdle).addr
	}, recovers)
	try(t, "plain: responses lost", lossy, recovers)
	tryAll(t, "control: retryablehttp defaults, responses lost", func(s *scenario) {
		lossy(s)
		s.ask = s.byDefaults()
	}, func(is *assert.Assertions, sum tally) {
		is.Positive(sum.wrong, "the check finds nothing")
	})
}

func lossy(s *scenario) {
	s.lose(10, flashbacktest.CutResponse, flashbacktest.CutBody, flashbacktest.ResetConnection)
	s.url = "http://" + s.serve(false, plainServer).addr
}

// clossyIdle closes a connection at some time after it has become idle, be there
// a request on it by then or not.
func clossyIdle() *http.Server {
	server := plainServer()
	server.ConnState = func(conn net.Conn, state http.ConnState) {
		if state == http.StateIdle && rand.IntN(4) == 0 {
			time.AfterFunc(rand.N(2*time.Millisecond), func() { _ = conn.Close() })
		}
	}
	return server
}

// byDefaults calls as a client on retryablehttp's defaults does, and tells its
// findings in the library's terms.
func (s *scenario) byDefaults() func(context.Context, int) told {
	client := retryablehttp.NewClient()
	client.Logger = nil
	client.RetryWaitMin, client.RetryWaitMax = 5*time.Millisecond, 40*time.Millisecond
	return func(ctx context.Context, i int) told {
		var attempts int
		failed := func(err error) told { return told{err: &flashback.Error{Attempts: attempts, Err: err}} }
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GetConn: func(string) { attempts++ }})
		var body any // nil for none
		if s.op.body != nil {
			text, err := json.Marshal(s.op.body(i))
			if err != nil {
				return failed(err)
			}
			body = text
		}
		req, err := retryablehttp.NewRequestWithContext(ctx, s.op.method, s.url+s.op.path(i), body)
		if err != nil {
			return failed(err)
		}
		req.Header.Set("Authorization", "Bearer "+s.tokens[org(i)])
		resp, err := client.Do(req)
		if err != nil {
			return failed(err)
		}
		defer resp.Body.Close()
		if _, err := io.ReadAll(resp.Body); err != nil {
			return failed(err)
		}
		if resp.StatusCode >= http.StatusMultipleChoices {
			return failed(errors.New(resp.Status))
		}
		return told{attempts: attempts}
	}
}

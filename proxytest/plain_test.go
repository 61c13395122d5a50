package proxytest_test

import (
	"context"
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
		s.url = "http://" + s.serve(false, closingIdle).addr
	}, recovers)
	try(t, "plain: answers lost", lossy, recovers)
	try(t, "control: retryablehttp defaults, answers lost", func(s *scenario) {
		lossy(s)
		s.call = s.byDefaults()
	}, func(is *assert.Assertions, sum tally) {
		is.Positive(sum.wrong, "the check finds nothing")
	})
}

func lossy(s *scenario) {
	s.lose(10, flashbacktest.CutResponse, flashbacktest.CutBody, flashbacktest.ResetConnection)
	s.url = "http://" + s.serve(false, plainServer).addr
}

// closingIdle closes a connection at some time after it has become idle, be there
// a request on it by then or not.
func closingIdle() *http.Server {
	server := plainServer()
	server.ConnState = func(conn net.Conn, state http.ConnState) {
		if state == http.StateIdle && rand.IntN(4) == 0 {
			time.AfterFunc(rand.N(2*time.Millisecond), func() { _ = conn.Close() })
		}
	}
	return server
}

// byDefaults activates users as a client on retryablehttp's defaults does, and
// tells its findings in the library's terms.
func (s *scenario) byDefaults() func(context.Context, string) (*flashback.Activation, error) {
	client := retryablehttp.NewClient()
	client.Logger = nil
	client.RetryWaitMin, client.RetryWaitMax = 5*time.Millisecond, 40*time.Millisecond
	return func(ctx context.Context, id string) (*flashback.Activation, error) {
		var attempts int
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GetConn: func(string) { attempts++ }})
		req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPost, s.url+"/organization/users/"+id+"/activate", nil)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+s.backend.Token())
		resp, err := client.Do(req)
		if err != nil {
			return nil, &flashback.Error{Attempts: attempts, Err: err}
		}
		defer resp.Body.Close()
		if _, err := io.ReadAll(resp.Body); err != nil {
			return nil, &flashback.Error{Attempts: attempts, Err: err}
		}
		if resp.StatusCode != http.StatusOK {
			return nil, &flashback.Error{Attempts: attempts, Err: errors.New(resp.Status)}
		}
		return &flashback.Activation{Attempts: attempts}, nil
	}
}

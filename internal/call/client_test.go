package call_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/flashbacknetwork/flashback-go/internal/attempt"
	"github.com/flashbacknetwork/flashback-go/internal/call"
	"github.com/flashbacknetwork/flashback-go/internal/retry"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

var (
	change = call.Op{Name: "change", Method: http.MethodPost, Rule: verdict.Rule{Retry: verdict.Idempotent}}
	remove = call.Op{Name: "remove", Method: http.MethodDelete, Rule: verdict.Rule{Retry: verdict.Idempotent}}
)

// exchange is what comes of an attempt.
type exchange func(*http.Request) (*http.Response, error)

// says is a response with a header of names and values.
func says(status int, header ...string) exchange {
	return func(*http.Request) (*http.Response, error) {
		h := http.Header{}
		for i := 0; i < len(header); i += 2 {
			if header[i+1] != "" {
				h.Set(header[i], header[i+1])
			}
		}
		return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(`{"message":"it is so"}`))}, nil
	}
}

var errReset = errors.New("connection reset")

func lost(*http.Request) (*http.Response, error) { return nil, errReset }

func hang(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

// server plays exchanges in turn; the last one goes on for ever. It keeps when each
// request came, and its token.
type server struct {
	exchanges []exchange

	mu     sync.Mutex
	begun  time.Time
	at     []time.Duration
	tokens []string
}

func (s *server) RoundTrip(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.at = append(s.at, time.Since(s.begun))
	s.tokens = append(s.tokens, strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer "))
	next := s.exchanges[min(len(s.at), len(s.exchanges))-1]
	s.mu.Unlock()
	return next(req)
}

// newClient is a client with a steady backoff of half a second to a second.
func newClient(exchanges ...exchange) (*call.Client, *server) {
	s := &server{exchanges: exchanges, begun: time.Now()}
	c := &call.Client{
		BaseURL: url.URL{Scheme: "https", Host: "h.example"},
		Sender:  attempt.Sender{Transport: s, Timeout: 30 * time.Second},
		Token:   func(context.Context) (string, error) { return "token-1", nil },
		Retry:   retry.Policy{MaxRetries: 4, Base: time.Second, Limit: time.Second, MaxRetryAfter: time.Minute},
		Gates:   new(call.Gates),
		Clock:   new(call.Clock),
	}
	return c, s
}

func do(ctx context.Context, c *call.Client, op *call.Op) *call.Outcome {
	return c.Do(ctx, op, call.Input{ID: "1", Path: "/things/1"})
}

// why are the kinds of an outcome's reasons.
func why(o *call.Outcome) []call.Why {
	all := []call.Why{}
	for _, r := range o.Reasons {
		all = append(all, r.Why)
	}
	return all
}

// logged is a handler that hands each record to a function.
type logged func(slog.Record)

func (logged) Enabled(context.Context, slog.Level) bool { return true }

func (l logged) WithAttrs([]slog.Attr) slog.Handler { return l }

func (l logged) WithGroup(string) slog.Handler { return l }

func (l logged) Handle(_ context.Context, r slog.Record) error {
	l(r)
	return nil
}

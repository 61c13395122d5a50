package flashback

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/flashbacknetwork/flashback-go/internal/attempt"
	"github.com/flashbacknetwork/flashback-go/internal/budget"
	"github.com/flashbacknetwork/flashback-go/internal/call"
)

// Option configures a [Client]. The order of options does not matter.
type Option func(*settings) error

// WithBaseURL sets the address of the backend, with a path prefix if it has one. http:// is
// for loopback hosts, unless [WithPlaintextHTTP] is set.
func WithBaseURL(rawURL string) Option {
	return func(s *settings) error {
		// Trimmed before it is parsed: an escaped slash at its end is part of a name.
		u, err := url.Parse(strings.TrimRight(rawURL, "/"))
		switch {
		case err != nil:
			// url.Parse quotes its input, which may hold a password.
			return fmt.Errorf("the base URL can't be parsed; give one like %s", DefaultBaseURL)
		case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
			return fmt.Errorf("the base URL needs http:// or https:// and a host, like %s", DefaultBaseURL)
		case u.User != nil:
			return errors.New("the base URL has user info; the access token is all that is sent, so leave it out")
		case strings.Contains(u.RawPath, "%") && u.RawPath != u.EscapedPath():
			return errors.New("the base URL has characters in its path that are escaped and others that are not but must be; escape all")
		case u.RawQuery != "" || u.ForceQuery || strings.Contains(rawURL, "#"):
			return errors.New("the base URL has a query or a fragment; leave it out")
		}
		if port := u.Port(); port != "" {
			if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
				return errors.New("the base URL has a port that does not exist; use 1 to 65535")
			}
		}
		if strings.EqualFold(u.Hostname(), "localhost") {
			u.Host = strings.ToLower(u.Host) // as net/http exempts it from a proxy
		}
		if s.caller.BaseURL != *u {
			s.caller.Clock = new(call.Clock) // that of another backend
		}
		s.caller.BaseURL = *u
		return nil
	}
}

// loopback tells whether a host name certainly means this machine, to net/http's
// choice of a proxy too.
func loopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// WithHTTPClient sends requests with the Transport, Jar and Timeout of hc, which is not
// changed. A nil Transport is the client's own; to wrap that, use [NewTransport]. A Timeout
// shorter than [WithAttemptTimeout] takes its place. Redirects are not followed.
//
// A Transport of your own should report to net/http/httptrace, and must not repeat requests
// without that.
func WithHTTPClient(hc *http.Client) Option {
	return func(s *settings) error {
		if hc == nil {
			return errors.New("WithHTTPClient got nil; leave the option out to use the client's own transport")
		}
		if hc.Timeout < 0 {
			return errors.New("WithHTTPClient got a client with a negative Timeout; use 0 for none")
		}
		transport := hc.Transport
		if t, ok := transport.(*http.Transport); ok && t == nil {
			transport = nil
		}
		if transport != nil || !s.caller.Sender.Own {
			s.caller.Sender = attempt.Sender{Transport: transport}
		}
		s.caller.Jar, s.limit = hc.Jar, hc.Timeout
		return nil
	}
}

// WithTokenSource asks source for the access token before each attempt, with the call's
// context. source must be safe for concurrent use, and may cache. Its error ends the call.
// After a 401 it is asked again, with the token in [RefusedToken]; with another one, the
// call is retried once, if it has a retry left.
func WithTokenSource(source func(ctx context.Context) (string, error)) Option {
	return func(s *settings) error {
		if source == nil {
			return errors.New("WithTokenSource got nil; give a function, or pass an access token to NewClient")
		}
		s.caller.Renews, s.caller.Secrets, s.session = true, nil, nil
		s.caller.Token = func(ctx context.Context) (string, error) {
			token, err := source(ctx)
			if err != nil {
				return "", fmt.Errorf("token source: %w", attempt.Real(err))
			}
			if err := checkToken(token); err != nil {
				return "", fmt.Errorf("token source: its token %w", err)
			}
			return token, nil
		}
		return nil
	}
}

// WithMaxRetries sets how many retries a call has. The default is 4; 0 is none.
func WithMaxRetries(n int) Option {
	return func(s *settings) error {
		if n < 0 {
			return errors.New("WithMaxRetries got a negative number; use 0 to switch retrying off")
		}
		s.caller.Retry.Max = n
		return nil
	}
}

// WithBackoff sets the waits between attempts: at most base, doubling up to limit, each
// shortened at random by up to a half. The default is 250 ms and 8 s. A Retry-After takes
// their place.
func WithBackoff(base, limit time.Duration) Option {
	return func(s *settings) error {
		if base < 0 || limit < base {
			return fmt.Errorf("WithBackoff got %v and %v; it needs 0 <= base <= max", base, limit)
		}
		s.caller.Retry.Base, s.caller.Retry.Limit = base, limit
		return nil
	}
}

// WithMaxRetryAfter sets the longest Retry-After that a call waits for. The default is
// 60 s; 0 waits for none. After a longer one the call fails at once.
func WithMaxRetryAfter(d time.Duration) Option {
	return func(s *settings) error {
		if d < 0 {
			return fmt.Errorf("WithMaxRetryAfter got %v; use 0 to wait for no Retry-After", d)
		}
		s.caller.Retry.MaxRetryAfter = d
		return nil
	}
}

// WithAttemptTimeout bounds each attempt, from dialing to the last byte. The default is
// 30 s; 0 is no bound.
func WithAttemptTimeout(d time.Duration) Option {
	return func(s *settings) error {
		if d < 0 {
			return fmt.Errorf("WithAttemptTimeout got %v; use 0 for no bound", d)
		}
		s.timeout = d
		return nil
	}
}

// WithRetryBudget sets how many retries all calls share. The default is 100; 0 is no
// retries, negative is no budget. A retry takes one. A definite response gives back what the
// call took, or a tenth if that is nothing, and one comes back each second.
func WithRetryBudget(n int) Option {
	return func(s *settings) error {
		s.caller.Budget = nil
		if n >= 0 {
			s.caller.Budget = budget.New(n)
		}
		return nil
	}
}

// WithoutThrottling lets each call obey the Retry-After of its own responses only. By default
// a 429 makes all calls of the operation wait.
func WithoutThrottling() Option {
	return func(s *settings) error {
		s.caller.Throttles = nil
		return nil
	}
}

// WithLogger logs these records and no others, without secrets. docs/operating.md lists
// their keys.
//
//   - "flashback: retrying", at Info: before the wait.
//   - "flashback: recovered", at Info: a success with Recovered set.
//   - "flashback: outcome unknown", at Warn: a failure with OutcomeUnknown set.
//   - "flashback: renewal failed", at Warn: of a [Session], which tries again.
//   - "flashback: throttled", at Debug: after a wait.
//   - "flashback: attempt", at Debug: after each.
//   - "flashback: call", at Debug: after each, and each read-back.
func WithLogger(l *slog.Logger) Option {
	return func(s *settings) error {
		if l != nil && l.Handler() == nil {
			return errors.New("WithLogger got a logger without a handler; use slog.New")
		}
		s.caller.Log = l
		return nil
	}
}

// WithUserAgent puts product, such as "acme-admin/1.4", first in the User-Agent.
func WithUserAgent(product string) Option {
	return func(s *settings) error {
		if strings.TrimSpace(product) == "" || strings.ContainsFunc(product, unicode.IsControl) {
			return errors.New(`WithUserAgent needs a product on one line, like "acme-admin/1.4"`)
		}
		s.caller.UserAgent = product + " flashback-go/" + Version
		return nil
	}
}

// WithPlaintextHTTP allows http:// to hosts that are not loopback, and so the network to
// read the token.
func WithPlaintextHTTP() Option {
	return func(s *settings) error {
		s.plaintext = true
		return nil
	}
}

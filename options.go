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
)

// Option configures a [Client]. The order of options does not matter.
type Option func(*settings) error

// WithBaseURL sets the address of the backend, with a path prefix if it has one. With http://
// the host must be loopback, unless [WithPlaintextHTTP] is set. The default is
// [DefaultBaseURL].
func WithBaseURL(rawURL string) Option {
	return func(s *settings) error {
		// The slashes are trimmed before parsing, because an escaped slash at the end is part of
		// a name.
		u, err := url.Parse(strings.TrimRight(rawURL, "/"))
		switch {
		case err != nil:
			// The error of url.Parse is left out, because it quotes the URL, which may have a
			// password in it.
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
			u.Host = strings.ToLower(u.Host) // net/http exempts it from a proxy in lower case only.
		}
		s.caller.BaseURL = *u
		return nil
	}
}

// loopback tells whether a host name certainly means this machine, so that net/http does
// not send the request to a proxy either.
func loopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// WithHTTPClient sends requests with the Transport, Jar and Timeout of hc, which is not
// changed. If its Transport is nil, the client uses its own; to wrap that, use
// [NewTransport]. The shorter one of its Timeout and [WithAttemptTimeout] bounds an attempt.
// Redirects are not followed, whatever its CheckRedirect says.
//
// A Transport should report to the [net/http/httptrace.ClientTrace] in the request's context.
// [http.Transport] does, and so does a wrapper that passes the context on, such as that of
// OpenTelemetry. Of a Transport that does not, fewer failures are known to have sent nothing,
// so that more attempts are ambiguous; and it must not send a request twice by itself, since
// that would go unnoticed.
//
// After an attempt that timed out, the next one gets a new connection if the Transport is an
// [http.Transport]. A wrapper may send it on the same one again: over HTTP/2, the attempts of
// a call may all wait on a connection that has gone dead, unless its pings notice that
// within the time of an attempt ([http.HTTP2Config]).
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
		if transport != nil || !s.caller.Sender.Trusted {
			s.caller.Sender = attempt.Sender{Transport: transport}
		}
		s.caller.Jar, s.httpLimit = hc.Jar, hc.Timeout
		return nil
	}
}

// WithTokenSource makes the client ask source for the access token before each attempt, with
// the context of the call. source must be safe for concurrent use. It may return the same
// token again and again. If it fails, the call fails with its error.
//
// After a 401 the client asks source for another token: [RefusedToken] returns the refused one
// from the context. If source returns another token, the call is retried once with it, as long
// as it has a retry left. If source returns the same token, the call fails with the 401.
func WithTokenSource(source func(ctx context.Context) (string, error)) Option {
	return func(s *settings) error {
		if source == nil {
			return errors.New("WithTokenSource got nil; give a function, or pass an access token to NewClient")
		}
		s.caller.Renews, s.caller.Secrets, s.session = true, nil, nil
		s.caller.Token = func(ctx context.Context) (string, error) {
			token, err := source(ctx)
			if err != nil {
				return "", fmt.Errorf("token source: %w", attempt.NonNil(err))
			}
			if err := checkToken(token); err != nil {
				return "", fmt.Errorf("token source: its token %w", err)
			}
			return token, nil
		}
		return nil
	}
}

// WithMaxRetries sets how many retries a call has after its first attempt. The default is 4;
// 0 stands for none.
func WithMaxRetries(n int) Option {
	return func(s *settings) error {
		if n < 0 {
			return errors.New("WithMaxRetries got a negative number; use 0 to switch retrying off")
		}
		s.caller.Retry.MaxRetries = n
		return nil
	}
}

// WithBackoff sets the wait before a retry: base before the first one, twice as long before
// each one after that, up to limit. Each wait is shortened at random by up to a half. If the
// response has a Retry-After, that is waited for instead. The default is 250 ms and 8 s.
func WithBackoff(base, limit time.Duration) Option {
	return func(s *settings) error {
		if base < 0 || limit < base {
			return fmt.Errorf("WithBackoff got %v and %v; it needs 0 <= base <= limit", base, limit)
		}
		s.caller.Retry.Base, s.caller.Retry.Limit = base, limit
		return nil
	}
}

// WithMaxRetryAfter sets the longest Retry-After that a call waits for. A call whose response
// asks for a longer wait fails at once. The default is 60 s; with 0, calls wait for none.
func WithMaxRetryAfter(d time.Duration) Option {
	return func(s *settings) error {
		if d < 0 {
			return fmt.Errorf("WithMaxRetryAfter got %v; use 0 to wait for no Retry-After", d)
		}
		s.caller.Retry.MaxRetryAfter = d
		return nil
	}
}

// WithAttemptTimeout bounds each attempt, from dialing to the last byte of the response. The
// default is 30 s; 0 stands for no bound.
func WithAttemptTimeout(d time.Duration) Option {
	return func(s *settings) error {
		if d < 0 {
			return fmt.Errorf("WithAttemptTimeout got %v; use 0 for no bound", d)
		}
		s.timeout = d
		return nil
	}
}

// WithOutageWait sets how long calls wait, unsent, while each request of their operation fails.
// In an outage that has lasted longer, calls fail at once, but for the one whose request finds
// out whether the outage is over. The default is 30 s; with 0, calls do not wait.
func WithOutageWait(d time.Duration) Option {
	return func(s *settings) error {
		if d < 0 {
			return fmt.Errorf("WithOutageWait got %v; use 0 to wait for no outage", d)
		}
		s.caller.OutageWait = d
		return nil
	}
}

// WithoutThrottling leaves out the gates: each call obeys the Retry-After of its own responses,
// and no other. By default, all calls of an operation wait while the server limits the rate
// of the operation, or in an outage.
func WithoutThrottling() Option {
	return func(s *settings) error {
		s.ungated = true
		return nil
	}
}

// WithLogger makes the client log these records and no others. They have no secrets in
// them. docs/operating.md lists their keys.
//
//   - "flashback: retrying", at Info: before the wait for a retry.
//   - "flashback: recovered", at Info: after a success with Recovered set.
//   - "flashback: outcome unknown", at Warn: after a failure with OutcomeUnknown set.
//   - "flashback: throttled", at Debug: after a wait because of a rate limit.
//   - "flashback: attempt", at Debug: after each attempt.
//   - "flashback: call", at Debug: after each call and each read-back.
//   - "flashback: renewal failed", at Warn: of a [Session], which tries again.
func WithLogger(l *slog.Logger) Option {
	return func(s *settings) error {
		if l != nil && l.Handler() == nil {
			return errors.New("WithLogger got a logger without a handler; use slog.New")
		}
		s.caller.Log = l
		return nil
	}
}

// WithUserAgent puts product, such as "acme-admin/1.4", in front of the client's own product in
// the User-Agent.
func WithUserAgent(product string) Option {
	return func(s *settings) error {
		if strings.TrimSpace(product) == "" || strings.ContainsFunc(product, unicode.IsControl) {
			return errors.New(`WithUserAgent needs a product on one line, like "acme-admin/1.4"`)
		}
		s.caller.UserAgent = product + " flashback-go/" + Version
		return nil
	}
}

// WithPlaintextHTTP allows a base URL with http:// for a host that is not loopback. Everyone
// on the network can then read the access token.
func WithPlaintextHTTP() Option {
	return func(s *settings) error {
		s.plaintext = true
		return nil
	}
}

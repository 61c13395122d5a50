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
)

// Option sets something of a [Client]. [NewClient] applies options in any order
// and fails with a clear message when one has a bad value.
type Option func(*Client) error

// WithBaseURL sets the address of the backend in place of [DefaultBaseURL]. A
// path prefix and a trailing slash work. The URL must be absolute, http or https,
// and without user info, query or fragment; http:// is for loopback hosts, unless
// [WithPlaintextHTTP] allows more.
func WithBaseURL(rawURL string) Option {
	return func(c *Client) error {
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
		c.baseURL = *u
		return nil
	}
}

// loopback tells whether a host name certainly means this machine, to net/http's
// choice of a proxy too.
func loopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// WithHTTPClient sends requests with the Transport, the Jar and the Timeout of
// hc, which is copied and never changed; a nil Transport means the client's own. A
// Timeout that is shorter than the attempt's ([WithAttemptTimeout]) takes its place:
// it bounds one attempt, not the call. CheckRedirect is not used, because a redirect
// is never followed.
//
// Outcomes are sharpest with an *http.Transport, whose rules are known. Of another
// Transport, what it reports to net/http/httptrace tells a request that was never
// sent from one whose answer was lost, and one that it sent again by itself. One that
// reports nothing must not repeat requests by itself: the repetition could not be seen.
// Nor may it make other requests with the context of this one.
//
// A request that was sent again counts as one that may have taken effect; one that must
// not be repeated (Create, Delete, ResendInvitation) is kept from being sent again, once
// the Transport tells of it. Over HTTP/2, net/http sends again what it knows that the
// server has not processed (a shutdown, too many streams), and also what the server
// may have: the outcome of a call that then fails is unknown in both cases.
func WithHTTPClient(hc *http.Client) Option {
	return func(c *Client) error {
		if hc == nil {
			return errors.New("WithHTTPClient got nil; leave the option out to use the client's own transport")
		}
		if hc.Timeout < 0 {
			return errors.New("WithHTTPClient got a client with a negative Timeout; use 0 for none")
		}
		c.transport, c.jar, c.clientTimeout = hc.Transport, hc.Jar, hc.Timeout
		return nil
	}
}

// WithTokenSource asks source for the access token before every attempt, in
// place of a fixed one, so that a token can be renewed while the client is in
// use. Answer from memory where you can: source is called often, from many
// goroutines at once, with the context of the call. Its error ends the call. When
// the backend answers 401 and source has another token by then, the call, if it
// has a retry left, is tried once more with it, at once.
func WithTokenSource(source func(ctx context.Context) (string, error)) Option {
	return func(c *Client) error {
		if source == nil {
			return errors.New("WithTokenSource got nil; give a function, or pass an access token to NewClient")
		}
		c.tokenRotates = true
		c.token = func(ctx context.Context) (string, error) {
			token, err := source(ctx)
			if err != nil {
				return "", fmt.Errorf("token source: %w", err)
			}
			if err := checkToken(token); err != nil {
				return "", fmt.Errorf("token source: its token %w", err)
			}
			return token, nil
		}
		return nil
	}
}

// WithMaxRetries sets how often one call is repeated at most, after its first
// attempt. The default is 4; 0 switches retrying off. (A delete that may have taken
// effect then still looks once whether it did.)
func WithMaxRetries(n int) Option {
	return func(c *Client) error {
		if n < 0 {
			return errors.New("WithMaxRetries got a negative number; use 0 to switch retrying off")
		}
		c.maxRetries = n
		return nil
	}
}

// WithBackoff sets the waits between attempts: the first is up to base, each
// further one up to twice the one before, and none longer than limit; each is
// shortened at random by up to a half. The default is 250 ms and 8 s. A
// Retry-After of the server takes the wait's place (see [WithMaxRetryAfter]).
func WithBackoff(base, limit time.Duration) Option {
	return func(c *Client) error {
		if base < 0 || limit < base {
			return fmt.Errorf("WithBackoff got %v and %v; it needs 0 <= base <= max", base, limit)
		}
		c.backoffBase, c.backoffMax = base, limit
		return nil
	}
}

// WithMaxRetryAfter sets the longest Retry-After that a call waits for; the
// default is 60 s. When the server asks for more, the call returns at once, with
// [Error].RetryAfter set. 0 waits for none.
func WithMaxRetryAfter(d time.Duration) Option {
	return func(c *Client) error {
		if d < 0 {
			return fmt.Errorf("WithMaxRetryAfter got %v; use 0 to wait for no Retry-After", d)
		}
		c.maxRetryAfter = d
		return nil
	}
}

// WithAttemptTimeout bounds one attempt, from dialing to the last byte of the
// answer. The default is 30 s; 0 means no bound but the context's. The context
// bounds the whole call, with its waits.
func WithAttemptTimeout(d time.Duration) Option {
	return func(c *Client) error {
		if d < 0 {
			return fmt.Errorf("WithAttemptTimeout got %v; use 0 for no bound", d)
		}
		c.attemptTimeout = d
		return nil
	}
}

// WithRetryBudget sets how many retries all calls of the client together may be
// ahead of their successes; the default is 100. A retry takes one; a retried call
// that succeeds gives back what it took, and a call that succeeds at once gives
// back a tenth. While the budget is empty, each call has its first attempt only,
// and a failure that would have been retried matches [ErrRetryBudget]: a server
// that is down gets about one request per call. 0 allows no retry; a negative n
// switches the budget off.
func WithRetryBudget(n int) Option {
	return func(c *Client) error {
		c.budget = newBudget(n)
		return nil
	}
}

// WithoutPacing switches off that the client, once the server has answered 429,
// spaces its requests to the rate that the server takes. Each call then still obeys
// the Retry-After of its own answers.
func WithoutPacing() Option {
	return func(c *Client) error {
		c.pacer = nil
		return nil
	}
}

// WithLogger logs these records, and no others. Their messages and keys stay as they
// are. All have "op", "id" and "attempts" (so far).
//
//   - "flashback: retrying", at Info: before each wait for another attempt, with
//     "status" or, if no answer came, "error", and "wait".
//   - "flashback: recovered", at Info: a success with Recovered set, with "message".
//   - "flashback: outcome unknown", at Warn: with "error".
//   - "flashback: held back", at Debug: after each wait for a turn, after a 429, with
//     "wait".
//
// Tokens and passwords are in none of them. By default, and with nil, nothing is
// logged.
func WithLogger(l *slog.Logger) Option {
	return func(c *Client) error {
		c.log = l
		return nil
	}
}

// WithUserAgent puts product, such as "acme-admin/1.4", in front of
// "flashback-go/<Version>" in the User-Agent header.
func WithUserAgent(product string) Option {
	return func(c *Client) error {
		if strings.TrimSpace(product) == "" || strings.ContainsFunc(product, unicode.IsControl) {
			return errors.New(`WithUserAgent needs a product on one line, like "acme-admin/1.4"`)
		}
		c.userAgent = product + " flashback-go/" + Version
		return nil
	}
}

// WithPlaintextHTTP allows a base URL with http:// to a host that is not
// loopback. The token then crosses the network in the clear.
func WithPlaintextHTTP() Option {
	return func(c *Client) error {
		c.plaintext = true
		return nil
	}
}

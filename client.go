package flashback

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/hashicorp/go-retryablehttp"
)

const (
	// DefaultBaseURL is the documented address of the Flashback backend.
	// [WithBaseURL] sets another.
	DefaultBaseURL = "https://backend.flashback.tech"

	// Version is the version of this package, which every request carries in its
	// User-Agent header.
	Version = "0.1.0"
)

// Client calls the Flashback API with one access token. It is safe for
// concurrent use; make one and keep it, because its connections and its retry
// budget are shared by its calls. Its own transport opens at most 80 connections
// to a host; over HTTP/1.1, further calls wait for one of them, within their
// attempt's timeout. Idle ones close after 60 s. [WithHTTPClient] brings another transport.
//
// A Client never prints its token, whatever the fmt verb or the encoder.
type Client struct {
	// Organization holds the calls on the organization of the token's user.
	Organization *OrganizationService

	baseURL        url.URL
	transport      http.RoundTripper
	standard       bool // transport is net/http's, which repeats by known rules
	ownTransport   bool // and made here, so that it traces every request
	jar            http.CookieJar
	clientTimeout  time.Duration // of the http.Client that the caller gave
	attemptTimeout time.Duration
	timeLimit      func(context.CancelCauseFunc) (end func()) // nil without ownTransport; a closure, as token
	token          func(context.Context) (string, error)      // a closure, so that no printer reaches the token
	tokenRotates   bool
	userAgent      string
	plaintext      bool
	maxRetries     int
	backoffBase    time.Duration
	backoffMax     time.Duration
	maxRetryAfter  time.Duration
	retrier        *retryablehttp.Client
	budget         *budget // a pointer: who prints the client does not read what calls write
	pacer          *pacer  // nil if switched off
	log            *slog.Logger
}

// FlashbackClient is another name for [Client]: the one that the TypeScript
// library gives it.
//
//nolint:revive // The stutter is the point: it is the TypeScript library's name.
type FlashbackClient = Client

// NewClient returns a client that authenticates with accessToken. It sends
// nothing.
//
// The token is the bare access token. One that is empty, has white space or
// control characters in it (a file's last newline, say), or starts with
// "Bearer " is an error, and so is a bad option. The message says what to do and
// never quotes the token. With [WithTokenSource], accessToken must be empty.
// Every error of NewClient matches [ErrInvalidArgument].
func NewClient(accessToken string, opts ...Option) (*Client, error) {
	c := &Client{
		attemptTimeout: 30 * time.Second,
		maxRetries:     4,
		backoffBase:    250 * time.Millisecond,
		backoffMax:     8 * time.Second,
		maxRetryAfter:  60 * time.Second,
		userAgent:      "flashback-go/" + Version,
		budget:         newBudget(100),
		pacer:          new(pacer),
	}
	c.Organization = &OrganizationService{Users: &UsersService{client: c}, client: c}
	// The options come after the defaults and before the checks that look at
	// several of them, so that their order never matters.
	for i, opt := range append([]Option{WithBaseURL(DefaultBaseURL)}, opts...) {
		if opt == nil {
			return nil, invalid("NewClient", "", fmt.Errorf("option %d is nil; leave it out", i))
		}
		if err := opt(c); err != nil {
			return nil, invalid("NewClient", "", err)
		}
	}
	switch err := checkToken(accessToken); {
	case c.tokenRotates && accessToken != "":
		return nil, invalid("NewClient", "", errors.New(`both an access token and WithTokenSource are given; pass "" as the access token`))
	case c.tokenRotates:
	case err != nil:
		return nil, invalid("NewClient", "", fmt.Errorf("the access token %w", err))
	default:
		c.token = func(context.Context) (string, error) { return accessToken, nil }
	}
	if c.baseURL.Scheme == "http" && !c.plaintext && !loopback(c.baseURL.Hostname()) {
		return nil, invalid("NewClient", "", errors.New("an http:// base URL shows the token to the network; use https://, or WithPlaintextHTTP to allow it"))
	}
	t, ok := c.transport.(*http.Transport)
	if c.transport == nil || ok && t == nil {
		t, ok = newTransport(), true
		c.transport, c.ownTransport = t, true
	}
	if ok {
		c.standard = t.Protocols == nil || !t.Protocols.UnencryptedHTTP2()
	}
	if c.clientTimeout > 0 && (c.attemptTimeout == 0 || c.clientTimeout < c.attemptTimeout) {
		c.attemptTimeout = c.clientTimeout
	}
	if c.ownTransport && c.attemptTimeout > 0 {
		c.timeLimit = (&watchdog{timeout: c.attemptTimeout, running: map[*limit]struct{}{}}).begin
	}
	c.retrier = c.newRetrier()
	return c, nil
}

// checkToken says what is wrong with a token, as the rest of a sentence that
// begins with "the access token". It never quotes the token.
func checkToken(token string) error {
	switch {
	case token == "":
		return errors.New("is empty")
	case len(token) >= len("Bearer ") && strings.EqualFold(token[:len("Bearer ")], "Bearer "):
		return errors.New(`starts with "Bearer "; pass the token alone`)
	case strings.TrimSpace(token) != token:
		return errors.New("begins or ends with white space (a file's newline?); use strings.TrimSpace")
	case strings.ContainsFunc(token, unicode.IsSpace):
		return errors.New("has white space in it; pass the token alone")
	case strings.ContainsFunc(token, func(r rune) bool { return !unicode.IsPrint(r) }):
		return errors.New("has a control character or an invisible one in it (a byte order mark?); pass the token alone")
	}
	return nil
}

// newTransport is the client's own: http.DefaultTransport keeps two idle
// connections per host, so that 64 workers would open thousands, and does not
// notice a dead HTTP/2 connection.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:    10 * time.Second,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           100,
		MaxIdleConnsPerHost:    100,
		MaxConnsPerHost:        80, // else a slow dial makes many more: each call that waits for it begins another
		IdleConnTimeout:        60 * time.Second,
		MaxResponseHeaderBytes: 1 << 20,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
	}
}

package flashback

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/flashbacknetwork/flashback-go/internal/attempt"
	"github.com/flashbacknetwork/flashback-go/internal/budget"
	"github.com/flashbacknetwork/flashback-go/internal/call"
	"github.com/flashbacknetwork/flashback-go/internal/redact"
)

const (
	// DefaultBaseURL is the documented address of the Flashback backend.
	DefaultBaseURL = "https://backend.flashback.tech"

	// Version is this package's, and in the User-Agent.
	Version = "0.3.0"
)

// Client calls the Flashback API. It is safe for concurrent use. Make one and keep it: its
// calls share connections, rate limits and a retry budget.
type Client struct {
	Organization *OrganizationService

	// A function, which no printer looks into.
	settings func() *settings
}

// FlashbackClient is the TypeScript library's name for [Client].
//
//nolint:revive // The stutter is the point: it is the TypeScript library's name.
type FlashbackClient = Client

// settings are what the options set, and the caller that they make.
type settings struct {
	caller    call.Client
	session   *renewer      // that Token asks
	store     TokenStore    // of a session that is to be made
	token     string        // the fixed one
	limit     time.Duration // of the http.Client that the caller gave
	timeout   time.Duration // of an attempt
	plaintext bool
}

// NewClient returns a client that authenticates with accessToken, which is "" with
// [WithTokenSource]. It sends nothing. Its errors match
// [ErrInvalidArgument].
func NewClient(accessToken string, opts ...Option) (*Client, error) {
	return newSettings(accessToken).client("NewClient", opts)
}

func newSettings(accessToken string) *settings {
	s := &settings{
		token:   accessToken,
		timeout: 30 * time.Second,
		caller: call.Client{
			UserAgent: "flashback-go/" + Version,
			Retry: call.Retry{
				Max:           4,
				Base:          250 * time.Millisecond,
				Limit:         8 * time.Second,
				MaxRetryAfter: 60 * time.Second,
			},
			Budget:    budget.New(100),
			Throttles: new(call.Throttles),
			Clock:     new(call.Clock),
		},
	}
	_ = WithBaseURL(DefaultBaseURL)(s) // it is a good one
	return s
}

// With returns a copy with other options. It shares connections, rate limits and the retry
// budget, unless an option replaces them.
func (c *Client) With(opts ...Option) (*Client, error) {
	if c == nil || c.settings == nil {
		return nil, invalid("With", "", errNoClient)
	}
	s := *c.settings()
	return s.client("With", append(slices.Clip(opts), func(s *settings) error {
		if s.caller.Renews {
			s.token = "" // a source takes the place of the token
		}
		return nil
	}))
}

// CloseIdleConnections closes the connections that no call uses, as a client does by itself
// once nothing refers to it.
func (c *Client) CloseIdleConnections() {
	if c == nil || c.settings == nil {
		return
	}
	if t, ok := c.settings().caller.Sender.Transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// client applies options and makes the client. All checks that look at several
// settings come after all options, so that their order does not matter.
func (s *settings) client(op string, opts []Option) (*Client, error) {
	for i, opt := range opts {
		if opt == nil {
			return nil, invalid(op, "", fmt.Errorf("option %d is nil; leave it out", i))
		}
		if err := opt(s); err != nil {
			return nil, invalid(op, "", err)
		}
	}
	caller := &s.caller
	switch err := checkToken(s.token); {
	case caller.Renews && s.token != "":
		return nil, invalid(op, "", errors.New(`both an access token and WithTokenSource are given; pass "" as the access token`))
	case s.store != nil:
		return nil, invalid(op, "", errors.New("WithTokenStore is an option of Login and Resume"))
	case s.session != nil && s.session.baseURL != caller.BaseURL.String():
		return nil, invalid(op, "", fmt.Errorf("the session is that of another backend, %s; leave WithBaseURL out", s.session.baseURL))
	case caller.Renews:
	case s.token == "":
		return nil, invalid(op, "", errors.New("the access token is empty; give one, or WithTokenSource, or use Session.Client"))
	case err != nil:
		return nil, invalid(op, "", fmt.Errorf("the access token %w", err))
	default:
		token := s.token
		caller.Token = func(context.Context) (string, error) { return token, nil }
	}
	if caller.BaseURL.Scheme == "http" && !s.plaintext && !loopback(caller.BaseURL.Hostname()) {
		return nil, invalid(op, "", errors.New("an http:// base URL shows the token to the network; use https://, or WithPlaintextHTTP to allow it"))
	}
	if caller.Sender.Transport == nil {
		caller.Sender.Transport, caller.Sender.Own = newPool(), true
	}
	caller.Sender.Timeout = s.timeout
	if s.limit > 0 && (s.timeout == 0 || s.limit < s.timeout) {
		caller.Sender.Timeout = s.limit
	}
	caller.Init()
	do := func() *call.Client { return caller }
	return &Client{
		Organization: &OrganizationService{Users: &UsersService{do}, caller: do},
		settings:     func() *settings { return s },
	}, nil
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
	case strings.Trim(token, `"'`) != token:
		return errors.New("begins or ends with a quotation mark (an env file's?); pass the token alone")
	case token == redact.Mark:
		return errors.New("is a Secret that was printed; keep what its Reveal returns")
	case strings.ContainsFunc(token, unicode.IsSpace):
		return errors.New("has white space in it; pass the token alone")
	case strings.ContainsFunc(token, func(r rune) bool { return !unicode.IsPrint(r) }):
		return errors.New("has a control character or an invisible one in it (a byte order mark?); pass the token alone")
	}
	return nil
}

// NewTransport returns a transport like the client's own, to change or wrap.
func NewTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		OnProxyConnectResponse: attempt.OnProxyConnectResponse,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:    10 * time.Second,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    512,
		IdleConnTimeout:        60 * time.Second,
		MaxResponseHeaderBytes: 1 << 20,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
	}
}

// pool is a transport whose connections are closed when nothing refers to it any more.
// The transport itself is always referred to by its connections.
type pool struct{ *http.Transport }

func newPool() *pool {
	p := &pool{NewTransport()}
	open := &sockets{dial: p.DialContext, open: map[*socket]struct{}{}}
	p.DialContext = open.dialContext
	// The runtime cleans up outside of any synctest bubble, where a transport that was used
	// in one must not be touched. A socket may be closed anywhere, and net/http notices.
	runtime.AddCleanup(p, (*sockets).close, open)
	return p
}

// sockets are the open connections of a pool.
type sockets struct {
	dial func(ctx context.Context, network, addr string) (net.Conn, error)
	mu   sync.Mutex
	open map[*socket]struct{} // nil once they are closed for good
}

func (s *sockets) dialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := s.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	one := &socket{conn, s}
	s.open[one] = struct{}{}
	return one, nil
}

func (s *sockets) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for one := range s.open {
		_ = one.Conn.Close()
	}
	s.open = nil
}

// socket is an open connection of a pool.
type socket struct {
	net.Conn

	all *sockets
}

func (s *socket) Close() error {
	s.all.mu.Lock()
	delete(s.all.open, s)
	s.all.mu.Unlock()
	return s.Conn.Close()
}

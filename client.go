package flashback

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/flashbacknetwork/flashback-go/internal/attempt"
	"github.com/flashbacknetwork/flashback-go/internal/call"
	"github.com/flashbacknetwork/flashback-go/internal/retry"
)

const (
	// DefaultBaseURL is the documented address of the Flashback backend.
	DefaultBaseURL = "https://backend.flashback.tech"

	// Version is the version of this package. The User-Agent has it.
	Version = "0.3.0"
)

// Client calls the Flashback API. It is safe for concurrent use. Make one and keep it: its
// calls share connections and the gates of the operations.
type Client struct {
	Organization *OrganizationService
	Workspaces   *WorkspacesService

	connection
}

// FlashbackClient is [Client] by the name that the TypeScript library has for it.
//
//nolint:revive // The stutter is the point: it is the TypeScript library's name.
type FlashbackClient = Client

// settings are what the options set, and the caller that is made of them.
type settings struct {
	caller    call.Client
	session   *renewer      // that Token asks
	store     TokenStore    // of a session that is to be made
	token     string        // the fixed one
	httpLimit time.Duration // the Timeout of the http.Client that the caller gave
	timeout   time.Duration // of an attempt
	plaintext bool
	ungated   bool   // without gates
	backend   string // the base URL that the gates, the clock and workspacesRead are for
	// workspacesRead has the IDs of the workspaces that were read: see WorkspacesService.Delete.
	workspacesRead *sync.Map
}

// NewClient returns a client that authenticates with accessToken. With [WithTokenSource],
// accessToken must be "". NewClient sends nothing. Its errors match [ErrInvalidArgument].
func NewClient(accessToken string, opts ...Option) (*Client, error) {
	return newSettings(accessToken).build("NewClient", opts)
}

func newSettings(accessToken string) *settings {
	s := &settings{
		token:   accessToken,
		timeout: 30 * time.Second,
		caller: call.Client{
			UserAgent: "flashback-go/" + Version,
			Retry: retry.Policy{
				MaxRetries:    4,
				Base:          250 * time.Millisecond,
				Limit:         8 * time.Second,
				MaxRetryAfter: 60 * time.Second,
			},
			OutageWait: 30 * time.Second,
		},
	}
	_ = WithBaseURL(DefaultBaseURL)(s) // DefaultBaseURL is valid, so this does not fail.
	return s
}

// With returns a copy with other options. It shares connections, and the gates of the
// operations unless it is for another backend.
func (c *Client) With(opts ...Option) (*Client, error) {
	if c == nil || c.settings == nil {
		return nil, invalid("With", "", errNoClient)
	}
	s := *c.settings()
	return s.build("With", append(slices.Clip(opts), func(s *settings) error {
		if s.caller.Renews {
			s.token = "" // A token source takes the place of the token.
		}
		return nil
	}))
}

// CloseIdleConnections closes the connections that no call uses. Without it, they are
// closed after a minute without use.
func (c *Client) CloseIdleConnections() {
	if c == nil || c.settings == nil {
		return
	}
	if t, ok := c.settings().caller.Sender.Transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// build applies options and makes the client. All checks that look at several settings come
// after all options, so that the order of options does not matter.
func (s *settings) build(op string, opts []Option) (*Client, error) {
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
		caller.Sender.Transport, caller.Sender.Trusted = NewTransport(), true
	}
	if s.backend != caller.BaseURL.String() { // Another backend has limits and a clock of its own.
		s.backend = caller.BaseURL.String()
		caller.Gates, caller.Clock, s.workspacesRead = new(call.Gates), new(call.Clock), new(sync.Map)
	}
	if s.ungated {
		caller.Gates = nil
	}
	caller.Sender.Timeout = s.timeout
	if s.httpLimit > 0 && (s.timeout == 0 || s.httpLimit < s.timeout) {
		caller.Sender.Timeout = s.httpLimit
	}
	c := connection{func() *settings { return s }}
	return &Client{
		Organization: &OrganizationService{Users: &UsersService{c}, connection: c},
		Workspaces:   &WorkspacesService{c},
		connection:   c,
	}, nil
}

// NewTransport returns a transport like the one that a client uses by default, for callers
// who change or wrap it and give it to [WithHTTPClient].
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

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/digitalocean/godo"
	"github.com/hashicorp/go-retryablehttp"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	gitlab "gitlab.com/gitlab-org/api/client-go/v2"
	"golang.org/x/oauth2"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// caller is one way to make the calls: a bearer token, and the envelope decoded.
type caller struct {
	name   string
	module string // "" for the standard library
	open   opener
	tuned  opener // with the best documented settings for these faults; nil if it is not tuned
	api    *api   // of its platform; nil for this one's
	runsOn bool   // a client starts a goroutine that never ends, for which fake time would wait
	spins  bool   // a client may wait for no time at all, again and again, which is for ever in fake time
}

type opener func(base, token string, rt http.RoundTripper) (*session, error)

// success is the response to the call, from memory.
func (c *caller) success(req *http.Request) *http.Response {
	if c.api != nil {
		return c.api.success.to(req)
	}
	return success(req)
}

// limited is the response to a call too many, from memory.
func (c *caller) limited(req *http.Request, after time.Duration) *http.Response {
	if c.api != nil {
		return c.api.limited(after).to(req)
	}
	return tooMany(req, after)
}

// fakeTime calls f in fake time, with what opens a client of anyHost; where a client
// can't do with it, in real time.
func (c *caller) fakeTime(t *testing.T, f func(open opener) error) (failed error) {
	t.Helper()
	if c.spins {
		return f(c.open)
	}
	open := c.open
	if c.runsOn {
		late := new(lateTransport)
		s, err := c.open(anyHost, token, late)
		if err != nil {
			return err
		}
		open = func(_, _ string, rt http.RoundTripper) (*session, error) {
			late.RoundTripper = rt
			return s, nil
		}
	}
	synctest.Test(t, func(*testing.T) { failed = f(open) })
	return failed
}

// anyHost is where the server is in fake time, and whatever else is asked for.
const anyHost = "https://api.example.com"

// lateTransport is a transport that is there later than its client.
type lateTransport struct{ http.RoundTripper }

// session is a caller's client of one server.
type session struct {
	// activate and remove fail if the response is not a 2xx whose envelope says success.
	activate, remove func(ctx context.Context, id string) error
	// list tells how many users there are.
	list   func(ctx context.Context) (int, error)
	client any // what holds the token
}

// request makes a request and decodes a 2xx.
type request func(ctx context.Context, method, path string, into any) error

// newSession makes the calls with one that takes any endpoint.
func newSession(do request, client any) *session {
	change := func(method, suffix string) func(context.Context, string) error {
		return func(ctx context.Context, id string) error {
			var e envelope
			if err := do(ctx, method, "organization/users/"+url.PathEscape(id)+suffix, &e); err != nil {
				return err
			}
			return e.check()
		}
	}
	return &session{
		activate: change(http.MethodPost, "/activate"),
		remove:   change(http.MethodDelete, ""),
		list: func(ctx context.Context) (int, error) {
			var list struct {
				envelope

				Data  []user `json:"data"`
				Total int    `json:"total"`
			}
			if err := do(ctx, http.MethodGet, "organization/users", &list); err != nil {
				return 0, err
			}
			return len(list.Data), list.check()
		},
		client: client,
	}
}

// callers are compared with the first of them. Each is set up as its
// documentation says and left at its defaults. A transport that is not nil takes
// the place of its own.
var callers = []caller{
	{name: "net/http by hand", open: byHand},
	{name: "flashback-go", module: "github.com/flashbacknetwork/flashback-go", open: byFlashback},
	{
		name: "go-retryablehttp", module: "github.com/hashicorp/go-retryablehttp", open: byRetryableHTTP(nil),
		tuned: byRetryableHTTP(func(c *retryablehttp.Client) { c.RetryMax, c.HTTPClient.Timeout = retries, timeout }),
	},
	{
		name: "gitlab client-go", module: "gitlab.com/gitlab-org/api/client-go/v2", open: byGitLab(0),
		tuned: byGitLab(timeout, gitlab.WithCustomRetryMax(retries), gitlab.WithOnlyIdempotentRetries()),
	},
	{
		name: "godo", module: "github.com/digitalocean/godo", open: byGodo(nil),
		tuned: byGodo(&godo.RetryConfig{RetryMax: retries}),
	},
	{
		name: "openai-go", module: "github.com/openai/openai-go/v3", open: byOpenAI(),
		tuned: byOpenAI(option.WithMaxRetries(retries)), // its timeout of a request ends the wait after it too
	},
	{
		name: "azcore", module: "github.com/Azure/azure-sdk-for-go/sdk/azcore", open: byAzure(policy.RetryOptions{}),
		tuned: byAzure(policy.RetryOptions{MaxRetries: retries, TryTimeout: timeout}),
	},
}

// withTuned are the callers, each followed by itself with its best settings.
func withTuned() (all []caller) {
	for _, c := range callers {
		all = append(all, c)
		if c.tuned != nil {
			all = append(all, caller{name: c.name + ", tuned", module: c.module, open: c.tuned})
		}
	}
	return all
}

// What the tuned ones are set to.
const (
	retries = 10
	timeout = 30 * time.Second // of an attempt
)

const (
	hand = iota // its place in callers, and among those with the tuned ones
	ours
)

type envelope struct {
	Success bool   `json:"success"`
	Message string `json:"message"`
}

func (e *envelope) check() error {
	if !e.Success {
		return errors.New(e.Message)
	}
	return nil
}

// user is a user as one writes it for encoding/json.
type user struct {
	ID                 string     `json:"id"`
	Email              string     `json:"email"`
	Name               string     `json:"name"`
	LastName           string     `json:"lastName"`
	OrgID              *string    `json:"orgId"`
	OrgRole            *int       `json:"orgRole"`
	OrgRoleDescription string     `json:"orgRoleDescription"`
	OrgRoles           []int      `json:"orgRoles"`
	Validated          bool       `json:"validated"`
	DeletedAt          *time.Time `json:"deletedAt"`
}

// handwritten is what one writes around an HTTP client for one API.
type handwritten struct {
	do          func(*http.Request) (*http.Response, error)
	base, token string
}

func byHand(base, token string, rt http.RoundTripper) (*session, error) {
	api := &handwritten{(&http.Client{Transport: rt, Timeout: timeout}).Do, base, token}
	return newSession(api.request, api), nil
}

func (api *handwritten) request(ctx context.Context, method, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, api.base+"/"+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Authorization", "Bearer "+api.token)
	resp, err := api.do(req) //nolint:bodyclose // decode closes it.
	if err != nil {
		return err
	}
	return decode(resp, into)
}

func decode(resp *http.Response, into any) error {
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("HTTP %d: %s", resp.StatusCode, body)
	}
	return json.Unmarshal(body, into)
}

func byFlashback(base, token string, rt http.RoundTripper) (*session, error) {
	opts := []flashback.Option{flashback.WithBaseURL(base)}
	if rt != nil {
		opts = append(opts, flashback.WithHTTPClient(&http.Client{Transport: rt}))
	}
	client, err := flashback.NewClient(token, opts...)
	if err != nil {
		return nil, err
	}
	return &session{
		activate: func(ctx context.Context, id string) error {
			_, err := client.Organization.Users.Activate(ctx, id)
			return err
		},
		remove: func(ctx context.Context, id string) error {
			_, err := client.Organization.Users.Delete(ctx, id)
			return err
		},
		list: func(ctx context.Context) (int, error) {
			list, err := client.Organization.Users.List(ctx)
			if err != nil {
				return 0, err
			}
			return len(list.Users), nil
		},
		client: client,
	}, nil
}

func byRetryableHTTP(tune func(*retryablehttp.Client)) opener {
	return func(base, token string, rt http.RoundTripper) (*session, error) {
		client := retryablehttp.NewClient()
		client.Logger = nil // which would write two lines a call to stderr
		if tune != nil {
			tune(client)
		}
		if rt != nil {
			client.HTTPClient.Transport = rt
		}
		api := &handwritten{nil, base, token}
		return newSession(func(ctx context.Context, method, path string, into any) error {
			req, err := retryablehttp.NewRequestWithContext(ctx, method, api.base+"/"+path, nil)
			if err != nil {
				return err
			}
			req.Header.Set("Accept", "application/json")
			req.Header.Set("Authorization", "Bearer "+api.token)
			resp, err := client.Do(req) //nolint:bodyclose // As above.
			if err != nil {
				return err
			}
			return decode(resp, into)
		}, api), nil
	}
}

func byGitLab(timeout time.Duration, settings ...gitlab.ClientOptionFunc) opener {
	return func(base, token string, rt http.RoundTripper) (*session, error) {
		opts := append(slices.Clone(settings), gitlab.WithBaseURL(base))
		if rt != nil || timeout > 0 {
			opts = append(opts, gitlab.WithHTTPClient(&http.Client{Transport: rt, Timeout: timeout}))
		}
		source := oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token})
		client, err := gitlab.NewAuthSourceClient(gitlab.OAuthTokenSource{TokenSource: source}, opts...)
		if err != nil {
			return nil, err
		}
		return newSession(func(ctx context.Context, method, path string, into any) error {
			req, err := client.NewRequest(method, path, nil, []gitlab.RequestOptionFunc{gitlab.WithContext(ctx)})
			if err != nil {
				return err
			}
			_, err = client.Do(req, into)
			return err
		}, client), nil
	}
}

func byGodo(retry *godo.RetryConfig) opener {
	return func(base, token string, rt http.RoundTripper) (*session, error) {
		client, err := godoClient(base, token, retry)
		if err != nil {
			return nil, err
		}
		if rt != nil {
			// With retries on, which is NewFromToken's default, godo drops the transport of
			// the client that it is given; this is where its own one is.
			auth, ok := client.HTTPClient.Transport.(*oauth2.Transport)
			if !ok {
				return nil, fmt.Errorf("godo's transport is a %T", client.HTTPClient.Transport)
			}
			retrier, ok := auth.Base.(*retryablehttp.RoundTripper)
			if !ok {
				return nil, fmt.Errorf("godo's retries are a %T", auth.Base)
			}
			retrier.Client.HTTPClient.Transport = rt
		}
		return newSession(func(ctx context.Context, method, path string, into any) error {
			req, err := client.NewRequest(ctx, method, path, nil)
			if err != nil {
				return err
			}
			_, err = client.Do(ctx, req, into)
			return err
		}, client), nil
	}
}

// godoClient is NewFromToken's, or what the documentation has in its place for other retries.
func godoClient(base, token string, retry *godo.RetryConfig) (*godo.Client, error) {
	if retry == nil {
		client := godo.NewFromToken(token)
		return client, godo.SetBaseURL(base + "/")(client)
	}
	hc := oauth2.NewClient(context.Background(), oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token}))
	hc.Timeout = timeout // which godo makes that of an attempt
	return godo.New(hc, godo.WithRetryAndBackoffs(*retry), godo.SetBaseURL(base+"/"))
}

func byOpenAI(settings ...option.RequestOption) opener {
	return func(base, token string, rt http.RoundTripper) (*session, error) {
		opts := append(slices.Clone(settings), option.WithBaseURL(base), option.WithAPIKey(token))
		if rt != nil {
			opts = append(opts, option.WithHTTPClient(&http.Client{Transport: rt}))
		}
		client := openai.NewClient(opts...)
		return newSession(func(ctx context.Context, method, path string, into any) error {
			return client.Execute(ctx, method, path, nil, into)
		}, &client), nil
	}
}

func byAzure(retry policy.RetryOptions) opener {
	return func(base, token string, rt http.RoundTripper) (*session, error) {
		opts := &policy.ClientOptions{Retry: retry}
		if rt != nil {
			opts.Transport = &http.Client{Transport: rt}
		}
		bearer := runtime.NewKeyCredentialPolicy(azcore.NewKeyCredential(token), "Authorization", &runtime.KeyCredentialPolicyOptions{
			Prefix: "Bearer ", InsecureAllowCredentialWithHTTP: true, // for loopback
		})
		pipeline := runtime.NewPipeline("benchmarks", "v1", runtime.PipelineOptions{PerRetry: []policy.Policy{bearer}}, opts)
		return newSession(func(ctx context.Context, method, path string, into any) error {
			req, err := runtime.NewRequest(ctx, method, runtime.JoinPaths(base, path))
			if err != nil {
				return err
			}
			req.Raw().Header["Accept"] = []string{"application/json"}
			resp, err := pipeline.Do(req) //nolint:bodyclose // The pipeline has read and closed it.
			if err != nil {
				return err
			}
			if !runtime.HasStatusCode(resp, http.StatusOK) {
				return runtime.NewResponseError(resp)
			}
			return runtime.UnmarshalAsJSON(resp, into)
		}, pipeline), nil
	}
}

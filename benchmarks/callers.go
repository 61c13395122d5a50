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
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/digitalocean/godo"
	"github.com/hashicorp/go-retryablehttp"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	gitlab "gitlab.com/gitlab-org/api/client-go"
	"golang.org/x/oauth2"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// caller is one way to make the calls: a bearer token, and the envelope decoded.
type caller struct {
	name   string
	module string // "" for the standard library
	open   func(base, token string, rt http.RoundTripper) (*session, error)
}

// session is a caller's client of one server.
type session struct {
	// activate fails if the response is not a 2xx whose envelope says success.
	activate func(ctx context.Context, id string) error
	// list tells how many users there are.
	list   func(ctx context.Context) (int, error)
	client any // what holds the token
}

// request makes a request and decodes a 2xx.
type request func(ctx context.Context, method, path string, into any) error

// newSession makes the calls with one that takes any endpoint.
func newSession(do request, client any) *session {
	return &session{
		activate: func(ctx context.Context, id string) error {
			var e envelope
			if err := do(ctx, http.MethodPost, "organization/users/"+url.PathEscape(id)+"/activate", &e); err != nil {
				return err
			}
			return e.check()
		},
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
	{"net/http by hand", "", byHand},
	{"flashback-go", "github.com/flashbacknetwork/flashback-go", byFlashback},
	{"go-retryablehttp", "github.com/hashicorp/go-retryablehttp", byRetryableHTTP(nil)},
	{"gitlab client-go", "gitlab.com/gitlab-org/api/client-go", byGitLab()},
	{"godo", "github.com/digitalocean/godo", byGodo()},
	{"openai-go", "github.com/openai/openai-go/v3", byOpenAI()},
	{"azcore", "github.com/Azure/azure-sdk-for-go/sdk/azcore", byAzure(policy.RetryOptions{})},
}

// tuned are those that have settings for retries, with what their documentation has for
// many failures: ten retries, and a timeout for each attempt where there is one.
var tuned = []caller{
	{"go-retryablehttp, tuned", callers[2].module, byRetryableHTTP(func(c *retryablehttp.Client) {
		c.RetryMax, c.RetryWaitMin, c.RetryWaitMax = retries, 250*time.Millisecond, time.Second // a second more with each retry
		c.Backoff, c.HTTPClient.Timeout = retryablehttp.RateLimitLinearJitterBackoff, timeout
	})},
	{"gitlab client-go, tuned", callers[3].module, byGitLab(gitlab.WithCustomRetryMax(retries), gitlab.WithCustomRetryWaitMinMax(250*time.Millisecond, 8*time.Second))},
	{"godo, tuned", callers[4].module, byGodo(godo.WithRetryAndBackoffs(godo.RetryConfig{RetryMax: retries, RetryWaitMin: godo.PtrTo(0.25), RetryWaitMax: godo.PtrTo(8.0)}))},
	{"openai-go, tuned", callers[5].module, byOpenAI(option.WithMaxRetries(retries), option.WithRequestTimeout(timeout))},
	{"azcore, tuned", callers[6].module, byAzure(policy.RetryOptions{MaxRetries: retries, TryTimeout: timeout, RetryDelay: 250 * time.Millisecond, MaxRetryDelay: 8 * time.Second})},
}

const (
	retries = 10
	timeout = 30 * time.Second
)

const (
	hand = iota // its place in callers
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

type opener = func(base, token string, rt http.RoundTripper) (*session, error)

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

func byGitLab(settings ...gitlab.ClientOptionFunc) opener {
	return func(base, token string, rt http.RoundTripper) (*session, error) {
		opts := append(slices.Clone(settings), gitlab.WithBaseURL(base))
		if rt != nil {
			opts = append(opts, gitlab.WithHTTPClient(&http.Client{Transport: rt}))
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

func byGodo(settings ...godo.ClientOpt) opener {
	return func(base, token string, rt http.RoundTripper) (*session, error) {
		client, err := godoClient(base, token, settings)
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

// godoClient is NewFromToken's, or, with settings, what its documentation has in its place.
func godoClient(base, token string, settings []godo.ClientOpt) (*godo.Client, error) {
	if settings == nil {
		client := godo.NewFromToken(token)
		return client, godo.SetBaseURL(base + "/")(client)
	}
	hc := oauth2.NewClient(context.Background(), oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token}))
	return godo.New(hc, append(slices.Clone(settings), godo.SetBaseURL(base+"/"))...)
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

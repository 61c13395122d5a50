package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
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

// caller is one way to make the call: POST, a bearer token, decode the envelope.
type caller struct {
	name   string
	module string // "" for the standard library
	open   func(base, token string, rt http.RoundTripper) (*session, error)
}

// session is a caller's client of one server.
type session struct {
	// activate fails if the response is not a 2xx whose envelope says success.
	activate func(ctx context.Context, id string) error
	client   any // what holds the token
}

// callers are compared with the first of them. Each is set up as its
// documentation says and left at its defaults. A transport that is not nil takes
// the place of its own.
var callers = []caller{
	{"net/http by hand", "", byHand},
	{"flashback-go", "github.com/flashbacknetwork/flashback-go", byFlashback},
	{"go-retryablehttp", "github.com/hashicorp/go-retryablehttp", byRetryableHTTP},
	{"gitlab client-go", "gitlab.com/gitlab-org/api/client-go", byGitLab},
	{"godo", "github.com/digitalocean/godo", byGodo},
	{"openai-go", "github.com/openai/openai-go/v3", byOpenAI},
	{"azcore", "github.com/Azure/azure-sdk-for-go/sdk/azcore", byAzure},
}

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

func path(id string) string { return "organization/users/" + url.PathEscape(id) + "/activate" }

// handwritten is what one writes around an HTTP client for one API.
type handwritten struct {
	do          func(*http.Request) (*http.Response, error)
	base, token string
}

func byHand(base, token string, rt http.RoundTripper) (*session, error) {
	api := &handwritten{(&http.Client{Transport: rt, Timeout: 30 * time.Second}).Do, base, token}
	return &session{api.activate, api}, nil
}

func (api *handwritten) activate(ctx context.Context, id string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, api.base+"/"+path(id), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Authorization", "Bearer "+api.token)
	resp, err := api.do(req) //nolint:bodyclose // decode closes it.
	if err != nil {
		return err
	}
	return decode(resp)
}

func decode(resp *http.Response) error {
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("HTTP %d: %s", resp.StatusCode, body)
	}
	var e envelope
	if err := json.Unmarshal(body, &e); err != nil {
		return err
	}
	return e.check()
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
	return &session{func(ctx context.Context, id string) error {
		_, err := client.Organization.Users.Activate(ctx, id)
		return err
	}, client}, nil
}

func byRetryableHTTP(base, token string, rt http.RoundTripper) (*session, error) {
	client := retryablehttp.NewClient()
	client.Logger = nil // which would write two lines a call to stderr
	if rt != nil {
		client.HTTPClient.Transport = rt
	}
	api := &handwritten{nil, base, token}
	return &session{func(ctx context.Context, id string) error {
		req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPost, api.base+"/"+path(id), nil)
		if err != nil {
			return err
		}
		req.Header.Set("Accept", "application/json")
		req.Header.Set("Authorization", "Bearer "+api.token)
		resp, err := client.Do(req) //nolint:bodyclose // As above.
		if err != nil {
			return err
		}
		return decode(resp)
	}, api}, nil
}

func byGitLab(base, token string, rt http.RoundTripper) (*session, error) {
	opts := []gitlab.ClientOptionFunc{gitlab.WithBaseURL(base)}
	if rt != nil {
		opts = append(opts, gitlab.WithHTTPClient(&http.Client{Transport: rt}))
	}
	source := oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token})
	client, err := gitlab.NewAuthSourceClient(gitlab.OAuthTokenSource{TokenSource: source}, opts...)
	if err != nil {
		return nil, err
	}
	return &session{func(ctx context.Context, id string) error {
		req, err := client.NewRequest(http.MethodPost, path(id), nil, []gitlab.RequestOptionFunc{gitlab.WithContext(ctx)})
		if err != nil {
			return err
		}
		var e envelope
		if _, err := client.Do(req, &e); err != nil {
			return err
		}
		return e.check()
	}, client}, nil
}

func byGodo(base, token string, rt http.RoundTripper) (*session, error) {
	client := godo.NewFromToken(token)
	if err := godo.SetBaseURL(base + "/")(client); err != nil {
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
	return &session{func(ctx context.Context, id string) error {
		req, err := client.NewRequest(ctx, http.MethodPost, path(id), nil)
		if err != nil {
			return err
		}
		var e envelope
		if _, err := client.Do(ctx, req, &e); err != nil {
			return err
		}
		return e.check()
	}, client}, nil
}

func byOpenAI(base, token string, rt http.RoundTripper) (*session, error) {
	opts := []option.RequestOption{option.WithBaseURL(base), option.WithAPIKey(token)}
	if rt != nil {
		opts = append(opts, option.WithHTTPClient(&http.Client{Transport: rt}))
	}
	client := openai.NewClient(opts...)
	return &session{func(ctx context.Context, id string) error {
		var e envelope
		if err := client.Post(ctx, path(id), nil, &e); err != nil {
			return err
		}
		return e.check()
	}, &client}, nil
}

func byAzure(base, token string, rt http.RoundTripper) (*session, error) {
	opts := &policy.ClientOptions{}
	if rt != nil {
		opts.Transport = &http.Client{Transport: rt}
	}
	bearer := runtime.NewKeyCredentialPolicy(azcore.NewKeyCredential(token), "Authorization", &runtime.KeyCredentialPolicyOptions{
		Prefix: "Bearer ", InsecureAllowCredentialWithHTTP: true, // for loopback
	})
	pipeline := runtime.NewPipeline("benchmarks", "v1", runtime.PipelineOptions{PerRetry: []policy.Policy{bearer}}, opts)
	return &session{func(ctx context.Context, id string) error {
		req, err := runtime.NewRequest(ctx, http.MethodPost, runtime.JoinPaths(base, path(id)))
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
		var e envelope
		if err := runtime.UnmarshalAsJSON(resp, &e); err != nil {
			return err
		}
		return e.check()
	}, pipeline}, nil
}

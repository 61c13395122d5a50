package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go/middleware"
	"github.com/hashicorp/go-retryablehttp"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// caller is one way to activate a user.
type caller struct {
	name string
	open func(url string) (activate, error)
}

// activate activates a user. It fails if the response is not a success.
type activate func(ctx context.Context, id string) error

var callers = []caller{
	{"flashback-go", byFlashback},
	{"go-retryablehttp", byRetryableHTTP},
	{"aws-adaptive", byAWS},
}

const token = "token-6f1c2b9e" //nolint:gosec // It opens nothing.

func byFlashback(url string) (activate, error) {
	client, err := flashback.NewClient(token, flashback.WithBaseURL(url))
	return func(ctx context.Context, id string) error {
		_, err := client.Organization.Users.Activate(ctx, id)
		return err
	}, err
}

func byRetryableHTTP(url string) (activate, error) {
	client := retryablehttp.NewClient()
	client.Logger = nil // which would write two lines a call to stderr
	return func(ctx context.Context, id string) error {
		req, err := newRequest(ctx, url, id)
		if err != nil {
			return err
		}
		retryable, err := retryablehttp.FromRequest(req)
		if err != nil {
			return err
		}
		resp, err := client.Do(retryable) //nolint:bodyclose // read closes it.
		if err != nil {
			return err
		}
		return read(resp)
	}, nil
}

// byAWS has the retries, the rate and the connections of AWS's SDK in its adaptive
// mode. It knows refusals by AWS's codes: a 429 and a 503 are given those.
func byAWS(url string) (activate, error) {
	client := awshttp.NewBuildableClient()
	attempts := retry.NewAttemptMiddleware(retry.NewAdaptiveMode(), func(request any) any { return request })
	attempt := middleware.FinalizeHandlerFunc(func(ctx context.Context, in middleware.FinalizeInput) (out middleware.FinalizeOutput, _ middleware.Metadata, err error) {
		id, _ := in.Request.(string)
		req, err := newRequest(ctx, url, id)
		if err != nil {
			return out, middleware.Metadata{}, err
		}
		resp, err := client.Do(req) //nolint:bodyclose // read closes it.
		if err != nil {
			return out, middleware.Metadata{}, err
		}
		return out, middleware.Metadata{}, read(resp)
	})
	return func(ctx context.Context, id string) error {
		_, _, err := attempts.HandleFinalize(ctx, middleware.FinalizeInput{Request: id}, attempt)
		return err
	}, nil
}

func newRequest(ctx context.Context, url, id string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/organization/users/"+id+"/activate", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	return req, nil
}

// statusError is a response that is not a success.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("HTTP %d", int(e)) }

// HTTPStatusCode is how AWS's retries ask for the status.
func (e statusError) HTTPStatusCode() int { return int(e) }

// ErrorCode is how AWS's retries ask what kind of error it is.
func (e statusError) ErrorCode() string {
	switch int(e) {
	case http.StatusTooManyRequests:
		return "TooManyRequestsException"
	case http.StatusServiceUnavailable:
		return "SlowDown"
	}
	return ""
}

// read reads and closes the response, as one has to for the connection to be kept.
func read(resp *http.Response) error {
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return statusError(resp.StatusCode)
	}
	var envelope struct{ Success bool }
	if err := json.Unmarshal(body, &envelope); err != nil {
		return err
	}
	if !envelope.Success {
		return errors.New("no success")
	}
	return nil
}

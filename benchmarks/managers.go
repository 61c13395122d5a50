package main

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/auth0/go-auth0/management"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/okta/okta-sdk-golang/v6/okta"
	"github.com/workos/workos-go/v6/pkg/usermanagement"
)

const cognitoModule = "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"

// managers are the SDKs of other platforms that manage users, after this one. Each
// makes the call of its own platform that makes a user active, and is left at its
// defaults, but for AWS's adaptive mode, which its documentation offers.
var managers = []caller{
	callers[ours],
	{name: "Cognito (AWS)", module: cognitoModule, api: cognito, open: byCognito("")},
	{name: "Cognito, adaptive mode", module: cognitoModule, api: cognito, open: byCognito(aws.RetryModeAdaptive), spins: true},
	{name: "Okta", module: "github.com/okta/okta-sdk-golang/v6", api: oktaUnsuspend, open: byOkta, runsOn: true},
	{name: "Auth0", module: "github.com/auth0/go-auth0", api: auth0Unblock, open: byAuth0},
	{name: "WorkOS", module: "github.com/workos/workos-go/v6", api: workosReactivate, open: byWorkOS},
}

func byCognito(mode aws.RetryMode) opener {
	return func(base, token string, rt http.RoundTripper) (*session, error) {
		config := aws.Config{
			Region: "eu-central-1", BaseEndpoint: &base, RetryMode: mode,
			Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: token}, nil
			}),
		}
		if rt != nil {
			config.HTTPClient = &http.Client{Transport: rt}
		}
		client := cognitoidentityprovider.NewFromConfig(config)
		return &session{
			activate: func(ctx context.Context, id string) error {
				_, err := client.AdminEnableUser(ctx, &cognitoidentityprovider.AdminEnableUserInput{
					UserPoolId: new(poolID), Username: &id,
				})
				return err
			},
			client: client,
		}, nil
	}
}

func byOkta(base, token string, rt http.RoundTripper) (*session, error) {
	rt, err := anyServer(base, rt)
	if err != nil {
		return nil, err
	}
	config, err := okta.NewConfiguration(okta.WithOrgUrl(base), okta.WithToken(token), okta.WithHttpClientPtr(&http.Client{Transport: rt}))
	if err != nil {
		return nil, err
	}
	client := okta.NewAPIClient(config)
	return &session{
		activate: func(ctx context.Context, id string) error {
			_, err := client.UserLifecycleAPI.UnsuspendUser(ctx, id).Execute()
			return err
		},
		client: client,
	}, nil
}

func byAuth0(base, token string, rt http.RoundTripper) (*session, error) {
	rt, err := anyServer(base, rt)
	if err != nil {
		return nil, err
	}
	client, err := management.New(base, management.WithStaticToken(token), management.WithClient(&http.Client{Transport: rt}))
	if err != nil {
		return nil, err
	}
	return &session{
		activate: func(ctx context.Context, id string) error { return client.User.Unblock(ctx, id) },
		client:   client,
	}, nil
}

func byWorkOS(base, token string, rt http.RoundTripper) (*session, error) {
	client := usermanagement.NewClient(token)
	client.Endpoint = base
	client.HTTPClient.Transport = rt
	return &session{
		activate: func(ctx context.Context, id string) error {
			_, err := client.ReactivateOrganizationMembership(ctx, usermanagement.ReactivateOrganizationMembershipOpts{OrganizationMembership: id})
			return err
		},
		client: client,
	}, nil
}

// anyServer is the transport that it is given. Without one, it is one that takes the
// server at base as it is: Okta's SDK drops the port, and Auth0's insists on TLS.
func anyServer(base string, rt http.RoundTripper) (http.RoundTripper, error) {
	if rt != nil {
		return rt, nil
	}
	server, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: timeout, KeepAlive: timeout}).DialContext(ctx, network, server.Host)
	}
	return &http.Transport{DialContext: dial, DialTLSContext: dial, MaxIdleConns: 100, IdleConnTimeout: 90 * time.Second}, nil
}

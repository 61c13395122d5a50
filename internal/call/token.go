package call

import (
	"context"

	"github.com/flashbacknetwork/flashback-go/internal/attempt"
)

type refusedKey struct{}

// withRefused returns the context with which Client.Token is asked for another token. It has
// a func, because the text of a context shows its strings.
func withRefused(ctx context.Context, token string) context.Context {
	return context.WithValue(ctx, refusedKey{}, func() string { return token })
}

// RefusedToken returns the access token that has just got a 401, in the context with which
// Client.Token is asked for another one; else "".
func RefusedToken(ctx context.Context) string {
	if ctx == nil {
		return ""
	}
	if token, ok := ctx.Value(refusedKey{}).(func() string); ok {
		return token()
	}
	return ""
}

// getToken gets the access token for the next attempt.
func (c *call) getToken(ctx context.Context) error {
	if c.op.Auth == Anonymous {
		return nil
	}
	token, err := c.client.Token(ctx)
	if err != nil {
		if c.ctx.Err() != nil {
			c.addReason(c.contextEnded()) // The source's error need not say so.
		}
		return c.end(c.opaque(NoToken, attempt.NonNil(err)))
	}
	c.token = token
	c.hidden().AddToken(token)
	return nil
}

// renewToken gets another access token than the one that got a 401. If there is none, the
// 401 stands.
func (c *call) renewToken() error {
	refused := c.token
	if err := c.getToken(withRefused(c.ctx, refused)); err != nil {
		return err
	}
	if c.token == refused {
		return errEnded
	}
	c.state = c.state.AfterNewToken()
	c.logRetry()
	return nil
}

// reportRefusedToken tells the source of tokens of a 401 after which no retry is left, so
// that the next call has another token. This call fails with the 401, whatever comes of it.
func (c *call) reportRefusedToken() {
	if token, err := c.client.Token(withRefused(c.ctx, c.token)); err == nil {
		c.hidden().AddToken(token)
	}
}

// hideTokens redacts the tokens that the client knows of.
func (c *call) hideTokens() {
	if c.client.Secrets == nil {
		return
	}
	for _, token := range c.client.Secrets() {
		c.hidden().AddToken(token)
	}
}

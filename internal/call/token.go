package call

import (
	"context"

	"github.com/flashbacknetwork/flashback-go/internal/attempt"
)

type refusedKey struct{}

// RefusedToken returns the access token that has just got a 401, in the context with which
// Client.Token is asked for another one; else "".
func RefusedToken(ctx context.Context) string {
	if ctx == nil {
		return ""
	}
	token, _ := ctx.Value(refusedKey{}).(string)
	return token
}

// getToken gets the access token for the next attempt.
func (c *call) getToken(ctx context.Context) error {
	if c.op.Auth == Anonymous {
		return nil
	}
	token, err := c.client.Token(ctx)
	if err != nil {
		if c.ctx.Err() != nil {
			c.end(c.contextEnded()) // The source's error need not say so.
		}
		return c.end(c.opaque(NoToken, attempt.NonNil(err)))
	}
	c.token = token
	c.hide(token)
	return nil
}

// renewToken gets another access token than the one that got a 401. If there is none, the
// 401 stands.
func (c *call) renewToken() error {
	refused := c.token
	if err := c.getToken(context.WithValue(c.ctx, refusedKey{}, refused)); err != nil {
		return err
	}
	if c.token == refused {
		return errEnded
	}
	c.state = c.state.AfterNewToken()
	c.logRetry()
	return nil
}

// Package oauth2 lets a golang.org/x/oauth2 source give the access tokens of a client.
//
//	client, err := flashback.NewClient("", flashback.WithTokenSource(oauth2.Reuse(source)))
package oauth2

import (
	"context"
	"sync"

	"golang.org/x/oauth2"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// Reuse asks source for a token when the last one has ended, as oauth2.ReuseTokenSource
// does, and also when the server has refused it, which that can't know. One caller asks at
// a time, and the others wait.
func Reuse(source oauth2.TokenSource) func(context.Context) (string, error) {
	var mu sync.Mutex
	reuse := oauth2.ReuseTokenSource(nil, source)
	return func(ctx context.Context) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		token, err := reuse.Token()
		if err == nil && token.AccessToken == flashback.RefusedToken(ctx) {
			reuse = oauth2.ReuseTokenSource(nil, source)
			token, err = reuse.Token()
		}
		if err != nil {
			return "", err
		}
		return token.AccessToken, nil
	}
}

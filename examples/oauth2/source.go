// Package oauth2 lets a golang.org/x/oauth2 source give the access tokens of a client.
//
//	client, err := flashback.NewClient("", flashback.WithTokenSource(oauth2.Reuse(source)))
//
// Use it if an identity provider issues the tokens, and golang.org/x/oauth2 speaks its protocol: client
// credentials, a device flow, a metadata server. Such a source can get a token again at any time.
//
// Use flashback.Login and flashback.Resume if the tokens are those of the Flashback API's own login. Its refresh
// tokens may be good for one refresh only, and oauth2.ReuseTokenSource keeps the new one nowhere: with the end
// of the process, or if two processes renew at once, the session is lost. A flashback.Session locks the store,
// keeps the new tokens before it uses them, and has Close to wait for that.
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

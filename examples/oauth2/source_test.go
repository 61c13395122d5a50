package oauth2_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	xoauth2 "golang.org/x/oauth2"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/examples/oauth2"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

// source issues a token of the backend's each time.
type source struct {
	backend *flashbacktest.Backend
	issued  []string
}

func (s *source) Token() (*xoauth2.Token, error) {
	if len(s.issued) == 2 {
		return nil, errors.New("no more tokens")
	}
	s.issued = append(s.issued, s.backend.AddToken("owner"))
	return &xoauth2.Token{AccessToken: s.issued[len(s.issued)-1], Expiry: time.Now().Add(time.Hour)}, nil
}

func TestATokenIsReusedUntilItIsRefused(t *testing.T) {
	t.Parallel()
	backend := flashbacktest.NewBackend()
	tokens := &source{backend: backend}
	client := backend.ClientWithToken("", flashback.WithTokenSource(oauth2.Reuse(tokens)))
	get := func() error {
		_, err := client.Organization.Get(t.Context(), flashbacktest.DefaultOrg)
		return err
	}
	for range 3 {
		require.NoError(t, get())
	}
	assert.Len(t, tokens.issued, 1)
	backend.RevokeToken(tokens.issued[0])
	require.NoError(t, get())
	assert.Len(t, tokens.issued, 2)
	backend.RevokeToken(tokens.issued[1])
	require.ErrorIs(t, get(), flashback.ErrUnauthorized)
}

func TestTheControlReuseTokenSourceAloneKeepsARefusedToken(t *testing.T) {
	t.Parallel()
	backend := flashbacktest.NewBackend()
	tokens := &source{backend: backend}
	reuse := xoauth2.ReuseTokenSource(nil, tokens)
	first, err := reuse.Token()
	require.NoError(t, err)
	backend.RevokeToken(first.AccessToken)
	second, err := reuse.Token()
	require.NoError(t, err)
	assert.Equal(t, first, second)
}

package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEachRequestHasASpanUnderItsCallsAndTheyAreCounted(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out))
	assert.Equal(t, `organization.users.activate [flashback.attempts=3 flashback.recovered=true]
  POST organization.users.activate [http.response.status_code=503 error.type=503]
  POST organization.users.activate [http.request.resend_count=1 error.type=*errors.errorString]
  POST organization.users.activate [http.request.resend_count=2 http.response.status_code=400 error.type=400]
organization.users.delete [flashback.attempts=2 flashback.recovered=true]
  DELETE organization.users.delete [error.type=*errors.errorString]
  GET organization.users.get [http.request.resend_count=1 http.response.status_code=200]
flashback.call.attempts organization.users.activate [count=1 sum=3, up to [1 2 3 5]: [0 0 1 0 0]]
flashback.call.attempts organization.users.delete [count=1 sum=2, up to [1 2 3 5]: [0 1 0 0 0]]
`, out.String())
}

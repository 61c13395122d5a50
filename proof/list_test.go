package proof_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// plainUser is a user as one writes it for encoding/json.
type plainUser struct {
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

// lists are the two ways to read a list of n users, over the same transport.
func lists(tb testing.TB, n int) (sdk, hand func() (int, error)) {
	tb.Helper()
	var body bytes.Buffer
	body.WriteString(`{"success":true,"data":[`)
	for i := range n {
		if i > 0 {
			body.WriteByte(',')
		}
		deletedAt := "null"
		if i%10 == 0 {
			deletedAt = `"2026-11-20T12:34:56.789Z"`
		}
		fmt.Fprintf(&body, `{"id":"550e8400-e29b-41d4-a716-%012d","email":"user-%d@example.com","name":"Jane","lastName":"D\u00f6e","orgId":"org-1",`+
			`"orgRole":2,"orgRoleDescription":"WORKSPACES","orgRoles":[0,1,2],"validated":true,"deletedAt":%s}`, i, i, deletedAt)
	}
	fmt.Fprintf(&body, `],"total":%d}`, n)
	hc := &http.Client{Timeout: time.Minute, Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: http.StatusOK, Header: http.Header{}, ContentLength: int64(body.Len()), Request: req,
			Body: io.NopCloser(bytes.NewReader(body.Bytes())),
		}, nil
	})}
	client := clientOf(tb, flashback.DefaultBaseURL, flashback.WithHTTPClient(hc))
	sdk = func() (int, error) {
		list, err := client.Organization.Users.List(context.Background())
		if err != nil {
			return 0, err
		}
		return len(list.Users), nil
	}
	hand = func() (int, error) {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, flashback.DefaultBaseURL+"/organization/users", nil)
		if err != nil {
			return 0, err
		}
		resp, err := hc.Do(req)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			return 0, err
		}
		var list struct {
			Data  []plainUser `json:"data"`
			Total int         `json:"total"`
		}
		err = json.Unmarshal(text, &list)
		return len(list.Data), err
	}
	return sdk, hand
}

//nolint:paralleltest // AllocsPerRun counts the allocations of the whole process.
func TestAListAllocatesLittleMoreThanOneByHand(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates too")
	}
	const users = 2000
	sdk, hand := lists(t, users)
	allocations := func(list func() (int, error)) float64 {
		return testing.AllocsPerRun(5, func() {
			n, err := list()
			require.NoError(t, err)
			require.Equal(t, users, n)
		})
	}
	ours, theirs := allocations(sdk), allocations(hand)
	assert.LessOrEqual(t, ours, 1.2*theirs)
	t.Logf("%v allocations for %d users, by hand %v", ours, users, theirs)
}

func BenchmarkListOf100000(b *testing.B) {
	sdk, hand := lists(b, 100_000)
	for name, list := range map[string]func() (int, error){"sdk": sdk, "by hand": hand} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := list()
				require.NoError(b, err)
			}
		})
	}
}

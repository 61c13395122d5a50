package flashbacktest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

func Example() {
	backend := flashbacktest.NewBackend()
	backend.AddDeletedUser("user-1")

	activation, err := backend.Client().Organization.Users.Activate(context.Background(), "user-1")
	if err != nil {
		fmt.Println(err)
		return
	}
	user, _ := backend.User("user-1")
	fmt.Println(activation.Message)
	fmt.Println("deleted:", user.Deleted())
	// Output:
	// User activated successfully
	// deleted: false
}

// The first response is lost after the user was activated, so the second one says
// that there was nothing to do.
func ExampleLoseResponse() {
	backend := flashbacktest.NewBackend()
	backend.AddDeletedUser("user-1")
	backend.Script(flashbacktest.LoseResponse(flashbacktest.CutResponse))

	activation, err := backend.Client().Organization.Users.Activate(context.Background(), "user-1")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("attempts:", activation.Attempts)
	fmt.Println("recovered:", activation.Recovered)
	// Output:
	// attempts: 2
	// recovered: true
}

func ExampleBackend_Script() {
	backend := flashbacktest.NewBackend()
	backend.AddDeletedUser("user-1")
	backend.Script(
		flashbacktest.Drop(),
		flashbacktest.Respond(http.StatusBadGateway, "<html>Bad Gateway</html>"),
		flashbacktest.None(),
	)

	activation, err := backend.Client().Organization.Users.Activate(context.Background(), "user-1")
	fmt.Println(activation.Attempts, err)
	// Output: 3 <nil>
}

func ExampleBackend_ScriptFor() {
	backend := flashbacktest.NewBackend()
	backend.AddDeletedUser("user-1")
	backend.AddDeletedUser("user-2")
	backend.ScriptFor("user-2", flashbacktest.ApplyThenRespond(http.StatusInternalServerError, ""))

	client := backend.Client(flashback.WithMaxRetries(0))
	for _, id := range []string{"user-1", "user-2"} {
		_, err := client.Organization.Users.Activate(context.Background(), id)
		fmt.Println(id, "unknown:", errors.Is(err, flashback.ErrOutcomeUnknown))
	}
	// Output:
	// user-1 unknown: false
	// user-2 unknown: true
}

// The fault is for an ID that no request has.
func ExampleBackend_UnplayedFaults() {
	backend := flashbacktest.NewBackend()
	backend.AddDeletedUser("user-1")
	backend.ScriptFor("usr-1", flashbacktest.Drop())

	activation, err := backend.Client().Organization.Users.Activate(context.Background(), "user-1")
	fmt.Println(activation.Attempts, err)
	for id, faults := range backend.UnplayedFaults() {
		fmt.Println("not played:", id, len(faults))
	}
	// Output:
	// 1 <nil>
	// not played: usr-1 1
}

func ExampleBackend_Decide() {
	backend := flashbacktest.NewBackend()
	backend.AddDeletedUser("user-1")
	requests := 0
	backend.Decide(func(*http.Request) flashbacktest.Fault {
		if requests++; requests%2 == 1 { // every other request fails
			return flashbacktest.Respond(http.StatusServiceUnavailable, "")
		}
		return flashbacktest.None()
	})

	activation, err := backend.Client().Organization.Users.Activate(context.Background(), "user-1")
	fmt.Println(activation.Attempts, err)
	// Output: 2 <nil>
}

func ExampleRateLimited() {
	backend := flashbacktest.NewBackend()
	backend.Script(flashbacktest.RateLimited(2 * time.Minute))

	_, err := backend.Client().Organization.Users.Activate(context.Background(), "user-1")
	var e *flashback.Error
	if errors.As(err, &e) && errors.Is(err, flashback.ErrRateLimited) {
		fmt.Println("wait", e.RetryAfter)
	}
	// Output: wait 2m0s
}

func ExampleBackend_AddToken() {
	backend := flashbacktest.NewBackend()
	backend.AddDeletedUser("user-1")
	backend.AddUser(flashbacktest.User{ID: "jane", Role: flashback.RoleBilling})

	client := backend.ClientWithToken(backend.AddToken("jane"))
	_, err := client.Organization.Users.Activate(context.Background(), "user-1")
	fmt.Println("forbidden:", errors.Is(err, flashback.ErrForbidden))
	// Output: forbidden: true
}

func ExampleBackend_Requests() {
	backend := flashbacktest.NewBackend()
	backend.AddDeletedUser("a/b")

	if _, err := backend.Client().Organization.Users.Activate(context.Background(), "a/b"); err != nil {
		fmt.Println(err)
	}
	for _, request := range backend.Requests() {
		fmt.Println(request.Method, request.Path)
		fmt.Println("applied:", request.Applied)
	}
	// Output:
	// POST /organization/users/a%2Fb/activate
	// applied: true
}

// In a test, flashbacktest.New(t) does without the defer.
func ExampleNewServer() {
	server := flashbacktest.NewServer()
	defer server.Close()
	server.AddDeletedUser("user-1")

	client, err := flashback.NewClient(server.Token(), flashback.WithBaseURL(server.URL))
	if err != nil {
		fmt.Println(err)
		return
	}
	activation, err := client.Organization.Users.Activate(context.Background(), "user-1")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(activation.Message)
	// Output: User activated successfully
}

// A call that the client has no method for.
func ExampleBackend_Handle() {
	backend := flashbacktest.NewBackend()
	backend.Handle("GET /bucket/{id}", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"success": true, "name": "Bucket " + r.PathValue("id")})
	})

	request, err := http.NewRequest(http.MethodGet, flashback.DefaultBaseURL+"/bucket/b-1", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	request.Header.Set("Authorization", "Bearer "+backend.Token())
	response, err := backend.RoundTrip(request) // or as the Transport of an http.Client
	if err != nil {
		fmt.Println(err)
		return
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	fmt.Print(string(body))
	// Output: {"name":"Bucket b-1","success":true}
}

// A Backend of one's own goes behind any server, such as one with TLS.
func ExampleNewBackend() {
	backend := flashbacktest.NewBackend()
	backend.AddDeletedUser("user-1")
	server := httptest.NewTLSServer(backend)
	defer server.Close()

	client, err := flashback.NewClient(backend.Token(),
		flashback.WithBaseURL(server.URL),
		flashback.WithHTTPClient(server.Client()))
	if err != nil {
		fmt.Println(err)
		return
	}
	activation, err := client.Organization.Users.Activate(context.Background(), "user-1")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(activation.Message)
	// Output: User activated successfully
}

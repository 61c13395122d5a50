package call

import (
	"time"

	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

// Op is an operation: an endpoint, and what is known about repeating it.
type Op struct {
	Name   string // in errors and logs
	Method string
	Path   string // escaped; {id} stands for the ID
	Rule   verdict.Rule
	Auth   Auth

	// AlreadySo is the documented message of a 400 that says that it is so already.
	AlreadySo string
	// Documented are all documented messages of a 400, and what they are to errors.Is.
	Documented map[string]error
	Query      string // encoded
	// Read reads what the call is for from a body that is valid JSON. Its error says what
	// is missing, which fails the call if it is required. A [MisfitError] says that the
	// response is the server's all the same, so that another attempt would not help.
	Read     func(body []byte, in *Input) (any, error)
	Required bool // but in a 204, if that may be Empty
	Empty    bool
	// MaxBody is how many bytes of a response's body are read; 0 is 1 MiB.
	MaxBody int64
	// Grants says that a success has new tokens in it: no body but that of a refusal is shown,
	// and the connection is closed.
	Grants bool
	// Codes are documented error codes. They are shown in full, whatever secret is a part of one.
	Codes []string

	// ReadBack settles what the rule has settled by a read-back.
	ReadBack *ReadBack
}

// MisfitError is the error of a body that is what the operation reads, but not what was
// asked for.
type MisfitError struct{ What string }

func (e MisfitError) Error() string { return e.What }

// Auth is the Authorization that a request carries.
type Auth uint8

// The kinds of authorization.
const (
	Renewed   Auth = iota // a token, and another one after a 401
	Fixed                 // a token; a 401 may be about the body
	Anonymous             // none
)

// ReadBack is a read that tells whether an operation was applied.
type ReadBack struct {
	Op *Op
	// Judge judges what Op has read: begun is when the call began, and now is when it was
	// read, by the server's clock.
	Judge func(found any, begun, now time.Time) verdict.Reading
}

// Input is what the caller gives to a call.
type Input struct {
	ID       string
	Body     []byte // JSON; nil for none
	Password string // in the body: a secret
	Wanted   any    // what the body asks for, or what to decode into, for Read and the read-back

	KeepHeader bool // that of a success too
}

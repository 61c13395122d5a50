package call

import (
	"time"

	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

// Op is an operation: one endpoint of the API, and what is known about retrying it.
type Op struct {
	Name   string // in errors and logs
	Method string
	Query  string // encoded
	Rule   verdict.Rule
	Auth   Auth

	// Documented are the documented messages of refusals on which a program would act.
	Documented []Message
	// Required says that a success must have what the operation reads. AllowEmpty says that
	// a 204 is a success even so.
	Required, AllowEmpty bool
	// Body is which bodies a success may have.
	Body Body
	// MaxBody is how many bytes of a response's body are read; 0 stands for 1 MiB.
	MaxBody int64
	// Grants says that a success has tokens in it. So no body is shown but that of a refusal,
	// and the connection is closed.
	Grants bool
	// Codes are documented error codes. They are shown in full, whatever secret is a part of one.
	Codes []string
}

// Message is a documented message of a refusal.
type Message struct {
	Text string
	Kind error // what the error of the call matches
	// AlreadySo says that by this message the server refuses what is so already.
	AlreadySo bool
}

// Body is which bodies a success may have.
type Body uint8

// The kinds of bodies.
const (
	JSON    Body = iota
	NoPage       // any body or none, but no HTML page, which is a proxy's
	AnyBody      // any body or none, as it is
)

// Auth is the Authorization that a request carries.
type Auth uint8

// The kinds of authorization.
const (
	Renewed   Auth = iota // an access token, and another one after a 401
	Fixed                 // an access token; a 401 may be about the body
	Anonymous             // none
)

// Input is what one call is given beside its operation.
type Input struct {
	ID      string   // in errors and logs
	Path    string   // escaped
	Body    []byte   // JSON; nil for none
	Secrets []string // in the path, the query or the body: redacted wherever they would show

	// Read reads what the call is for from a 2xx that may be a success. It is called for each
	// attempt anew. Its error says what the body lacks. A [MismatchError] or a [WriteError] says
	// that the response is the server's all the same, so that a retry would not help.
	// A nil Read reads nothing.
	Read func(*Response) error
	// ReadBacker is asked for the read that settles ambiguous attempts, where the operation's
	// rule has one.
	ReadBacker ReadBacker

	KeepHeader bool // the header of a success is asked for
}

// ReadBacker has a read that settles the ambiguous attempts of a call.
type ReadBacker interface{ ReadBack() ReadBack }

// ReadBack is a read that finds out whether an operation was applied.
type ReadBack struct {
	Op   *Op
	Path string
	// Read reads what a success of Op shows. Its error says what the response lacks.
	Read func(*Response) (Finding, error)
	// NotFound is what a 404 with a documented message shows. The zero value stands for
	// nothing.
	NotFound verdict.Reading
}

// Finding is what a read-back has found.
type Finding struct {
	Reading verdict.Reading
	// Since is since when the server has been in the state that was found, by its own clock.
	// The zero time stands for a state that says nothing about that.
	Since time.Time
}

// MismatchError is the error of a body that has the form that was expected, and other
// content than was asked for.
type MismatchError struct{ What string }

func (e MismatchError) Error() string { return e.What }

// WriteError is the error of a body that could not be handed on to where the caller wants it.
type WriteError struct{ Err error }

func (e WriteError) Error() string { return "the body could not be written: " + e.Err.Error() }

// Unwrap returns the error of the caller's writer.
func (e WriteError) Unwrap() error { return e.Err }

package flashback

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/flashbacknetwork/flashback-go/internal/call"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

// connection is what NewClient gives to a client and to each of its services.
type connection struct {
	// settings is a func, because fmt and deep printers do not look inside functions: the
	// token stays hidden. It is nil in a value that NewClient has not made.
	settings func() *settings
}

func (c connection) conn() connection { return c }

// connected is a client or a service of type S.
type connected[S any] interface {
	*S
	conn() connection
}

var errNoClient = errors.New("it was not made by NewClient, which is where to get it")

// endpoint is one endpoint of the API, as data. T is what its calls return.
type endpoint[T any] struct {
	op       call.Op
	path     string // {id} and {userId} stand for the IDs in the args
	expects  string // in a success
	reserved string // an ID with which the path would be another endpoint's

	// read reads the result from a success; nil if there is nothing to read.
	read func(r *call.Response, in *args[T]) (*T, error)
	// result returns the result of a success from whose body nothing was read.
	result   func(o *call.Outcome, in *args[T]) *T
	readBack *readBack[T]
}

// readBack is a read that settles the ambiguous attempts of an endpoint.
type readBack[T any] struct {
	op   *call.Op
	path string
	// read reads what a success of op shows, and the result if that is as asked for.
	read func(r *call.Response, in *args[T]) (call.Finding, *T, error)
}

// args are what the caller gives to one call of an endpoint.
type args[T any] struct {
	id       string
	userID   string // of a user of the workspace that id names
	body     any    // encoded as JSON; nil for none
	password string // in the body
	wanted   *T     // what the body asks for
	// notFound is what a documented 404 to the read-back shows. The zero value stands for
	// nothing.
	notFound verdict.Reading
}

// do makes one call of an endpoint by way of s, a client or a service.
func do[T, S any, P connected[S]](ctx context.Context, s P, e *endpoint[T], in args[T]) (*T, error) {
	var c connection
	if s != nil {
		c = s.conn()
	}
	result, _, err := e.do(ctx, c, in)
	return result, err
}

// do makes one call of an endpoint.
func (e *endpoint[T]) do(ctx context.Context, c connection, in args[T]) (*T, *call.Outcome, error) {
	responseFor(ctx) // A call that sends nothing leaves it empty.
	path, err := e.fill(e.path, &in)
	if err != nil {
		return nil, nil, invalid(e.op.Name, in.id, err)
	}
	r := reader[T]{endpoint: e, in: in}
	input := call.Input{ID: in.id, Path: path}
	if in.password != "" {
		input.Secrets = []string{in.password}
	}
	if e.read != nil {
		input.Read = r.read
	}
	if e.readBack != nil {
		input.ReadBacker = &r
	}
	outcome, err := c.do(ctx, &e.op, e.expects, &input, in.body)
	if err != nil {
		return nil, outcome, err
	}
	if r.result == nil && e.result != nil {
		r.result = e.result(outcome, &r.in)
	}
	return r.result, outcome, nil
}

// reader keeps what the responses to one call show.
type reader[T any] struct {
	endpoint *endpoint[T]
	in       args[T]
	result   *T
}

func (r *reader[T]) read(response *call.Response) (err error) {
	r.result, err = r.endpoint.read(response, &r.in)
	return err
}

// ReadBack returns the read-back of the call. Its path has the IDs of the call's own, which
// were checked.
func (r *reader[T]) ReadBack() call.ReadBack {
	path, _ := r.endpoint.fill(r.endpoint.readBack.path, &r.in)
	read := func(response *call.Response) (finding call.Finding, err error) {
		finding, r.result, err = r.endpoint.readBack.read(response, &r.in)
		return finding, err
	}
	return call.ReadBack{Op: r.endpoint.readBack.op, Path: path, Read: read, NotFound: r.in.notFound}
}

// fill returns a path with the IDs in the places of {id} and {userId}, escaped.
func (e *endpoint[T]) fill(path string, in *args[T]) (string, error) {
	if in.id != "" && in.id == e.reserved {
		return "", fmt.Errorf("the ID %q is the name of another endpoint; give the real one", in.id)
	}
	for _, part := range [...]struct{ placeholder, name, id string }{{"{id}", "ID", in.id}, {"{userId}", "user ID", in.userID}} {
		if !strings.Contains(path, part.placeholder) {
			continue
		}
		if err := checkSegment(part.id); err != nil {
			return "", fmt.Errorf("the %s %w", part.name, err)
		}
		path = strings.Replace(path, part.placeholder, url.PathEscape(part.id), 1)
	}
	return path, nil
}

// do makes one call. expects is what a success should have in it.
func (c connection) do(ctx context.Context, op *call.Op, expects string, in *call.Input, body any) (*call.Outcome, error) {
	response := responseFor(ctx)
	switch {
	case c.settings == nil:
		return nil, invalid(op.Name, in.ID, errNoClient)
	case ctx == nil:
		return nil, invalid(op.Name, in.ID, errors.New("the context is nil; use context.Background()"))
	}
	if body != nil {
		var err error
		if in.Body, err = encode(body); err != nil {
			return nil, invalid(op.Name, in.ID, err)
		}
	}
	in.KeepHeader = response != nil
	caller := &c.settings().caller
	outcome := caller.Do(ctx, op, *in)
	if response != nil {
		*response = responseOf(outcome, time.Since(outcome.Begun))
	}
	if outcome.Verdict == verdict.Success || outcome.Verdict == verdict.Recovered {
		return outcome, nil
	}
	err := failure(op, expects, in.ID, outcome)
	if err.OutcomeUnknown {
		caller.LogCall(ctx, slog.LevelWarn, "flashback: outcome unknown", op.Name, in.ID, err.Attempts, slog.Any("error", err))
	}
	return outcome, err
}

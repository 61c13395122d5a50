package flashback

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/flashbacknetwork/flashback-go/internal/attempt"
)

// change is a change of the tokens while it runs. There is one at a time. It runs in a goroutine of its
// own, because a store may hang, and belongs to none of those who wait for it.
type change struct {
	op   string
	done chan struct{} // closed when the change has ended
	err  error
	sent bool // a request was begun; guarded by the renewer's mu
}

// change runs f while nothing else changes the tokens, and while the store is locked.
func (r *renewer) change(ctx context.Context, op string, f func(context.Context, TokenLock, Tokens) error) error {
	return r.alone(ctx, op, func(ctx context.Context) error { return r.withLock(ctx, op, f) })
}

// withLock runs f while the store is locked, with the tokens that are kept there.
func (r *renewer) withLock(ctx context.Context, op string, f func(context.Context, TokenLock, Tokens) error) (err error) {
	lock, err := r.store.Lock(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		late := waiting(ctx, op)
		late.Err = join(late.Err, r.storeError(op, err).Err)
		return late
	case err != nil:
		return r.storeError(op, err)
	case lock == nil:
		return r.storeError(op, errors.New("its Lock returned nil"))
	}
	defer func() {
		if failed := lock.Unlock(); failed != nil && err == nil {
			err = r.storeError(op, failed)
		}
	}()
	kept, err := lock.Load()
	if err != nil {
		return r.storeError(op, err)
	}
	if ctx.Err() != nil { // The store may have taken longer, and nothing is begun late.
		return waiting(ctx, op)
	}
	if kept.empty() {
		kept = Tokens{}
	} else if err := kept.check(r.baseURL); err != nil {
		return invalid(op, "", fmt.Errorf("the tokens in %s can't be used; remove them, or give another store: %w", r.nameOfStore(), err))
	}
	return f(ctx, lock, kept)
}

// nameOfStore returns what the store calls itself, such as the name of a file.
func (r *renewer) nameOfStore() string {
	if named, ok := r.store.(fmt.Stringer); ok {
		return named.String()
	}
	return "the token store"
}

// alone runs f while nothing else changes the tokens. A store may hang: the caller waits not much longer
// than ctx lasts, and f goes on.
func (r *renewer) alone(ctx context.Context, op string, f func(context.Context) error) error {
	if ctx == nil {
		return nilContext(op)
	}
	told := responseFor(ctx)
	var response Response
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.running != nil {
		running := r.running
		r.mu.Unlock()
		ended := running.wait(ctx, false)
		r.mu.Lock()
		if !ended {
			return waiting(ctx, op)
		}
	}
	running := r.start(WithResponse(ctx, &response), op, f)
	r.mu.Unlock()
	ended := running.wait(ctx, false)
	if !ended { // The request says soon how far it got.
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		ended = running.wait(after, false)
		cancel()
	}
	r.mu.Lock()
	if !ended {
		late := waiting(ctx, op)
		late.OutcomeUnknown = running.sent
		return late
	}
	if told != nil {
		*told = response
	}
	return running.err
}

// start runs f. r.mu is held, and nothing else runs.
func (r *renewer) start(ctx context.Context, op string, f func(context.Context) error) *change {
	c := &change{op: op, done: make(chan struct{})}
	r.running = c
	go func() {
		broken := errors.New("its goroutine was ended") // by runtime.Goexit, if this stays
		defer func() {
			if p := recover(); p != nil {
				broken = fmt.Errorf("panic: %v", p) // of the store, or of a transport
			}
			if broken != nil {
				c.err = r.storeError(op, broken)
			}
			r.end(ctx, c)
		}()
		c.err = f(ctx)
		broken = nil
	}()
	return c
}

// end tells those who wait for c that it has ended. A renewal that fails is logged, once, because whoever has
// a living token is told nothing else.
func (r *renewer) end(ctx context.Context, c *change) {
	r.mu.Lock()
	again := slices.Contains([]error{nil, r.failed, r.lost}, c.err) || errors.Is(c.err, ErrNoTokens)
	failed := c.renews() && !again
	if failed {
		c.err = ofRenewal(c.err)
		r.failed = c.err
		if errors.Is(c.err, ErrSessionLost) {
			r.lost = c.err
		}
	}
	r.running = nil
	r.mu.Unlock()
	defer close(c.done) // after the record, which those who are told of the failure may look for
	if failed {
		r.client.settings().caller.LogCall(ctx, slog.LevelWarn, "flashback: renewal failed", c.op, "", 0, slog.Any("error", c.err))
	}
}

func (c *change) renews() bool { return c.op == refreshTokens.op.Name }

// wait waits for the end of c within ctx, and not for long if the caller has a usable token.
func (c *change) wait(ctx context.Context, usable bool) bool {
	if usable {
		short, cancel := context.WithTimeout(ctx, patient(ctx))
		defer cancel()
		ctx = short
	}
	select {
	case <-c.done:
		return true
	case <-ctx.Done():
		return false
	}
}

func nilContext(op string) error {
	return invalid(op, "", errors.New("the context is nil; use context.Background()"))
}

// waiting is the error of a caller who has waited in vain.
func waiting(ctx context.Context, op string) *Error {
	err := fmt.Errorf("waiting for the session's tokens: %w", ctx.Err())
	if cause := attempt.NonNil(context.Cause(ctx)); !errors.Is(ctx.Err(), cause) {
		err = join(err, newOpaque(cause.Error(), cause))
	}
	return &Error{Op: op, Err: err}
}

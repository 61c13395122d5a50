package flashback_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

// deed is an operation as schedules are played to it.
type deed struct {
	name string
	// A call of one that changes something tells how often it took effect.
	changes bool
	once    bool // a second time is one too many
	settled bool // by looking
	call    func(ctx context.Context, c *flashback.Client, id string) (recovered bool, attempts int, err error)
	effects func(b *flashbacktest.Backend, id string) int
}

var deeds = []deed{
	{name: "list", call: func(ctx context.Context, c *flashback.Client, _ string) (bool, int, error) {
		list, err := c.Organization.Users.List(ctx)
		if err == nil && (list.Total != len(list.Users) || list.Total < 2) {
			err = fmt.Errorf("the list is %+v", list)
		}
		return false, 0, err
	}},
	{name: "get", call: func(ctx context.Context, c *flashback.Client, id string) (bool, int, error) {
		user, err := c.Organization.Users.Get(ctx, id)
		if err == nil && user.ID != id {
			err = fmt.Errorf("the user is %+v", user)
		}
		return false, 0, err
	}},
	{name: "create", changes: true, once: true, call: func(ctx context.Context, c *flashback.Client, id string) (bool, int, error) {
		_, err := c.Organization.Users.Create(ctx, flashback.NewUser{Email: id, Password: flashback.NewSecret("password")})
		return false, 0, err
	}, effects: func(b *flashbacktest.Backend, id string) (created int) {
		for _, u := range b.Users() {
			if u.Email == id {
				created++
			}
		}
		return created
	}},
	{name: "update", changes: true, call: func(ctx context.Context, c *flashback.Client, id string) (bool, int, error) {
		_, err := c.Organization.Users.Update(ctx, id, flashback.UserUpdate{Name: flashback.Ptr("New")})
		return false, 0, err
	}, effects: func(b *flashbacktest.Backend, id string) int {
		u, _ := b.User(id)
		return one(u.Name == "New")
	}},
	{name: "delete", changes: true, settled: true, call: func(ctx context.Context, c *flashback.Client, id string) (bool, int, error) {
		deletion, err := c.Organization.Users.Delete(ctx, id)
		if err != nil {
			return false, 0, err
		}
		return deletion.Recovered, deletion.Attempts, nil
	}, effects: func(b *flashbacktest.Backend, id string) int {
		u, _ := b.User(id)
		return one(u.Deleted())
	}},
	{name: "resend the invitation", changes: true, once: true, call: func(ctx context.Context, c *flashback.Client, id string) (bool, int, error) {
		invitation, err := c.Organization.Users.ResendInvitation(ctx, id)
		if err != nil {
			return false, 0, err
		}
		return false, invitation.Attempts, nil
	}, effects: func(b *flashbacktest.Backend, id string) int {
		u, _ := b.User(id)
		return u.Invitations
	}},
	{name: "get the organization", call: func(ctx context.Context, c *flashback.Client, _ string) (bool, int, error) {
		org, err := c.Organization.Get(ctx, flashbacktest.DefaultOrg)
		if err == nil && org.ID != flashbacktest.DefaultOrg {
			err = fmt.Errorf("the organization is %+v", org)
		}
		return false, 0, err
	}},
	{name: "update the organization", changes: true, call: func(ctx context.Context, c *flashback.Client, id string) (bool, int, error) {
		_, err := c.Organization.Update(ctx, flashbacktest.DefaultOrg, flashback.OrganizationUpdate{City: &id})
		return false, 0, err
	}, effects: func(b *flashbacktest.Backend, id string) int {
		o, _ := b.Organization(flashbacktest.DefaultOrg)
		return one(o.City == id)
	}},
}

func one(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// judge compares what the caller was told with what happened.
func (d *deed) judge(p *play, effects int, recovered bool, attempts int, err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	lost, final := p.saw()
	if d.once && effects > 1 {
		return fmt.Errorf("it took effect %d times", effects)
	}
	if err == nil {
		switch {
		case d.changes && effects == 0:
			return errors.New("success, and nothing happened")
		case recovered && !lost:
			return errors.New("recovered, and no answer was lost")
		case attempts != 0 && attempts != p.attempts:
			return fmt.Errorf("%d attempts, and there were %d", attempts, p.attempts)
		}
		return nil
	}
	var e *flashback.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("not an *Error: %w", err)
	}
	mayBeOnce := d.once && e.OutcomeUnknown // and so it is not repeated
	switch {
	case errors.Is(err, flashback.ErrOutcomeUnknown) != e.OutcomeUnknown:
		return errors.New("ErrOutcomeUnknown and OutcomeUnknown differ")
	case e.OutcomeUnknown && !d.changes:
		return errors.New("an unknown outcome of a call that changes nothing")
	case !e.OutcomeUnknown && effects > 0:
		return errors.New("a definite failure, and the call took effect")
	case e.OutcomeUnknown && !p.sent:
		return errors.New("an unknown outcome, and nothing was sent")
	case e.OutcomeUnknown && !lost && !p.ended:
		return errors.New("an unknown outcome, and no answer was lost")
	case errors.Is(err, flashback.ErrUserNotDeleted):
		return errors.New("user not deleted, and that is another operation's")
	case !p.ended && !final && !mayBeOnce:
		return fmt.Errorf("given up where it could succeed: %w", err)
	case p.ended && !final && (!mayBeOnce || !lost) && !errors.Is(err, context.Canceled):
		return fmt.Errorf("the context ended, and the error does not say so: %w", err)
	case e.Attempts > p.attempts+1, e.Attempts < p.attempts: // an attempt may end while it dials
		return fmt.Errorf("%d attempts, and there were %d", e.Attempts, p.attempts)
	}
	return nil
}

// TestEveryScheduleOfEveryOperation plays every sequence of up to two endings to
// each operation beside Activate, with a context that does not end and with one that
// ends at each point; and of up to three endings to a delete, which looks in between.
// With -short and the race detector, it is one less.
func TestEveryScheduleOfEveryOperation(t *testing.T) {
	t.Parallel()
	for _, d := range deeds {
		depth := depthOfSchedules() - 1
		if d.settled {
			depth++
		}
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			for _, first := range endings {
				t.Run(first.name, func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						h := newTheatre(t)
						schedules(first, depth, func(s []ending) {
							last := len(s) - 1
							h.playTo(t, &d, s, moment{})
							if len(s) == depthOfSchedules() {
								return
							}
							for _, end := range []moment{{beforeTheCall, last}, {received, last}, {answering, last}, {waiting, last}, {dialing, last + 1}} {
								h.playTo(t, &d, s, end)
							}
						})
						h.playTo(t, &d, nil, moment{dialing, 0})
					})
				})
			}
		})
	}
}

func (h *theatre) playTo(t *testing.T, d *deed, s []ending, end moment) {
	t.Helper()
	var (
		recovered bool
		attempts  int
		err       error
	)
	p := h.stage(s, end, func(id string) { h.backend.AddUser(flashbacktest.User{ID: id, Name: "Old"}) },
		func(ctx context.Context, id string) { recovered, attempts, err = d.call(ctx, h.client, id) })
	effects := 0
	if d.changes {
		effects = d.effects(h.backend, p.id)
	}
	if wrong := d.judge(p, effects, recovered, attempts, err); wrong != nil {
		t.Errorf("%v, context %+v: %v; told recovered %v, %v", s, end, wrong, recovered, err)
	}
}

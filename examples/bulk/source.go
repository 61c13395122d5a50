package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

// source is where IDs come from; the zero source has none but the store's.
type source struct {
	file  string // - is standard input
	since time.Time
	demo  bool // all deleted users
}

func (s *source) parseSince(when string) error {
	if ago, err := time.ParseDuration(when); err == nil && ago > 0 {
		s.since = time.Now().Add(-ago)
		return nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.ParseInLocation(layout, when, time.Local); err == nil {
			s.since = at
			return nil
		}
	}
	return errors.New("give a date like 2026-11-01, a time like 2026-11-01T08:00:00Z, or a duration like 48h")
}

func (s *source) read(ctx context.Context, client *flashback.Client, stdin io.Reader) ([]string, error) {
	switch {
	case s.file == "-":
		return readIDs("standard input", stdin)
	case s.file != "":
		f, err := os.Open(s.file)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }() // it was only read
		return readIDs(s.file, f)
	case s.demo || !s.since.IsZero():
		return s.list(ctx, client)
	}
	return nil, nil
}

// readIDs reads one ID a line; empty lines and those that begin with # are left out.
func readIDs(name string, r io.Reader) ([]string, error) {
	var ids []string
	lines := bufio.NewScanner(r)
	n := 0
	for lines.Scan() {
		n++
		id := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff"))
		switch {
		case !utf8.ValidString(id) || strings.ContainsRune(id, 0):
			return nil, fmt.Errorf("%s, line %d, is not UTF-8 text; convert the file", name, n)
		case id != "" && !strings.HasPrefix(id, "#"):
			ids = append(ids, id)
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return nil, fmt.Errorf("%s, line %d, is longer than 64 KiB, which is no ID", name, n+1)
	}
	return ids, lines.Err()
}

// list reads who has been deleted since the time. Whose date can't be read is among
// them, since nobody may be forgotten.
func (s *source) list(ctx context.Context, client *flashback.Client) ([]string, error) {
	list, err := client.Organization.Users.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the users: %w", err)
	}
	if list.Total > len(list.Users) {
		return nil, fmt.Errorf("the server has sent %d of %d users; give the IDs with -ids", len(list.Users), list.Total)
	}
	var ids []string
	for _, user := range list.Deleted() {
		if user.DeletedAt.IsZero() || !user.DeletedAt.Before(s.since) {
			ids = append(ids, user.ID)
		}
	}
	return ids, nil
}

// newDemo starts a fake backend with many deleted users, faults and a rate limit.
func newDemo() *flashbacktest.Server {
	demo := flashbacktest.NewServer()
	for i := range 5000 {
		demo.AddDeletedUser(fmt.Sprintf("user-%04d", i+1))
	}
	demo.LimitRate(400, 40)
	demo.Decide(trouble)
	return demo
}

// trouble is what can go wrong with one in ten requests.
func trouble(r *http.Request) flashbacktest.Fault {
	faults := []flashbacktest.Fault{
		flashbacktest.LoseResponse(flashbacktest.CutResponse),
		flashbacktest.LoseResponse(flashbacktest.CutBody),
		flashbacktest.Drop(),
		flashbacktest.ApplyThenRespond(http.StatusBadGateway, "<html>502 Bad Gateway</html>"),
		flashbacktest.Respond(http.StatusServiceUnavailable, ""),
	}
	if n := rand.N(10 * len(faults)); r.Method == http.MethodPost && n < len(faults) { //nolint:gosec // No secret.
		return faults[n]
	}
	return flashbacktest.None()
}

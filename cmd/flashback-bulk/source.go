package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/mail"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

// source is where users come from; the zero source has none but the store's.
type source struct {
	file         string // of IDs or e-mail addresses; - is standard input
	csv          string // of new users; - is standard input
	since        time.Time
	notValidated bool
	demo         bool // all deleted users
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

// read returns the users of a source, each once, in one order everywhere, so that no two
// machines wait for each other.
func (s *source) read(ctx context.Context, client *flashback.Client, stdin io.Reader) (users []user, err error) {
	switch {
	case s.csv != "":
		users, err = withFile(s.csv, stdin, readNewUsers)
	case s.file != "":
		var ids []string
		if ids, err = withFile(s.file, stdin, readIDs); err == nil {
			users, err = lookUp(ctx, client, ids)
		}
	case s.demo || s.notValidated || !s.since.IsZero():
		users, err = s.list(ctx, client)
	}
	slices.SortFunc(users, func(a, b user) int { return strings.Compare(a.ID, b.ID) })
	return slices.CompactFunc(users, func(a, b user) bool { return a.ID == b.ID }), err
}

func withFile[T any](name string, stdin io.Reader, read func(name string, r io.Reader) ([]T, error)) ([]T, error) {
	if name == "-" {
		return read("standard input", stdin)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	return read(name, f)
}

// readIDs reads one ID or e-mail address a line; empty lines and those that begin with # are
// left out. What looks like a spreadsheet is refused: its lines would be IDs of nobody.
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
		case id == "" || strings.HasPrefix(id, "#"):
		case len(ids) == 0 && (strings.ContainsAny(id, ",;\t\"") || slices.Contains([]string{"id", "userid", "email", "emailaddress", "user"}, columnName(id))):
			return nil, fmt.Errorf("%s, line %d, looks like the header of a spreadsheet (%s); give a file with one ID or e-mail address a line, and nothing else", name, n, printable(id))
		default:
			ids = append(ids, id)
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return nil, fmt.Errorf("%s, line %d, is longer than 64 KiB, which is no ID", name, n+1)
	}
	return ids, lines.Err()
}

// lookUp makes users of IDs and e-mail addresses, which are looked up in the list once.
func lookUp(ctx context.Context, client *flashback.Client, ids []string) ([]user, error) {
	users := make([]user, len(ids))
	var byAddress map[string][]string
	var bad []string
	for i, id := range ids {
		if users[i].ID = id; !strings.Contains(id, "@") {
			continue
		}
		if byAddress == nil {
			list, err := list(ctx, client)
			if err != nil {
				return nil, err
			}
			byAddress = map[string][]string{}
			for _, u := range list.Users {
				address := strings.ToLower(u.Email)
				byAddress[address] = append(byAddress[address], u.ID)
			}
		}
		switch found := byAddress[strings.ToLower(id)]; len(found) {
		case 0:
			bad = append(bad, printable(id)+" (nobody has this address)")
		case 1:
			users[i].ID = found[0]
		default:
			bad = append(bad, fmt.Sprintf("%s (%d users have this address; give an ID)", printable(id), len(found)))
		}
	}
	return users, problems("these e-mail addresses can't be looked up", bad)
}

// problems is an error with a line for each of what is bad, up to 20.
func problems(what string, bad []string) error {
	if len(bad) == 0 {
		return nil
	}
	if n := len(bad); n > 20 {
		bad = append(bad[:20:20], fmt.Sprintf("and %d more", n-20))
	}
	return fmt.Errorf("%s, so nothing was sent:\n  %s", what, strings.Join(bad, "\n  "))
}

func list(ctx context.Context, client *flashback.Client) (*flashback.UserList, error) {
	list, err := client.Organization.Users.List(ctx)
	if errors.Is(err, flashback.ErrIncompleteList) {
		return nil, fmt.Errorf("the server has sent %d of %d users; give the IDs with --ids", len(list.Users), list.Total)
	} else if err != nil {
		return nil, fmt.Errorf("listing the users: %w", err)
	}
	return list, nil
}

// list reads who has been deleted since the time, or has not validated the account. Whose
// date can't be read is among the deleted, since nobody may be forgotten.
func (s *source) list(ctx context.Context, client *flashback.Client) ([]user, error) {
	list, err := list(ctx, client)
	if err != nil {
		return nil, err
	}
	var users []user
	for _, u := range list.Users {
		deleted := u.Deleted() && (u.DeletedAt.IsZero() || !u.DeletedAt.Before(s.since))
		if s.notValidated && !u.Validated && !u.Deleted() || !s.notValidated && deleted {
			users = append(users, user{ID: u.ID})
		}
	}
	return users, nil
}

// columnName is a column's name without what people write differently.
func columnName(header string) string {
	return strings.NewReplacer(" ", "", "_", "", "-", "").Replace(strings.ToLower(strings.TrimSpace(header)))
}

// readNewUsers reads a spreadsheet of new users. Each bad row is in the error, by its line.
func readNewUsers(name string, r io.Reader) ([]user, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if !utf8.Valid(text) || bytes.ContainsRune(text, 0) {
		return nil, fmt.Errorf("%s is not UTF-8 text; convert the file", name)
	}
	table := csv.NewReader(bytes.NewReader(text))
	if header, _, _ := bytes.Cut(text, []byte("\n")); !bytes.Contains(header, []byte(",")) && bytes.Contains(header, []byte(";")) {
		table.Comma = ';' // as spreadsheets write where the comma is in numbers
	}
	table.FieldsPerRecord = -1 // a row of another length is named with the rest
	header, err := table.Read()
	if err != nil {
		return nil, fmt.Errorf("%s has no header line: %w", name, err)
	}
	columns, err := newUserColumns(header)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var users []user
	var bad []string
	seen := map[string]int{} // the line of each address
	for {
		row, err := table.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			bad = append(bad, err.Error()) // which has the line
			break
		}
		line, _ := table.FieldPos(0)
		u, why := newUser(columns, row, len(header))
		if first := seen[strings.ToLower(u.ID)]; why == "" && first > 0 {
			why = fmt.Sprintf("%s is in line %d, too", printable(u.ID), first)
		}
		if why != "" {
			bad = append(bad, fmt.Sprintf("line %d: %s", line, why))
			continue
		}
		seen[strings.ToLower(u.ID)] = line
		users = append(users, u)
	}
	return users, problems(name+" has bad rows", bad)
}

// newUserColumns finds the columns by their names.
func newUserColumns(header []string) (map[string]int, error) {
	columns := map[string]int{}
	for i, title := range header {
		name := columnName(title)
		switch name {
		case "email", "firstname", "lastname", "role", "authmethod":
			if _, twice := columns[name]; twice {
				return nil, fmt.Errorf("the column %s is there twice", printable(title))
			}
			columns[name] = i
		case "password":
			return nil, errors.New("take the column of passwords out: this command keeps what it has to do in a store, where no password may be; each user is sent an invitation")
		default:
			return nil, fmt.Errorf("there is no use for the column %q; the columns are email, firstName, lastName, role and authMethod", title)
		}
	}
	for _, name := range []string{"email", "firstname", "lastname"} {
		if _, there := columns[name]; !there {
			return nil, fmt.Errorf("the column %s is missing; email, firstName and lastName are needed", name)
		}
	}
	return columns, nil
}

// newUser reads a row, and says what is wrong with it.
func newUser(columns map[string]int, row []string, width int) (u user, wrong string) {
	if len(row) != width {
		return u, fmt.Sprintf("it has %d columns, and the header %d", len(row), width)
	}
	value := func(column string) string {
		if i, there := columns[column]; there {
			return strings.TrimSpace(row[i])
		}
		return ""
	}
	u = user{ID: value("email"), FirstName: value("firstname"), LastName: value("lastname"), AuthMethod: strings.ToUpper(value("authmethod"))}
	address, err := mail.ParseAddress(u.ID)
	methods := []flashback.AuthMethod{"", flashback.AuthLocal, flashback.AuthGoogle, flashback.AuthGitHub, flashback.AuthMicrosoft}
	role, errRole := parseRole(value("role"))
	switch {
	case err != nil || address.Address != u.ID:
		return u, fmt.Sprintf("%q is no e-mail address", u.ID)
	case u.FirstName == "" || u.LastName == "":
		return u, "a name is missing"
	case !slices.Contains(methods, flashback.AuthMethod(u.AuthMethod)):
		return u, fmt.Sprintf("%q is no authMethod; use LOCAL, GOOGLE, GITHUB or MICROSOFT", u.AuthMethod)
	case value("role") != "" && errRole != nil:
		return u, errRole.Error()
	case value("role") != "":
		u.Role = &role
	}
	return u, ""
}

func parseRole(name string) (flashback.Role, error) {
	for _, role := range []flashback.Role{flashback.RoleUser, flashback.RoleBilling, flashback.RoleWorkspaces, flashback.RoleAdministrators, flashback.RoleOwner} {
		if strings.EqualFold(strings.TrimSuffix(strings.ToUpper(name), "S"), strings.TrimSuffix(role.String(), "S")) {
			return role, nil
		}
	}
	return 0, fmt.Errorf("%q is no role; use USER, BILLING, WORKSPACES, ADMINISTRATORS or OWNER", name)
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
	if n := rand.N(10 * len(faults)); r.Method != http.MethodGet && n < len(faults) { //nolint:gosec // No secret.
		return faults[n]
	}
	return flashbacktest.None()
}

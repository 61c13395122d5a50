package flashback

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flashbacknetwork/flashback-go/internal/call"
	"github.com/flashbacknetwork/flashback-go/internal/jsonvalue"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

// userOf reads a user from a JSON object.
func userOf(object []byte) User {
	var u User
	for key, value := range jsonvalue.Members(object) {
		switch string(key) {
		case "id":
			u.ID, _ = jsonvalue.String(value)
		case "email":
			u.Email, _ = jsonvalue.String(value)
		case "name":
			u.Name, _ = jsonvalue.String(value)
		case "lastName":
			u.LastName, _ = jsonvalue.String(value)
		case "orgId":
			u.OrgID, _ = jsonvalue.String(value)
		case "orgRole":
			u.OrgRole = nil
			if role, ok := readRole(value); ok {
				u.OrgRole = &role
			}
		case "orgRoleDescription":
			u.OrgRoleDescription, _ = jsonvalue.String(value)
		case "orgRoles":
			u.OrgRoles = nil
			for element := range jsonvalue.Elements(value) {
				if role, ok := readRole(element); ok {
					if u.OrgRoles == nil {
						u.OrgRoles = make([]Role, 0, 4) // there are five
					}
					u.OrgRoles = append(u.OrgRoles, role)
				}
			}
		case "validated":
			u.Validated = string(value) == "true"
		case "deletedAt":
			u.DeletedAt = readDate(value)
		}
	}
	return u
}

// readUser reads the user that was asked for, bare or in an envelope.
func readUser(r *call.Response, in *args[User]) (*User, error) {
	object, err := findUser(r.Body, in.id)
	if err != nil {
		return nil, err
	}
	user := userOf(object)
	return &user, nil
}

// findUser returns the JSON object of the user with an ID.
func findUser(body []byte, wantedID string) ([]byte, error) {
	object := body
	if data := member(body, "data"); jsonvalue.Kind(data) == '{' {
		object = data
	}
	id, _ := jsonvalue.String(member(object, "id"))
	switch {
	case id == "":
		return nil, errors.New("no user that has an ID")
	case !sameID(id, wantedID):
		return nil, call.MismatchError{What: fmt.Sprintf("another user, %q", id)}
	}
	return object, nil
}

// member returns the value of a key: the last one, if the key is doubled.
func member(object []byte, key string) []byte {
	var found []byte
	for k, value := range jsonvalue.Members(object) {
		if string(k) == key {
			found = value
		}
	}
	return found
}

// readUserData reads the user in the envelope of a create or an update. It is the user of
// that call, in whatever way the server writes the ID and the address.
func readUserData(r *call.Response, _ *args[User]) (*User, error) {
	user := userOf(member(r.Body, "data"))
	if user.ID == "" {
		return nil, errors.New("no user that has an ID in its data")
	}
	return &user, nil
}

// readDeletedAt reads when a user was deleted: nil for a user who is not. A field that is
// missing or odd must not pass for null.
func readDeletedAt(body []byte, userID string) (*time.Time, error) {
	object, err := findUser(body, userID)
	if err != nil {
		return nil, err
	}
	value := member(object, "deletedAt")
	if value == nil {
		return nil, call.MismatchError{What: "a user without deletedAt"}
	}
	var at *time.Time
	err = json.Unmarshal(value, &at)
	if err == nil && at != nil && at.IsZero() { // the way of some languages to write that there is none
		return nil, call.MismatchError{What: "a user deleted in the year 1"}
	}
	return at, err
}

// findDeleted reads back a delete: since when the user has been deleted.
func findDeleted(r *call.Response, in *args[Deletion]) (call.Finding, *Deletion, error) {
	at, err := readDeletedAt(r.Body, in.id)
	if err != nil || at == nil {
		return call.Finding{Reading: verdict.NotDone}, nil, err
	}
	return call.Finding{Reading: verdict.Done, Since: *at}, nil, nil
}

// findActive reads back an activation.
func findActive(r *call.Response, in *args[Activation]) (call.Finding, *Activation, error) {
	at, err := readDeletedAt(r.Body, in.id)
	if err != nil || at != nil {
		return call.Finding{Reading: verdict.NotDone}, nil, err
	}
	return call.Finding{Reading: verdict.Done}, nil, nil
}

// readList reads a list of users.
func readList(r *call.Response) (*UserList, error) {
	list := &UserList{}
	var data []byte
	for key, value := range jsonvalue.Members(r.Body) {
		switch string(key) {
		case "data":
			data = value
		case "total":
			if n, ok := jsonvalue.Int(value); ok && n >= 0 {
				list.Total = n
			} else if string(value) != "null" {
				list.cut = "the total can't be read"
			}
		case "hasMore", "nextCursor":
			if v := string(value); v != "null" && v != "false" && v != `""` {
				list.cut = "it has " + string(key)
			}
		}
	}
	if jsonvalue.Kind(data) != '[' {
		return nil, errors.New("no list in its data")
	}
	list.Users = make([]User, 0, min(list.Total, len(data)/200)) // A user of fewer bytes than that is rare.
	for element := range jsonvalue.Elements(data) {
		user := userOf(element)
		if user.ID == "" {
			return nil, fmt.Errorf("an element %d that is no user with an ID", len(list.Users))
		}
		list.Users = append(list.Users, user)
	}
	list.cut = cmp.Or(list.cut, morePages(r.Header, len(list.Users)))
	if list.Total > len(list.Users) {
		list.cut = fmt.Sprintf("it has %d of %d users", len(list.Users), list.Total)
	}
	return list, nil
}

// morePages returns the sign in a header that there is more than a list of n elements, or "".
// None of these is documented; they are what paginated APIs have.
func morePages(h http.Header, n int) string {
	if slices.ContainsFunc(h.Values("Link"), nextPage.MatchString) {
		return "its Link has a next page"
	}
	if total := h.Get("X-Total-Count"); total != "" {
		if count, err := strconv.ParseUint(strings.TrimSpace(total), 10, 31); err != nil || int(count) > n {
			return "X-Total-Count is " + total
		}
	}
	return ""
}

var nextPage = regexp.MustCompile(`(?i);\s*rel\s*=\s*"?[^";,]*\bnext\b`)

// findCreated reads back a create: the user with the e-mail address that was asked for.
func findCreated(r *call.Response, in *args[User]) (call.Finding, *User, error) {
	list, err := readList(r)
	if err != nil {
		return call.Finding{}, nil, err
	}
	i := 0
	for element := range jsonvalue.Elements(member(r.Body, "data")) {
		u := &list.Users[i]
		i++
		if !sameEmail(u.Email, in.wanted.Email) {
			continue
		}
		role := string(member(element, "orgRole"))
		oddRole := u.OrgRole == nil && role != "" && role != "null"
		if oddRole || u.Deleted() || u.Name != in.wanted.Name || u.LastName != in.wanted.LastName || u.role() != in.wanted.role() {
			return call.Finding{Reading: verdict.Other}, nil, nil
		}
		return call.Finding{Reading: verdict.Done}, u, nil
	}
	if list.cut != "" {
		return call.Finding{}, nil, errors.New("a list that is cut: " + list.cut)
	}
	return call.Finding{Reading: verdict.NotDone}, nil, nil
}

// readDate reads a date: nil if there is none, and the zero time if it can't be read.
func readDate(value []byte) *time.Time {
	switch string(value) {
	case "null", `""`, "false", "0":
		return nil
	}
	text, _ := jsonvalue.String(value)
	at, _ := time.Parse(time.RFC3339, text) // else the zero time: something is there
	return &at
}

func readRole(value []byte) (Role, bool) {
	number, ok := jsonvalue.Int(value)
	return Role(number), ok && number >= 0 && number <= math.MaxUint8
}

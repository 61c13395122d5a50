package flashback

import (
	"bytes"
	"context"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/flashbacknetwork/flashback-go/internal/call"
	"github.com/flashbacknetwork/flashback-go/internal/redact"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

// operation is one endpoint of the API as data.
type operation struct {
	call.Op

	expects string // in a success
	taken   string // an ID with which the path would be another endpoint's
}

// caller gives the client that makes the calls of a service. It is nil in a service
// that NewClient has not made.
type caller func() *call.Client

var errNoClient = errors.New("it was not made by NewClient, which is where to get it")

// do carries out a call of an operation.
func (c caller) do(ctx context.Context, op *operation, in call.Input, body any) (call.Outcome, error) {
	response := responseFor(ctx)
	switch {
	case c == nil:
		return call.Outcome{}, invalid(op.Name, in.ID, errNoClient)
	case ctx == nil:
		return call.Outcome{}, invalid(op.Name, in.ID, errors.New("the context is nil; use context.Background()"))
	}
	if strings.Contains(op.Path, "{id}") {
		if err := op.checkID(in.ID); err != nil {
			return call.Outcome{}, invalid(op.Name, in.ID, err)
		}
	}
	if body != nil {
		var err error
		if in.Body, err = json.Marshal(body); err != nil {
			err = newForeign(err.Error(), err) // a MarshalJSON may fail with the error of another call
		} else if bytes.Contains(in.Body, []byte(`"`+redact.Mark+`"`)) {
			err = errors.New(`the body has "[redacted]" in it, as a Secret is encoded; use its Reveal`)
		} else if err = checkText(reflect.ValueOf(body)); err == nil && !utf8.Valid(in.Body) {
			err = errNotUTF8
		}
		if err != nil {
			return call.Outcome{}, invalid(op.Name, in.ID, err)
		}
	}
	client, begun := c(), time.Now()
	in.KeepHeader = response != nil
	outcome := client.Do(ctx, &op.Op, &in)
	if response != nil {
		*response = responseOf(&outcome, time.Since(begun))
	}
	if outcome.Verdict == verdict.Success || outcome.Verdict == verdict.Recovered {
		return outcome, nil
	}
	err := failure(op, in.ID, &outcome)
	if err.OutcomeUnknown {
		client.LogCall(ctx, slog.LevelWarn, "flashback: outcome unknown", op.Name, in.ID, err.Attempts, slog.Any("error", err))
	}
	return call.Outcome{}, err // what a failure has found is not what the caller asked for
}

// checkID refuses what can't be an ID.
func (op *operation) checkID(id string) error {
	if id == op.taken && id != "" {
		return fmt.Errorf("the ID %q is the name of another endpoint; give the real one", id)
	}
	if err := checkSegment(id); err != nil {
		return fmt.Errorf("the ID %w", err)
	}
	return nil
}

// checkSegment says what is wrong with a value that can't be one segment of a path, as
// the rest of a sentence. Servers and proxies drop or resolve such segments even when they
// are escaped, so that another endpoint would be called.
func checkSegment(value string) error {
	switch {
	case strings.TrimSpace(value) == "":
		return errors.New("is empty")
	case value == "." || value == "..":
		return errors.New("is a path segment with a meaning of its own; give the real one")
	case !utf8.ValidString(value):
		return errors.New("is not valid UTF-8; convert it")
	case strings.ContainsFunc(value, invisible):
		return errors.New("has control or invisible characters (a newline? a byte order mark?); use strings.TrimSpace, or remove them")
	}
	return nil
}

// invisible tells whether a character does not show. A space does, of whatever width.
func invisible(r rune) bool {
	return !unicode.IsGraphic(r) || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

var errNotUTF8 = errors.New("a text is not valid UTF-8; convert it")

// checkText refuses text that is not UTF-8, which encoding/json has written as something
// else: that would be a silent change of a password. It looks where encoding/json has, which
// ended: not into what encodes itself.
func checkText(v reflect.Value) error {
	if !v.IsValid() || (v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface) && v.IsNil() {
		return nil
	}
	self := v
	if v.Kind() != reflect.Pointer && v.CanAddr() {
		self = v.Addr()
	}
	if self.CanInterface() {
		switch by := self.Interface().(type) {
		case json.Marshaler:
			return nil
		case encoding.TextMarshaler:
			if text, err := by.MarshalText(); err != nil || !utf8.Valid(text) {
				return errNotUTF8
			}
			return nil
		}
	}
	switch v.Kind() { //nolint:exhaustive // All others have no text.
	case reflect.String:
		if !utf8.ValidString(v.String()) {
			return errNotUTF8
		}
	case reflect.Pointer, reflect.Interface:
		return checkText(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			if field := v.Type().Field(i); !field.IsExported() && !field.Anonymous || field.Tag.Get("json") == "-" {
				continue
			}
			if err := checkText(v.Field(i)); err != nil {
				return err
			}
		}
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return nil // not text
		}
		for i := range v.Len() {
			if err := checkText(v.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Map:
		for key, value := range v.Seq2() {
			if err := errors.Join(checkText(key), checkText(value)); err != nil {
				return err
			}
		}
	}
	return nil
}

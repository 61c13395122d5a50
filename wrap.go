package flashback

import (
	"context"
	"errors"
	"strings"
	"unicode"
)

// opaqueError is an error of the network or of the caller's code. It matches what it is,
// but never what only a call itself can say: a kind of failure, an [*Error], or the end of
// the caller's context.
type opaqueError struct {
	text string // redacted
	// err is a func, because printers do not look inside functions: an error may hold a
	// request. It returns nil if the error matches nothing.
	err func() error
}

func newOpaque(text string, err error) opaqueError {
	return opaqueError{text, func() error { return err }}
}

func (e opaqueError) Error() string { return e.text }

func (e opaqueError) Is(target error) bool {
	_, isKind := target.(*kindError)
	_, isError := target.(*Error)
	reserved := isKind || isError || target == ErrNotSent || target == context.Canceled || target == context.DeadlineExceeded
	return !reserved && errors.Is(e.err(), target)
}

func (e opaqueError) As(target any) bool {
	switch target.(type) {
	case **Error, **kindError, **MFARequiredError: // A MFARequiredError has a session.
		return false
	}
	return errors.As(e.err(), target)
}

// multiError matches all of its errors. Its text is its own.
type multiError struct {
	text string
	errs []error
}

func (e *multiError) Error() string { return e.text }

func (e *multiError) Unwrap() []error { return e.errs }

// join returns an error that matches all of errs and whose text is theirs in one line:
// nil, or the only one, if there are no more.
func join(errs ...error) error {
	var texts []string
	var all []error
	for _, err := range errs {
		if err != nil {
			texts, all = append(texts, err.Error()), append(all, err)
		}
	}
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	return &multiError{strings.Join(texts, ": "), all}
}

// kindsIn returns the kinds that are in the tree of err.
func kindsIn(err error) (kinds []error) {
	switch e := err.(type) { //nolint:errorlint // This walks the tree itself.
	case *kindError:
		kinds = append(kinds, e)
	case interface{ Unwrap() error }:
		kinds = kindsIn(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			kinds = append(kinds, kindsIn(one)...)
		}
	}
	return kinds
}

// oneLine returns the first n characters of a text that may come from elsewhere, as one
// line.
func oneLine(text string, n int) string {
	count := 0
	for i := range text {
		if count == n {
			text = text[:i] + "…"
			break
		}
		count++
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text)
}

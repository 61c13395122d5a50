package flashback

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
)

// next is what may follow an attempt.
type next int

const (
	giveUp       next = iota // the answer stands
	tryAgain                 // repeating may help
	renewToken               // repeating may help with another token
	done                     // the call has succeeded
	wasNotNeeded             // it is so already: a success if an attempt before may have done it
)

// attempt is one request and what came of it.
type attempt struct {
	answer *answer // nil if none came
	err    error   // why there is no whole answer
	sent   bool    // without an answer: the request may have gone out
}

// judge is the table of attempts: whether one may have taken effect, and what may
// follow it.
func (a *attempt) judge(op *operation) (effect bool, then next) {
	if a.err != nil {
		switch {
		case a.sent:
			return true, tryAgain
		case handshakeFailed(a.err):
			return false, giveUp
		}
		return false, tryAgain
	}
	switch status := a.answer.status; {
	case status >= 200 && status < 300 && a.answer.envelope && a.answer.success:
		if op.repeat == reads && a.answer.data == nil {
			return false, giveUp
		}
		return true, done
	case status >= 200 && status < 300 && !a.answer.envelope:
		return true, tryAgain
	case status == http.StatusNotImplemented, status == http.StatusHTTPVersionNotSupported:
		return false, giveUp
	case status == http.StatusRequestTimeout, status >= 500 && status < 600:
		return true, tryAgain
	case status == http.StatusTooEarly, status == http.StatusTooManyRequests:
		return false, tryAgain
	case status == http.StatusUnauthorized:
		return false, renewToken
	case a.answer.saysNotNeeded(op):
		return false, wasNotNeeded
	}
	return false, giveUp
}

// handshakeFailed tells whether the other side presented a certificate or a
// protocol that won't do. Then nothing was sent, and nothing will be: that does
// not heal in seconds, as everything else may.
func handshakeFailed(err error) bool {
	var (
		verification *tls.CertificateVerificationError
		authority    x509.UnknownAuthorityError
		hostname     x509.HostnameError
		invalid      x509.CertificateInvalidError
		roots        x509.SystemRootsError
		notTLS       tls.RecordHeaderError
	)
	return errors.As(err, &verification) || errors.As(err, &authority) || errors.As(err, &hostname) ||
		errors.As(err, &invalid) || errors.As(err, &roots) || errors.As(err, &notTLS) ||
		errors.Is(err, http.ErrSchemeMismatch)
}

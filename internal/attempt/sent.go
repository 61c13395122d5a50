package attempt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"reflect"
)

// ErrNotSent is for a transport to return that has not sent the request.
var ErrNotSent = errors.New("the request was not sent")

// NonNil returns err, or another error in its place if err holds a nil pointer, which may
// panic when it is asked for its text. Other code made err.
func NonNil(err error) error {
	if v := reflect.ValueOf(err); v.Kind() == reflect.Pointer && v.IsNil() {
		return fmt.Errorf("an error that is a nil %T", err)
	}
	return err
}

// neverSent tells whether an error alone proves that a request was never sent.
func neverSent(err error) bool {
	var (
		op  *net.OpError
		dns *net.DNSError
	)
	_, alert := handshakeAlert(err)
	dialing := errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect" || op.Op == "socks connect")
	return dialing || alert || errors.As(err, &dns) || handshakeFailed(err)
}

// notEstablished is the text of an error of net/http, which can't be named: the server
// ended a new HTTP/2 connection before anything was written of the first request on it.
// With TLS 1.3 that may be a handshake's alert, which then is not told.
const notEstablished = "http2: client conn could not be established"

// permanent tells whether the reason why a request was not sent does not heal in
// seconds: a certificate of either side, a server without TLS, a proxy that refuses.
func permanent(err error) bool {
	alert, ok := handshakeAlert(err)
	var refused ProxyRefusedError
	return handshakeFailed(err) || ok && handshakeAlerts[alert] || errors.As(err, &refused) ||
		// net/http's own error of a proxy's refusal is nothing but its reason.
		err.Error() == http.StatusText(http.StatusProxyAuthRequired) || err.Error() == http.StatusText(http.StatusForbidden)
}

// handshakeFailed tells whether the server presented a certificate that won't do, or
// does not speak TLS.
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

// handshakeAlerts are the alerts that a server sends only during a handshake, by their
// numbers in RFC 8446 and RFC 5246. The value says whether the alert is about the
// client's certificate, and so permanent.
var handshakeAlerts = map[tls.AlertError]bool{
	40:  false, // handshake_failure
	41:  true,  // no_certificate
	42:  true,  // bad_certificate
	43:  true,  // unsupported_certificate
	44:  true,  // certificate_revoked
	45:  true,  // certificate_expired
	46:  true,  // certificate_unknown
	47:  false, // illegal_parameter
	48:  true,  // unknown_ca
	49:  true,  // access_denied
	50:  false, // decode_error
	51:  false, // decrypt_error
	70:  false, // protocol_version
	71:  false, // insufficient_security
	86:  false, // inappropriate_fallback
	109: false, // missing_extension
	110: false, // unsupported_extension
	112: false, // unrecognized_name
	113: true,  // bad_certificate_status_response
	115: false, // unknown_psk_identity
	116: true,  // certificate_required
	120: false, // no_application_protocol
}

// handshakeAlert returns the alert by which the server has ended a handshake, if err is one.
func handshakeAlert(err error) (tls.AlertError, bool) {
	if alert, ok := errors.AsType[tls.AlertError](err); ok {
		_, ok = handshakeAlerts[alert]
		return alert, ok
	}
	// crypto/tls has a type of its own for an alert that came, which can't be named.
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" && op.Err != nil {
		for alert := range handshakeAlerts {
			if op.Err.Error() == alert.Error() {
				return alert, true
			}
		}
	}
	return 0, false
}

// ProxyRefusedError is a proxy's 407 or 403 to a CONNECT.
type ProxyRefusedError struct{ Status int }

func (e ProxyRefusedError) Error() string {
	return fmt.Sprintf("the proxy answered %d %s", e.Status, http.StatusText(e.Status))
}

// OnProxyConnectResponse is for the field of that name of http.Transport. It reports a
// refusal by the proxy's status, because the text of net/http's own error is whatever the
// proxy wrote.
func OnProxyConnectResponse(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusProxyAuthRequired || resp.StatusCode == http.StatusForbidden {
		return ProxyRefusedError{resp.StatusCode}
	}
	return nil
}

// proxyFailed tells whether err is that of the Proxy function of an *http.Transport,
// which fails before anything is traced. The function is called again, since its error
// has no type and no text of its own.
func proxyFailed(transport http.RoundTripper, req *http.Request, err error) bool {
	t, ok := transport.(*http.Transport)
	if !ok || t.Proxy == nil {
		return false
	}
	_, failed := t.Proxy(req)
	return failed != nil && failed.Error() == err.Error()
}

package flashback

import (
	"context"
	"errors"
	"net/http"

	"github.com/flashbacknetwork/flashback-go/internal/call"
	"github.com/flashbacknetwork/flashback-go/internal/jsonvalue"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

var (
	verifyMFA = endpoint[grant]{
		op: call.Op{
			Name: "mfa.verifyLogin", Method: http.MethodPost,
			Rule: verdict.Rule{Retry: verdict.Idempotent}, Auth: call.Fixed, Required: true, Grants: true,
		},
		path: "/mfa/verify-login", expects: "tokens",
		read: readGrant("fullAccessToken"),
	}
	mfaStatus = endpoint[MFARequiredError]{
		op: call.Op{
			Name: "mfa.status", Method: http.MethodGet,
			Rule: verdict.Rule{Retry: verdict.Safe}, Auth: call.Fixed, Required: true,
		},
		path: "/mfa/status", expects: "an object",
		read: readMFA,
	}
)

// MFAType is a kind of second factor.
type MFAType string

// The kinds of second factor. A passkey needs a browser.
const (
	MFAGoogleAuth MFAType = "GOOGLE_AUTH" // a code of an app
	MFAMagicLink  MFAType = "MAGIC_LINK"  // the token in a link that was mailed
	MFAPasskey    MFAType = "PASSKEY"
)

// MFA is the code of [MFAGoogleAuth], or the token of [MFAMagicLink].
type MFA struct {
	Type MFAType
	Code Secret
}

// MFARequiredError is in the error of a [Login] that needs a second factor.
type MFARequiredError struct {
	// Session has few rights until [Session.VerifyMFA], and is not kept before.
	Session *Session
	// Methods are the user's factors, and Primary the one to ask for first; "" if the server
	// does not say.
	Methods []MFAType
	Primary MFAType
}

func (*MFARequiredError) Error() string {
	return "the login needs a second factor; call VerifyMFA of the Session in the *MFARequiredError"
}

// readMFA reads whether the token needs a second factor: nil, if it does not.
func readMFA(r *call.Response, _ *args[MFARequiredError]) (*MFARequiredError, error) {
	data := member(r.Body, "data")
	if jsonvalue.Kind(data) != '{' {
		return nil, errors.New("no data")
	}
	on := false
	for _, key := range []string{"isEnabled", "isRequired", "isEnforced"} {
		on = on || string(member(data, key)) == "true"
	}
	if !on || string(member(data, "sessionVerified")) != "false" {
		return nil, nil //nolint:nilnil // No second factor is needed.
	}
	var mfa MFARequiredError
	for value := range jsonvalue.Elements(member(data, "enabledMethods")) {
		if method, ok := jsonvalue.String(value); ok {
			mfa.Methods = append(mfa.Methods, MFAType(method))
		}
	}
	primary, _ := jsonvalue.String(member(data, "primaryMethod"))
	mfa.Primary = MFAType(primary)
	return &mfa, nil
}

// needsMFA asks once, and not for long: without a response, the calls of the session will
// tell.
func (s *session) needsMFA(ctx context.Context, tokens Tokens) *MFARequiredError {
	ctx, cancel := context.WithTimeout(WithResponse(ctx, nil), patient(ctx))
	defer cancel()
	ask := s.with(tokens)
	ask.settings().caller.Retry.MaxRetries = 0
	mfa, _, _ := mfaStatus.do(ctx, ask, args[MFARequiredError]{})
	return mfa
}

// VerifyMFA gives the session the rights of a login with a second factor, and other tokens.
// It is repeated. If the outcome is unknown, the code may be spent: use another.
func (s *Session) VerifyMFA(ctx context.Context, mfa MFA) error {
	state, err := s.of(ctx, verifyMFA.op.Name)
	if err != nil {
		return err
	}
	code := mfa.Code.Reveal()
	body := map[string]string{"mfaType": string(mfa.Type), "code": code}
	switch {
	case code == "":
		return invalid(verifyMFA.op.Name, "", errors.New("the code is empty"))
	case mfa.Type == MFAMagicLink:
		body = map[string]string{"mfaType": string(mfa.Type), "token": code}
	case mfa.Type != MFAGoogleAuth:
		return invalid(verifyMFA.op.Name, "", errors.New("the type must be GOOGLE_AUTH or MAGIC_LINK"))
	}
	return state.send(ctx, verifyMFA.op.Name, func(c connection, newest Tokens) (Tokens, error) {
		granted, outcome, err := verifyMFA.do(ctx, c, args[grant]{password: code, body: body})
		if err != nil {
			return Tokens{}, err
		}
		return state.granted(granted, outcome, newest), nil
	})
}

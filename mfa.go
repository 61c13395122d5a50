package flashback

import (
	"context"
	"errors"
)

// MFAType is a kind of second factor.
type MFAType string

// The kinds of second factor that [PendingLogin.Verify] takes. The server knows others, such as
// "PASSKEY", which needs a browser.
const (
	MFAGoogleAuth MFAType = "GOOGLE_AUTH" // a code of an app
	MFAMagicLink  MFAType = "MAGIC_LINK"  // the token in a link that was mailed
)

// MFA is the code of [MFAGoogleAuth], or the token of [MFAMagicLink].
type MFA struct {
	Type MFAType
	Code Secret
}

// MFARequiredError is in the error of a [Login] that needs a second factor. Its Verify completes the login.
type MFARequiredError struct {
	*PendingLogin

	// Methods are the user's second factors, and Primary is the one to ask for first; "" if the server
	// does not say.
	Methods []MFAType
	Primary MFAType
}

func (*MFARequiredError) Error() string {
	return "the login needs a second factor; call Verify of the *MFARequiredError"
}

// PendingLogin is a login that waits for its second factor. It is no session yet: nothing of it is kept, and
// after the hour of its token the user has to log in anew.
type PendingLogin struct {
	// verify is a func, because fmt and deep printers do not look inside functions: the tokens stay hidden.
	verify func(ctx context.Context, code string, body map[string]string) (*Session, error)
}

// Verify completes the login, and returns the session, with the options of the [Login]. It is retried, because
// a code that was verified twice does no harm. If the outcome is unknown, the code may be spent: use
// another one. If only the tokens could not be kept, call Verify again: they are offered to the store
// once more, and nothing is sent.
func (p *PendingLogin) Verify(ctx context.Context, mfa MFA) (*Session, error) {
	code := mfa.Code.Reveal()
	body := map[string]string{"mfaType": string(mfa.Type), "code": code}
	var err error
	switch {
	case p == nil || p.verify == nil:
		err = errors.New("the pending login was not made by Login")
	case ctx == nil:
		err = errors.New("the context is nil; use context.Background()")
	case code == "":
		err = errors.New("the code is empty")
	case mfa.Type == MFAMagicLink:
		body = map[string]string{"mfaType": string(mfa.Type), "token": code}
	case mfa.Type != MFAGoogleAuth:
		err = errors.New("the type must be GOOGLE_AUTH or MAGIC_LINK")
	}
	if err != nil {
		return nil, invalid(verifyMFA.op.Name, "", err)
	}
	return p.verify(ctx, code, body)
}

// pendingLogin returns the login to which limited was granted. limited has few rights.
func (r *renewer) pendingLogin(limited Tokens) *PendingLogin {
	var granted Tokens // of a verification; not kept yet
	return &PendingLogin{func(ctx context.Context, code string, body map[string]string) (*Session, error) {
		return r.logIn(ctx, verifyMFA.op.Name, func(ctx context.Context) (_ Tokens, err error) {
			if granted.empty() {
				granted, err = r.requestVerify(ctx, limited, code, body)
			}
			return granted, err
		})
	}}
}

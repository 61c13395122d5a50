package flashback

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"sync"

	"github.com/flashbacknetwork/flashback-go/internal/redact"
)

// Secret is a text, such as a password, that no printer, encoder or log shows. Those with
// the same text are equal.
type Secret struct {
	// masked is not the text, so that no printer that looks into everything shows it, and
	// comparable, which a function would not be.
	masked string
}

// key is this process's own.
var key = sync.OnceValue(func() []byte {
	k := make([]byte, 32)
	_, _ = rand.Read(k) // it never fails
	return k
})

// masked is the text, encrypted with an IV of its own, which is in front: what is known of
// one text tells nothing about another.
func masked(text string) string {
	if text == "" {
		return ""
	}
	mac := hmac.New(sha256.New, key())
	_, _ = mac.Write([]byte(text)) // it never fails
	iv := mac.Sum(nil)[:aes.BlockSize]
	return string(iv) + crypt(iv, text)
}

func crypt(iv []byte, text string) string {
	block, err := aes.NewCipher(key())
	if err != nil {
		panic(err) // of another length than a key's
	}
	b := []byte(text)
	cipher.NewCTR(block, iv).XORKeyStream(b, b)
	return string(b)
}

// NewSecret makes a Secret of text.
func NewSecret(text string) Secret { return Secret{masked(text)} }

// Reveal returns the text.
func (s Secret) Reveal() string {
	if s.masked == "" {
		return ""
	}
	return crypt([]byte(s.masked[:aes.BlockSize]), s.masked[aes.BlockSize:])
}

func (Secret) String() string { return redact.Mark }

// GoString returns "[redacted]".
func (Secret) GoString() string { return redact.Mark }

// MarshalText returns "[redacted]", for encoders and logs.
func (Secret) MarshalText() ([]byte, error) { return []byte(redact.Mark), nil }

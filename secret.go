package flashback

import (
	"crypto/rand"
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

// mask is this process's own.
var mask = sync.OnceValue(func() []byte {
	m := make([]byte, 64)
	_, _ = rand.Read(m) // it never fails
	return m
})

func masked(text string) string {
	b := []byte(text)
	for i, m := 0, mask(); i < len(b); i++ {
		b[i] ^= m[i%len(m)]
	}
	return string(b)
}

// NewSecret makes a Secret of text.
func NewSecret(text string) Secret { return Secret{masked(text)} }

// Reveal returns the text.
func (s Secret) Reveal() string { return masked(s.masked) }

func (Secret) String() string { return redact.Mark }

// GoString returns "[redacted]".
func (Secret) GoString() string { return redact.Mark }

// MarshalText returns "[redacted]", for encoders and logs.
func (Secret) MarshalText() ([]byte, error) { return []byte(redact.Mark), nil }

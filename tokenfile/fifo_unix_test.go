//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package tokenfile_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/tokenfile"
)

// makeFIFO makes a FIFO and returns a function that requires that nobody has waited to open
// it. Whoever does is let go after ten seconds.
func makeFIFO(t *testing.T, path string) (requireOpen func()) {
	t.Helper()
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	letGo := time.AfterFunc(10*time.Second, func() { _, _ = os.OpenFile(path, os.O_RDWR, 0) }) //nolint:gosec // It is the test's own.
	return func() { require.True(t, letGo.Stop(), "it waited") }
}

func TestADeviceOrAFIFOIsRefusedBeforeAnythingIsSent(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	requireOpen := makeFIFO(t, path)
	requireRefused(t, path, filepath.Dir(path), "no regular file")
	requireOpen()
	requireRefused(t, os.DevNull, filepath.Dir(path), "no regular file")
	assert.NoFileExists(t, os.DevNull+".lock")
}

func TestAFIFOThatComesWhileTheLockIsWaitedForIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, fifo := filepath.Join(dir, "session.json"), filepath.Join(dir, "fifo")
	requireOpen := makeFIFO(t, fifo) // its ten seconds are real
	synctest.Test(t, func(t *testing.T) {
		file := tokenfile.New(path)
		unchanged := func(kept flashback.Tokens) (flashback.Tokens, error) { return kept, nil }
		waiting := make(chan error)
		lock, err := file.Lock(t.Context())
		require.NoError(t, err)
		go func() { waiting <- update(t.Context(), file, unchanged) }()
		<-time.After(time.Second)
		require.NoError(t, os.Link(fifo, path))
		require.NoError(t, lock.Unlock())
		require.ErrorContains(t, <-waiting, "no regular file")
	})
	requireOpen()
}

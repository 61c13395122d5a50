//go:build linux

package main

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAStoreIsReadWhereNothingCanBeWritten(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.backend.AddDeletedUser("user-1")
	f.stdin = "user-1\n"
	_, _, _, err := f.run(t.Context(), "--ids", "-")
	require.NoError(t, err)
	dir := filepath.Dir(f.store)
	require.NoError(t, os.Chmod(f.store, 0o444))                //nolint:gosec // As another user reads it.
	require.NoError(t, os.Chmod(dir, 0o555))                    //nolint:gosec // Likewise.
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))      //nolint:gosec // Likewise.
	defer func() { require.NoError(t, os.Chmod(dir, 0o755)) }() //nolint:gosec // To be removed.
	if os.Geteuid() == 0 {                                      // whom no mode keeps from writing
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		require.NoError(t, syscall.Setfsuid(65534)) // of this thread
		defer func() { require.NoError(t, syscall.Setfsuid(0)) }()
	}
	require.Error(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))

	assert.Equal(t, map[string]verdict{"user-1": activated}, f.verdicts())
	f.stdin = "user-1\nuser-2\n"
	_, stdout, _, err := f.run(t.Context(), "--ids", "-", "--dry-run")
	require.NoError(t, err)
	assert.Equal(t, "user-2\n", stdout)
	_, _, _, err = f.run(t.Context(), "--ids", "-")
	require.ErrorContains(t, err, "can't be used")
}

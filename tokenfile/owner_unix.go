//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package tokenfile

import (
	"io/fs"
	"os"
	"syscall"
)

// isOwn tells whether a file belongs to the user as whom the process runs.
func isOwn(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}

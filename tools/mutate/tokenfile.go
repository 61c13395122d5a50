package main

import "slices"

// files are the mutants of package tokenfile.
var files = slices.Concat(
	in("tokenfile/lock.go", [][3]string{
		{"a journal is adopted", "l.journaled = !journal.empty() && journal", "l.journaled = false && journal"},
		{"only if it belongs to the file", "journal.Replaces == digest(kept.RefreshToken); l.journaled", "true; l.journaled"},
		{"it takes the place of the file", "kept = journal\n\t\t_ = l.replace()", "kept = journal"},
		{"a journal that is torn is no error", "err != nil && !errors.Is(err, errNoTokens)", "err != nil"},
		{"a journal that can't be trusted is one", "err != nil && !errors.Is(err, errNoTokens)", "false"},
		{"a journal that is old is removed", "_ = remove(l.journal())\n\t}", "\n\t}"},
		{"a marker is of one refresh token", "|| l.kept.Presented.Digest != digest(l.kept.RefreshToken)", ""},
		{"a marker is read", "return l.kept.Presented.At", "return time.Time{}"},
		{"room is made before anything is sent", "func (l *lock) Begin() error {\n\tif err := l.makeRoom(); err != nil {\n\t\treturn err\n\t}", "func (l *lock) Begin() error {"},
		{"a marker is made", "marked.Presented = &presented{", "_ = &presented{"},
		{"an older marker stays", "if l.Interrupted().IsZero() && marked", "if marked"},
		{"the file is shown to be replaceable", "err = rename(l.temporary(), l.path)", "err = remove(l.temporary())"},
		{"what Begin made goes if it fails", "remove(l.temporary()), l.dropRoom())", "nil)"},
		{"a journal is not overwritten", "if l.journaled {\n\t\tif err", "if false {\n\t\tif err"},
		{"a room that was not used is removed", "closed := l.room.Close()\n\tl.room = nil\n\treturn errors.Join(closed, remove(l.journal()))", "closed := l.room.Close()\n\tl.room = nil\n\treturn closed"},
		{"no tokens are no file", "remove(l.journal()), remove(l.path), sync", "remove(l.journal()), sync"},
		{"what was loaded comes back with its marker", "if tokens == l.kept.tokens() {", "if false {"},
		{"a journal says what it replaces", "next.Replaces = digest(l.kept.RefreshToken)", "next.Replaces = \"\""},
		{"the lock is released", "return errors.Join(l.dropRoom(), l.unlock())", "return l.dropRoom()"},
	}...),
	in("tokenfile/content.go", [][3]string{
		{"a FIFO is not opened", "if err := checkRegular(info); err != nil {\n\t\treturn content{}, err\n\t}", ""},
		{"a file of another user is refused", "case !isOwn(info):", "case false:"},
		{"a file that others can read is refused", "case info.Mode().Perm()&0o077 != 0 &&", "case false &&"},
		{"tokens have a backend", " || c.BaseURL == \"\" {", " {"},
		{"tokens are there", "json.Unmarshal(text, &c) != nil || c.empty() ||", "json.Unmarshal(text, &c) != nil ||"},
		{"room is as large as tokens will be", "roomSize = 64 << 10", "roomSize = 64"},
		{"tokens that are too large are not written", "case len(text) >= maxSize:", "case false:"},
		{"room is of newlines", "[]byte{'\\n'}", "[]byte{' '}"},
		{"a file is made anew", "if err := remove(path); err != nil {", "if err := error(nil); err != nil {"},
		{"a file is for its owner", "0o600)", "0o644)"},
		{"a file that is mounted is explained", "errors.Is(err, syscall.EBUSY)", "false"},
	}...),
	in("tokenfile/tokenfile.go", [][3]string{
		{"a path is made absolute once", "return dir + string(filepath.Separator) + path, nil", "_ = dir\n\treturn path, nil"},
		{"links to a link are followed", "for range maxLinks {", "for range 2 {"},
		{"a link is that of its directory", "target = dir + target", "_ = dir"},
		{"a lock is waited for", "if !errors.Is(err, errLocked) {", "if true {"},
	}...),
	in("tokenfile/lock_unix.go", [][3]string{
		{"there is a lock", "syscall.LOCK_EX|syscall.LOCK_NB", "syscall.LOCK_SH|syscall.LOCK_NB"},
	}...),
)

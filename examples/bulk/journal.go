package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// verdict is what is known of a user.
type verdict string

const (
	planned   verdict = "planned"
	unknown   verdict = "unknown"   // it may have been activated
	failed    verdict = "failed"    // it was not, and may be next time
	forbidden verdict = "forbidden" // so with another token

	activated     verdict = "activated"
	recovered     verdict = "recovered"
	alreadyActive verdict = "already active"
	notFound      verdict = "not found"
	invalid       verdict = "invalid" // no user can have this ID

	planComplete verdict = "plan complete" // of nobody: all IDs before it are the plan
)

func (v verdict) known() bool {
	switch v {
	case planned, unknown, failed, forbidden, activated, recovered, alreadyActive, notFound, invalid, planComplete:
		return true
	}
	return false
}

// settled tells whether there is nothing left to do.
func (v verdict) settled() bool {
	switch v {
	case activated, recovered, alreadyActive, notFound, invalid:
		return true
	case planned, unknown, failed, forbidden, planComplete:
	}
	return false
}

// active tells whether the user is.
func (v verdict) active() bool { return v == activated || v == recovered || v == alreadyActive }

// entry is a line of the journal.
type entry struct {
	Time     time.Time `json:"time"`
	ID       string    `json:"id,omitempty"`
	Verdict  verdict   `json:"verdict"`
	Attempts int       `json:"attempts,omitempty"`
	Error    string    `json:"error,omitempty"`
}

// journal is a file with one JSON object a line, of which the last one about a user
// counts. What append has returned for is on the disk.
type journal struct {
	file *os.File // nil in a dry run without one

	mu     sync.Mutex
	ids    []string // in the order in which they were planned
	latest map[string]verdict
	why    map[verdict]string // an example of an error
	whole  bool               // the plan is

	// One write and one sync serve all entries that came while the last one ran.
	pending bytes.Buffer
	waiting []chan error
	writing bool
	broken  error // after which nothing is written
}

// header is the first line of a journal: what it is, and whose users it is about.
type header struct {
	Journal string `json:"journal"`
	Backend string `json:"backend"`
}

const format = "flashback bulk 1"

// openJournal opens the journal of a backend, or begins one, and leaves it ready for
// more. What a killed run has half written at its end is cut off. In a dry run it
// only reads.
func openJournal(path, backend string, dryRun bool) (*journal, error) {
	j := &journal{latest: map[string]verdict{}, why: map[verdict]string{}, whole: true}
	first, err := json.Marshal(header{format, backend})
	if err != nil {
		return nil, err
	}
	first = append(first, '\n')
	flags := os.O_RDWR | os.O_CREATE
	if dryRun {
		flags = os.O_RDONLY
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file; give another with -journal", path)
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if dryRun && errors.Is(err, os.ErrNotExist) {
		return j, nil
	}
	if err != nil {
		return nil, err
	}
	j.file = f
	if err := j.read(path, first, dryRun); err != nil {
		j.close()
		return nil, err
	}
	return j, nil
}

func (j *journal) read(path string, first []byte, dryRun bool) error {
	if !dryRun {
		if err := lock(j.file); err != nil { // before anything is read that another run may still change
			return fmt.Errorf("%s is in use by another run", path)
		}
	}
	text, err := io.ReadAll(j.file)
	if err != nil {
		return err
	}
	begun, rest, found := bytes.Cut(text, []byte("\n"))
	if found {
		var h header
		if json.Unmarshal(begun, &h) != nil || h.Journal != format {
			return fmt.Errorf("%s is not a journal; give another file with -journal", path)
		}
		if !bytes.Equal(begun, first[:len(first)-1]) {
			return fmt.Errorf("%s is about the users of %s; give another file with -journal", path, h.Backend)
		}
	} else if !bytes.HasPrefix(first, text) {
		return fmt.Errorf("%s is not a journal; give another file with -journal", path)
	}
	whole := bytes.LastIndexByte(text, '\n') + 1
	n := 1
	for line := range bytes.Lines(rest[:max(0, whole-len(begun)-1)]) {
		n++
		var e entry
		if err := json.Unmarshal(line, &e); err != nil || !e.Verdict.known() || (e.ID == "") != (e.Verdict == planComplete) {
			return fmt.Errorf("%s, line %d, is no line of a journal; remove the line, or give another file with -journal", path, n)
		}
		j.note(e)
	}
	if dryRun {
		return nil
	}
	if err := j.file.Truncate(int64(whole)); err != nil {
		return err
	}
	if _, err = j.file.Seek(int64(whole), io.SeekStart); err == nil && whole == 0 {
		_, err = j.file.Write(first)
	}
	return err
}

// note remembers an entry. The mutex is held, or there is no other goroutine yet.
func (j *journal) note(e entry) {
	if e.Verdict == planComplete || e.Verdict == planned {
		j.whole = e.Verdict == planComplete
	}
	if e.Verdict == planComplete {
		return
	}
	if e.Error != "" && j.why[e.Verdict] == "" {
		j.why[e.Verdict] = e.Error
	}
	before, known := j.latest[e.ID]
	if !known {
		j.ids = append(j.ids, e.ID)
	}
	if !before.settled() { // what is settled stays so
		j.latest[e.ID] = e.Verdict
	}
}

// plan adds the IDs that are new. From then on the journal alone knows who is to be
// activated: a list of the deleted users no longer has those who were when a run was
// killed.
func (j *journal) plan(ids []string, dryRun bool) error {
	wasWhole := j.whole
	var lines bytes.Buffer
	encoder := json.NewEncoder(&lines)
	for _, id := range ids {
		if _, known := j.latest[id]; known {
			continue
		}
		e := entry{Time: time.Now().UTC(), ID: id, Verdict: planned}
		j.note(e)
		if err := encoder.Encode(e); err != nil {
			return err
		}
	}
	if dryRun || wasWhole && lines.Len() == 0 {
		return nil
	}
	end := entry{Time: time.Now().UTC(), Verdict: planComplete}
	j.note(end)
	if err := encoder.Encode(end); err != nil {
		return err
	}
	_, err := j.file.Write(lines.Bytes())
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("the users can't be written to the journal; run it again with the same ones: %w", err)
	}
	return nil
}

// append writes an entry and returns once it is on the disk.
func (j *journal) append(e entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	synced := make(chan error, 1)
	j.mu.Lock()
	j.pending.Write(append(line, '\n'))
	j.waiting = append(j.waiting, synced)
	first := !j.writing
	j.writing = true
	j.mu.Unlock()
	if first {
		j.write()
	}
	if err := <-synced; err != nil {
		return fmt.Errorf("the journal can't be written: %w", err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.note(e)
	return nil
}

// write writes until nothing is pending.
func (j *journal) write() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for len(j.waiting) > 0 {
		lines, waiting := bytes.Clone(j.pending.Bytes()), j.waiting
		j.pending.Reset()
		j.waiting = nil
		if j.broken == nil {
			j.mu.Unlock()
			_, err := j.file.Write(lines)
			if err == nil {
				err = j.file.Sync()
			}
			j.mu.Lock()
			j.broken = err // half a line may be there now
		}
		for _, w := range waiting {
			w <- j.broken
		}
	}
	j.writing = false
}

// due are the IDs that are not settled.
func (j *journal) due() []string {
	var ids []string
	for _, id := range j.ids {
		if !j.latest[id].settled() {
			ids = append(ids, id)
		}
	}
	return ids
}

// count counts the users with verdicts of a kind.
func (j *journal) count(kind func(verdict) bool) (n int) {
	for _, v := range j.latest {
		if kind(v) {
			n++
		}
	}
	return n
}

func (j *journal) of(id string) verdict {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.latest[id]
}

func (j *journal) close() {
	if j.file != nil {
		_ = j.file.Close() // all is synced
	}
}

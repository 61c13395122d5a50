package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
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
)

// settled tells whether there is nothing left to do.
func (v verdict) settled() bool {
	switch v {
	case activated, recovered, alreadyActive, notFound, invalid:
		return true
	case planned, unknown, failed, forbidden:
	}
	return false
}

// active tells whether the user is.
func (v verdict) active() bool { return v == activated || v == recovered || v == alreadyActive }

// entry is a line of the journal.
type entry struct {
	Time     time.Time `json:"time"`
	ID       string    `json:"id"`
	Verdict  verdict   `json:"verdict"`
	Attempts int       `json:"attempts,omitempty"`
	Error    string    `json:"error,omitempty"`
}

// journal is a file with one JSON object a line, of which the last one about a user
// counts. What append has returned for is on the disk.
type journal struct {
	file *os.File // nil in a dry run

	mu     sync.Mutex
	ids    []string // in the order in which they were planned
	latest map[string]verdict

	// One write and one sync serve all entries that came while the last one ran.
	pending bytes.Buffer
	waiting []chan error
	writing bool
	broken  error // after which nothing is written
}

// openJournal reads a journal and leaves it ready for more. What a killed run has
// half written at its end is cut off.
func openJournal(path string, readOnly bool) (*journal, error) {
	j := &journal{latest: map[string]verdict{}}
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	whole := bytes.LastIndexByte(text, '\n') + 1
	for n, line := range bytes.Split(text[:whole], []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		var e entry
		if err := json.Unmarshal(line, &e); err != nil || e.ID == "" {
			return nil, fmt.Errorf("%s, line %d, is not of a journal; give another file with -journal", path, n+1)
		}
		j.note(e)
	}
	if readOnly {
		return j, nil
	}
	j.file, err = os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lock(j.file); err != nil {
		return nil, fmt.Errorf("%s is in use by another run", path)
	}
	if err := j.file.Truncate(int64(whole)); err != nil {
		return nil, err
	}
	_, err = j.file.Seek(int64(whole), 0)
	return j, err
}

// note remembers an entry. The mutex is held, or there is no other goroutine yet.
func (j *journal) note(e entry) {
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
func (j *journal) plan(ids []string) error {
	var lines bytes.Buffer
	for _, id := range ids {
		if _, known := j.latest[id]; known {
			continue
		}
		e := entry{Time: time.Now().UTC(), ID: id, Verdict: planned}
		j.note(e)
		if err := json.NewEncoder(&lines).Encode(e); err != nil {
			return err
		}
	}
	if j.file == nil || lines.Len() == 0 {
		return nil
	}
	if _, err := j.file.Write(lines.Bytes()); err != nil {
		return err
	}
	return j.file.Sync()
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

func (j *journal) settled() int { return len(j.ids) - len(j.due()) }

// refused counts the users who are settled and not active.
func (j *journal) refused() (n int) {
	for _, v := range j.latest {
		if v.settled() && !v.active() {
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

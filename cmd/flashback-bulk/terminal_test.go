package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

func barOf(out io.Writer, width int) *progress {
	p := newProgress(out, os.Getenv)
	p.width = func() int { return width }
	return p
}

func TestTheBarFitsTheTerminal(t *testing.T) {
	t.Parallel()
	for _, width := range []int{1, 10, 40, 80, 200} {
		var out bytes.Buffer
		p := barOf(&out, width)
		p.throttled.Store(time.Now().Unix())
		for due := 500_000; due > 0; due -= 100_000 {
			p.seen = []sample{{time.Now().Add(-30 * time.Second), due + 12_345}}
			p.update(counts{all: 1_000_000, due: due, running: 128})
		}
		for line := range strings.SplitSeq(out.String(), "\r") {
			text := strings.TrimSuffix(line, "\x1b[K")
			assert.Less(t, utf8.RuneCountInString(text), width, "%q", text)
			assert.NotContains(t, text, "\x1b", "no colors")
		}
		assert.NotContains(t, out.String(), "\n")
	}
}

func TestTheRemainingTimeIsThatOfTheLastMinute(t *testing.T) {
	t.Parallel()
	p, now := barOf(io.Discard, 0), time.Now()
	text := func(after time.Duration, due int) string {
		return p.text(now.Add(after), counts{all: 10_000, due: due})
	}
	assert.NotContains(t, text(0, 10_000), "left", "it isn't known yet")
	for s := 1; s <= 60; s++ {
		text(time.Duration(s)*time.Second, 10_000-50*s)
	}
	for s := 61; s <= 121; s++ {
		text(time.Duration(s)*time.Second, 7000-10*(s-60))
	}
	assert.Contains(t, text(121*time.Second, 6390), "10 a second, 10m39s left")
	for s := 122; s <= 190; s++ {
		text(time.Duration(s)*time.Second, 6390)
	}
	assert.NotContains(t, text(190*time.Second, 6390), "left", "nobody was done for a minute")
}

func TestNoTextOfTheServerSteersTheTerminal(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.backend.AddDeletedUser("user-1")
	f.backend.ScriptFor("user-1", flashbacktest.None(), flashbacktest.Respond(400, `{"success":false,"message":"\u001b]0;title\u0007 \u001b[2J \u202e =cmd"}`))
	f.stdin = "user-1\n\x1b[31mred\n"
	_, stdout, stderr, err := f.run(t.Context(), "--ids", "-", "--not-found-ok")
	require.NoError(t, err)
	_, table, _, err := f.run(t.Context(), "export")
	require.NoError(t, err)
	_, inStatus, _, err := f.run(t.Context(), "status")
	require.NoError(t, err)
	for _, text := range []string{stdout, stderr, inStatus} {
		assert.NotContains(t, text, "\x1b")
		assert.NotContains(t, text, "\a")
		assert.NotContains(t, text, "\u202e")
	}
	assert.NotContains(t, table, "\x1b]")
	for text, want := range map[string]string{"=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@a": "'@a", "\t=1": "'\t=1", "user-1": "user-1", "": ""} {
		assert.Equal(t, want, cell(text))
		assert.Equal(t, text, uncell(cell(text)))
	}
}

func TestThePageAnswersForItsOwnHostOnly(t *testing.T) {
	t.Parallel()
	page := ownHost("bulk.example:8080", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	for host, want := range map[string]int{
		"localhost:8080": 200, "LOCALHOST": 200, "127.0.0.1:8080": 200, "[::1]:8080": 200, "bulk.example:8080": 200,
		"evil.example:8080": 421, "localhost.evil.example": 421, "": 421,
	} {
		r := httptest.NewRequest(http.MethodGet, "/api/jobs", nil)
		r.Host = host
		w := httptest.NewRecorder()
		page.ServeHTTP(w, r)
		assert.Equal(t, want, w.Code, host)
	}
}

func TestALongRateLimitIsSaidAndWaitedForWithoutAttempts(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ids := f.addUsers(50)
	f.backend.Decide(func(r *http.Request) flashbacktest.Fault {
		if r.Method != http.MethodPost {
			return flashbacktest.None()
		}
		return flashbacktest.RateLimited(time.Hour)
	})
	process, _, stderr := f.process("quick", "--ids", ids)
	<-time.After(6 * time.Second)
	require.NoError(t, process.Process.Signal(os.Interrupt))
	_ = process.Wait()
	assert.Equal(t, somethingDue, process.ProcessState.ExitCode())
	assert.Contains(t, stderr.String(), "Finishing what is begun.")
	assert.Contains(t, stderr.String(), "The rate limit is used up until ")
	assert.Equal(t, 1, strings.Count(stderr.String(), "used up until"), stderr)
	assert.LessOrEqual(t, f.activations(), 16, "those that were on their way")
	for id, v := range f.verdicts() {
		assert.Equal(t, due, v, id)
	}
}

func TestFourAtOnceWithAnEmptyStore(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, f *fixture) {
		t.Helper()
		const users = 5000
		f.stdin = strings.Join(strings.Fields(fmt.Sprint(makeRange(users))[1:]), "\n")
		f.stdin = strings.TrimSuffix(f.stdin, "]")
		for n := range users {
			f.backend.AddDeletedUser(fmt.Sprint(n))
		}
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				status, _, stderr, err := f.run(t.Context(), "--ids", "-")
				assert.NoError(t, err) //nolint:testifylint // Not the test's own goroutine.
				assert.Equal(t, allDone, status, stderr)
			})
		}
		all.Wait()
		f.settledOnce(users)
	})
}

func makeRange(n int) (numbers []int) {
	for i := range n {
		numbers = append(numbers, i)
	}
	return numbers
}

func TestWhatIsDoneOnThePageStands(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, f *fixture) {
		t.Helper()
		ids := f.addUsers(100)
		f.backend.LimitRate(20, 1)
		process, stdout, stderr := f.process("quick", "--ids", ids)
		require.Eventually(t, func() bool { return f.activations() > 5 }, 10*time.Second, 10*time.Millisecond)
		s, err := openStore(t.Context(), f.store, false)
		require.NoError(t, err)
		defer s.close()
		_, err = s.db.ExecContext(t.Context(), "UPDATE river_queue SET paused_at = CURRENT_TIMESTAMP WHERE name = 'activate'") // as the page does
		require.NoError(t, err)
		canceled := "UPDATE river_job SET state = 'cancelled', finalized_at = CURRENT_TIMESTAMP, metadata = jsonb_set(metadata, '$.cancel_attempted_at', 'now') WHERE args ->> 'id' = 'user-0099' AND state = 'available'"
		if s.isPostgres() {
			canceled = strings.Replace(canceled, "'$.cancel_attempted_at', 'now'", "'{cancel_attempted_at}', '\"now\"'", 1)
		}
		done, err := s.db.ExecContext(t.Context(), canceled)
		require.NoError(t, err)
		rows, err := done.RowsAffected()
		require.NoError(t, err)
		require.EqualValues(t, 1, rows)
		<-time.After(4 * time.Second)
		_, err = s.db.ExecContext(t.Context(), "UPDATE river_queue SET paused_at = NULL WHERE name = 'activate'")
		require.NoError(t, err)
		_ = process.Wait()
		assert.Equal(t, someRefused, process.ProcessState.ExitCode(), "%s%s", stdout, stderr)
		assert.Contains(t, stderr.String(), "The queue is paused on the page")
		assert.Contains(t, stdout.String(), "      1  canceled ")
		status, _, _, err := f.run(t.Context(), "--ids", ids)
		require.NoError(t, err)
		assert.Equal(t, someRefused, status)
		assert.Equal(t, verdict("canceled"), f.verdicts()["user-0099"])
	})
}

func TestAStoreThatIsRemovedIsNoticed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ids := f.addUsers(200)
	f.backend.LimitRate(20, 1)
	process, _, stderr := f.process("quick", "--ids", ids)
	require.Eventually(t, func() bool { return f.activations() > 5 }, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, os.Remove(f.store))
	_ = process.Wait()
	assert.Equal(t, couldNot, process.ProcessState.ExitCode())
	assert.Contains(t, stderr.String(), "was removed or replaced during the run")
}

func TestAStoreIsAFileOrPostgreSQL(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"host=db dbname=bulk", "dbname=bulk", "mysql://host/db", "https://db.example/x", "host=db password=secret"} {
		f := newFixture(t)
		f.store, f.stdin = name, "user-1\n"
		status, _, _, err := f.run(t.Context(), "--ids", "-")
		require.ErrorContains(t, err, "neither a file nor postgres://")
		assert.NotContains(t, err.Error(), "secret")
		assert.Equal(t, couldNot, status)
		assert.NoFileExists(t, name)
		assert.Empty(t, f.backend.Requests())
	}
}

func TestAPipeThatClosesIsLikeAFullDisk(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ids := f.addUsers(3)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, r.Close())
	process, _, _ := f.command("quick", "--ids", ids)
	var stderr bytes.Buffer
	process.Stdout, process.Stderr = w, &stderr
	require.NoError(t, process.Run(), "%s", stderr.String())
	assert.Contains(t, stderr.String(), "could not be written")
	assert.Contains(t, stderr.String(), "      3  activated ")
}

package proof_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// hostile are responses that are made to cost the client time or memory.
var hostile = map[string]struct {
	status int
	header http.Header
	write  func(io.Writer)
}{
	"40 MB of escapes":          {200, nil, message(`\u0041`, 40<<20)},
	"escapes up to the limit":   {400, nil, message(`\u0041`, 1<<20-100)},
	"backslashes":               {400, nil, message(`\\`, 1<<20-100)},
	"characters that are cut":   {400, nil, message(`\ud83d`, 1<<20-100)},
	"a long line that is split": {400, nil, message("\xff", 1<<20-100)},
	"a header line of 900 kB":   {400, http.Header{"X-Long": {strings.Repeat("x", 900_000)}, "X-Request-Id": {strings.Repeat("y", 90_000)}}, text("{}")},
	"200,000 brackets":          {200, nil, text(strings.Repeat("[", 200_000))},
	"closed brackets":           {400, nil, text(`{"message":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + "}")},
	"many messages":             {400, nil, text("{" + strings.Repeat(`"message":"a",`, 70_000) + `"success":false}`)},
	"a list of messages":        {400, nil, text(`{"message":[` + strings.Repeat(`"a",`, 200_000) + `"b"]}`)},
	"the token, over and over":  {400, nil, message(aToken, 1<<20-100)},
	"a token that never ends":   {400, nil, message(aToken[:len(aToken)-1], 1<<20-100)},
	"a long code":               {400, nil, text(`{"error_code":"` + strings.Repeat("c", 1<<20-100) + `"}`)},
	"half a GB":                 {200, nil, text(strings.Repeat(" ", 1<<16), 8192)},
}

func text(body string, times ...int) func(io.Writer) {
	return func(w io.Writer) {
		for range append(times, 1)[0] {
			if _, err := io.WriteString(w, body); err != nil {
				return
			}
		}
	}
}

// message is an envelope with a long message.
func message(piece string, n int) func(io.Writer) {
	return func(w io.Writer) {
		_, _ = io.WriteString(w, `{"success":false,"message":"`)
		chunk := strings.Repeat(piece, 1<<16/len(piece))
		for ; n > len(chunk); n -= len(chunk) {
			if _, err := io.WriteString(w, chunk); err != nil {
				return
			}
		}
		_, _ = io.WriteString(w, strings.Repeat(piece, n/len(piece))+`"}`)
	}
}

// peak is how much the heap grows while f runs.
func peak(f func()) uint64 {
	var stats runtime.MemStats
	runtime.GC() //nolint:revive // What it does is the point.
	runtime.ReadMemStats(&stats)
	before, highest := stats.HeapAlloc, uint64(0)
	done := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
				runtime.ReadMemStats(&stats)
				highest = max(highest, stats.HeapAlloc)
			}
		}
	})
	f()
	close(done)
	watch.Wait()
	return max(highest, before) - before
}

//nolint:paralleltest // It reads the heap of the whole process.
func TestOfAHostileResponseLittleIsKept(t *testing.T) {
	for name, response := range hostile {
		for _, encoding := range []string{"", "gzip"} {
			t.Run(name+" "+encoding, func(t *testing.T) {
				var requests atomic.Int64
				server := served(t, func(w http.ResponseWriter, _ *http.Request) {
					requests.Add(1)
					maps.Copy(w.Header(), response.header)
					body := io.Writer(w)
					if encoding != "" {
						w.Header().Set("Content-Encoding", encoding)
						zipped := gzip.NewWriter(w)
						defer func() { _ = zipped.Close() }()
						body = zipped
					}
					w.WriteHeader(response.status)
					response.write(body)
				})
				var logged bytes.Buffer
				client := clientOf(t, server.URL, flashback.WithMaxRetries(1), flashback.WithLogger(slog.New(slog.NewJSONHandler(&logged, nil))))
				var err *flashback.Error
				grown := peak(func() { _, err = activateBy(t.Context(), client) })
				require.NotNil(t, err)
				assert.Less(t, grown, uint64(48<<20))
				assert.LessOrEqual(t, len(err.Body), 64<<10+64)
				assert.LessOrEqual(t, len(err.Message), 64<<10+64)
				assert.LessOrEqual(t, len(err.Code), 64<<10+64)
				kept := 0
				for key, values := range err.Header {
					kept += len(key) + len(strings.Join(values, ""))
				}
				assert.LessOrEqual(t, kept, 1<<20)
				assert.LessOrEqual(t, len(err.Error()), 2000)
				assert.LessOrEqual(t, logged.Len(), 8000)
				for what, shown := range map[string]string{"error": err.Error(), "body": string(err.Body), "message": err.Message, "log": logged.String()} {
					assert.NotContains(t, shown, aToken, what)
				}
				if name == "half a GB" || name == "40 MB of escapes" {
					assert.EqualValues(t, 1, requests.Load(), "what is too large is not asked for again")
					assert.True(t, err.OutcomeUnknown)
				}
			})
		}
	}
}

func TestAContextEndsAResponseThatNeverDoes(t *testing.T) {
	t.Parallel()
	for name, response := range map[string]struct{ start, piece string }{
		"a body a byte at a time": {"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", " "},
		"a header":                {"HTTP/1.1 200 OK\r\n", "X-A: b\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := served(t, func(w http.ResponseWriter, r *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					return
				}
				defer func() { _ = conn.Close() }()
				_, _ = io.WriteString(conn, response.start)
				for {
					if _, err := io.WriteString(conn, response.piece); err != nil {
						return
					}
					select {
					case <-time.After(time.Millisecond):
					case <-r.Context().Done():
						return
					}
				}
			})
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			_, err := activateBy(ctx, clientOf(t, server.URL))
			require.ErrorIs(t, err, context.DeadlineExceeded)
			assert.True(t, err.OutcomeUnknown)
			assert.Equal(t, 1, err.Attempts)
		})
	}
}

func TestABodyOfOneMiBIsReadAndOneByteMoreIsNot(t *testing.T) {
	t.Parallel()
	for size, whole := range map[int]bool{1 << 20: true, 1<<20 + 1: false} {
		for _, chunked := range []bool{false, true} {
			var requests atomic.Int64
			server := served(t, func(w http.ResponseWriter, _ *http.Request) {
				requests.Add(1)
				_, _ = io.WriteString(w, activated)
				if chunked {
					_ = http.NewResponseController(w).Flush()
				}
				_, _ = io.WriteString(w, strings.Repeat(" ", size-len(activated)))
			})
			got, err := activateBy(t.Context(), clientOf(t, server.URL))
			assert.EqualValues(t, 1, requests.Load())
			if whole {
				require.Nil(t, err)
				assert.Equal(t, "User activated successfully", got.Message)
				continue
			}
			require.ErrorIs(t, err, flashback.ErrOutcomeUnknown)
			require.ErrorIs(t, err, flashback.ErrUnexpectedResponse)
		}
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"
)

// habit is a question with a yes or a no for each caller.
type habit struct {
	question string
	ask      func(t *testing.T, c caller) (bool, error)
}

var habits = []habit{
	{"Sleeps for an hour when a 429 or 503 says `Retry-After: 3600`", sleepsAnHour},
	{"Sends the token to another host when a redirect says so", sendsTokenTo("https://other.example.net/")},
	{"Sends the token to a subdomain when a redirect says so", sendsTokenTo("https://evil.api.example.com/")},
	{"Sends the token without TLS when a redirect says so", sendsTokenTo("http://api.example.com/")},
	{"Needs more than 32 MiB of memory for a body of 512 MiB", swallows},
	{"Shows the token in `%+v`", showsToken},
}

func sleepsAnHour(t *testing.T, c caller) (sleeps bool, failed error) {
	t.Helper()
	limited := func(req *http.Request) *http.Response { return c.limited(req, time.Hour) }
	unavailable := func(req *http.Request) *http.Response {
		resp := respond(req, http.StatusServiceUnavailable, "")
		resp.Header.Set("Retry-After", "3600")
		return resp
	}
	for _, first := range []memory{limited, unavailable} {
		failed = errors.Join(failed, c.fakeTime(t, func(open opener) error {
			requests := 0
			s, err := open(anyHost, token, memory(func(req *http.Request) *http.Response {
				if requests++; requests > 1 {
					return c.success(req)
				}
				return first(req)
			}))
			if err != nil {
				return err
			}
			start := time.Now()
			_ = s.activate(context.Background(), "user-1") // how long it takes is the question
			sleeps = sleeps || time.Since(start) >= time.Hour
			return nil
		}))
	}
	return sleeps, failed
}

func sendsTokenTo(target string) func(*testing.T, caller) (bool, error) {
	return func(_ *testing.T, c caller) (bool, error) {
		sent := false
		for _, status := range []int{http.StatusFound, http.StatusTemporaryRedirect} {
			s, err := c.open(anyHost, token, memory(func(req *http.Request) *http.Response {
				if strings.HasPrefix(req.URL.String(), target) {
					sent = sent || strings.Contains(req.Header.Get("Authorization"), token)
					return c.success(req)
				}
				resp := respond(req, status, "")
				resp.Header.Set("Location", target)
				return resp
			}))
			if err != nil {
				return false, err
			}
			_ = s.activate(context.Background(), "user-1") // where the token went is the question
		}
		return sent, nil
	}
}

func swallows(_ *testing.T, c caller) (bool, error) {
	const limit = 32 << 20
	server, _ := loopback(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		chunk := strings.Repeat(" ", 1<<16)
		_, err := io.WriteString(w, `{"success":true,"message":"`)
		for sent := 0; sent < 512<<20 && err == nil; sent += len(chunk) {
			_, err = io.WriteString(w, chunk)
		}
		_, _ = io.WriteString(w, `"}`) // the client may have gone away
	})
	defer server.Close()
	s, err := c.open(server.URL, token, nil)
	if err != nil {
		return false, err
	}
	runtime.GC() //nolint:revive // So that what was held before does not count.
	before := heap()
	// What has passed the limit need not be held to the end.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	over := false
	var watch sync.WaitGroup
	done := make(chan struct{})
	watch.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for !over {
			select {
			case <-done:
				return
			case <-tick.C:
				if heap() > before+limit {
					over = true
					cancel()
				}
			}
		}
	})
	_ = s.activate(ctx, "user-1") // what it held is the question
	close(done)
	watch.Wait()
	return over, nil
}

func heap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

func showsToken(_ *testing.T, c caller) (bool, error) {
	s, err := c.open(anyHost, token, memory(c.success))
	if err != nil {
		return false, err
	}
	return strings.Contains(fmt.Sprintf("%+v", s.client), token), nil
}

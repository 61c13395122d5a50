// Command limiters activates 3,000 users behind the limiters that servers really
// have: with this SDK and go-retryablehttp at their defaults, and with the adaptive
// mode of AWS's SDK, which is given AWS's error codes for a 429 and a 503. It prints
// how long that took and how many were lost.
//
// In the directory benchmarks, all of it (about two hours), one row, or one number:
//
//	go run ./limiters
//	go run ./limiters -run '^nginx503/64/'
//	go run ./limiters -run '^nginx503/64/flashback-go$'
//
// It needs nginx and HAProxy (on Debian: apt-get install nginx-light haproxy), and
// Node with npm, which installs express-rate-limit and the others into the user's
// cache directory. It names what is missing and goes on with the rest.
//
// The calls are made by a process of their own. The server behind the limiter knows
// who is active: a call is wrong if its caller was told otherwise. The ideal time is
// that of a server which is never idle and refuses nobody.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var (
	only   = flag.String("run", "", "measure only the names that match this regular `expression`; a name is limiter/crowd/caller")
	list   = flag.Bool("list", false, "print the names and measure nothing")
	within = flag.Duration("within", 5*time.Minute, "the deadline of the calls of one measurement; those that are left then are lost")
	child  = flag.Bool("child", false, "make the calls that standard input asks for, as this program asks itself")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	run := measureAll
	if *child {
		run = answer
	}
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// crowd is how many workers call at once.
type crowd struct{ clients, workers int } // workers of each client

func (c crowd) String() string {
	if c.clients == 1 {
		return strconv.Itoa(c.workers)
	}
	return fmt.Sprintf("%dx%d", c.clients, c.workers)
}

var crowds = []crowd{{1, 16}, {1, 64}, {1, 256}, {8, 8}}

func measureAll(ctx context.Context) error {
	chosen, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	fmt.Println("| limiter/crowd/caller | ideal | seconds | times ideal | lost | of these unknown | wrong | requests |")
	fmt.Println("| --- | --- | --- | --- | --- | --- | --- | --- |")
	for _, l := range limiters {
		for _, crowd := range l.crowds {
			for _, c := range callers {
				name := strings.Join([]string{l.name, crowd.String(), c.name}, "/")
				switch {
				case ctx.Err() != nil:
					return ctx.Err()
				case !chosen.MatchString(name):
				case *list:
					fmt.Println(name)
				default:
					if err := measure(ctx, name, l, crowd, c); err != nil {
						return fmt.Errorf("%s: %w", name, err)
					}
				}
			}
		}
	}
	return nil
}

// measure prints one line of the table.
func measure(ctx context.Context, name string, l limiter, crowd crowd, c caller) error {
	truth, err := l.start(ctx)
	if errors.Is(err, errMissing) {
		fmt.Printf("| %s | not measured: %v |\n", name, err)
		return nil
	}
	if err != nil {
		return err
	}
	defer truth.stop()
	told, err := ask(ctx, task{
		URL: truth.url, Caller: c.name, Clients: crowd.clients, Workers: crowd.workers,
		Calls: l.calls, Descriptors: l.descriptors, Within: *within,
	})
	if err != nil {
		return err
	}
	active, err := truth.active(ctx)
	if err != nil {
		return err
	}
	lost, unknown, wrong := told.count(active)
	fmt.Printf("| %s | %.1f | %.1f | %.2f | %d | %d | %d | %d |\n", name, l.ideal.Seconds(), told.Took.Seconds(),
		told.Took.Seconds()/l.ideal.Seconds(), lost, unknown, wrong, told.Requests)
	return nil
}

func userID(i int) string { return fmt.Sprintf("user-%d", i) }

// Mutate breaks the rules of the verdict and error tables one at a time, in a copy
// of the repository, and reports whether the tests notice. Run it with
// go run ./mutate in this directory; it takes some minutes. With an argument, such
// as retry.go, it breaks only the rules that have it in their name or file.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

type mutant struct{ rule, file, old, broken string }

var mutants = []mutant{
	// The attempt table.
	{"sent without a whole answer: may have taken effect", "judge.go", "return true, tryAgain\n\t\tcase handshake", "return false, tryAgain\n\t\tcase handshake"},
	{"sent without a whole answer: tried again", "judge.go", "return true, tryAgain\n\t\tcase handshake", "return true, giveUp\n\t\tcase handshake"},
	{"never sent: took no effect", "judge.go", "return false, giveUp\n\t\t}\n\t\treturn false, tryAgain", "return false, giveUp\n\t\t}\n\t\treturn true, tryAgain"},
	{"never sent: tried again", "judge.go", "return false, giveUp\n\t\t}\n\t\treturn false, tryAgain", "return false, giveUp\n\t\t}\n\t\treturn false, giveUp"},
	{"a certificate error does not heal", "judge.go", "case handshakeFailed(a.err):", "case false:"},
	{"2xx envelope: success", "judge.go", "return true, done", "return true, tryAgain"},
	{"2xx that says false: no success", "judge.go", "a.answer.envelope && a.answer.success:", "a.answer.envelope:"},
	{"2xx that says false: took no effect", "judge.go", "status < 300 && !a.answer.envelope:", "status < 300:"},
	{"2xx without an envelope: may have taken effect", "judge.go", "!a.answer.envelope:\n\t\treturn true, tryAgain", "!a.answer.envelope:\n\t\treturn false, tryAgain"},
	{"2xx without an envelope: tried again", "judge.go", "!a.answer.envelope:\n\t\treturn true, tryAgain", "!a.answer.envelope:\n\t\treturn true, giveUp"},
	{"501 stands", "judge.go", "case status == http.StatusNotImplemented, status", "case status"},
	{"505 stands", "judge.go", ", status == http.StatusHTTPVersionNotSupported:", ":"},
	{"408 is tried again", "judge.go", "case status == http.StatusRequestTimeout, status", "case status"},
	{"5xx: may have taken effect", "judge.go", "status >= 500 && status < 600:\n\t\treturn true", "status >= 500 && status < 600:\n\t\treturn false"},
	{"5xx is tried again", "judge.go", "status >= 500 && status < 600:\n\t\treturn true, tryAgain", "status >= 500 && status < 600:\n\t\treturn true, giveUp"},
	{"425 is tried again", "judge.go", "case status == http.StatusTooEarly, status", "case status"},
	{"429 is tried again", "judge.go", ", status == http.StatusTooManyRequests:", ":"},
	{"425 and 429: took no effect", "judge.go", "StatusTooManyRequests:\n\t\treturn false", "StatusTooManyRequests:\n\t\treturn true"},
	{"401 is tried again with another token", "judge.go", "return false, renewToken", "return false, giveUp"},
	{"401 is tried again once", "retry.go", "|| c.renewed {", "{"},
	{"401 with the same token stands", "retry.go", "err != nil || token == c.token", "err != nil"},
	{"not deleted: recognized", "judge.go", "return false, wasNotNeeded", "return false, giveUp"},
	{"not deleted: only with 400", "answer.go", "a.status == http.StatusBadRequest && op", "op"},
	{"every other answer stands", "judge.go", "wasNotNeeded\n\t}\n\treturn false, giveUp", "wasNotNeeded\n\t}\n\treturn false, tryAgain"},
	{"every other answer: took no effect", "judge.go", "wasNotNeeded\n\t}\n\treturn false, giveUp", "wasNotNeeded\n\t}\n\treturn true, giveUp"},
	// One verdict per call.
	{"recovered after an attempt that may have taken effect", "verdict.go", "c.then == wasNotNeeded && c.unsure", "false"},
	{"recovered only then", "verdict.go", "c.then == wasNotNeeded && c.unsure", "c.then == wasNotNeeded"},
	{"an unknown outcome stays unknown", "verdict.go", "c.unsure = c.unsure || c.op", "c.unsure = c.op"},
	{"a failure says that the outcome is unknown", "errors.go", "OutcomeUnknown: c.unsure}", "OutcomeUnknown: false}"},
	{"OutcomeUnknown matches ErrOutcomeUnknown", "errors.go", "target == ErrOutcomeUnknown && e.OutcomeUnknown", "false"},
	{"the last answer is kept", "verdict.go", "if c.last.answer != nil {\n\t\tc.answer = c.last.answer\n\t}", "c.answer = c.last.answer"},
	{"what got a connection may have gone out", "attempt.go", "if c.connection.Swap(connected) == connected {", "if false {"},
	{"a connection that was never written to counts for nothing", "attempt.go", "|| c.client.standard && !c.overHTTP2.Load() {", "{"},
	{"a stream that was reset and sent again may have taken effect", "attempt.go", "c.client.standard && !c.overHTTP2.Load()", "c.client.standard"},
	{"what the transport sends twice may have taken effect", "verdict.go", "(effect || c.resent.Load())", "effect"},
	{"an untraced dial error was never sent", "attempt.go", "return !dialing &&", "return (true || !dialing) &&"},
	{"an untraced DNS error was never sent", "attempt.go", " && !errors.As(err, &dns)", " && (true || !errors.As(err, &dns))"},
	{"a context that has ended sends nothing", "attempt.go", "if ctx.Err() != nil {", "if false {"},
	{"an attempt's timeout is not the caller's deadline", "attempt.go", "if errors.As(cause, &timeout) {\n\t\treturn timeout", "if errors.As(cause, &timeout) {\n\t\treturn context.DeadlineExceeded"},
	{"a transport's timeout is not the caller's deadline", "attempt.go", "foreign := c.ctx.Err() == nil && (", "foreign := false && ("},
	// The envelope.
	{"a message alone is an envelope", "answer.go", "a.envelope = isBool || isText ||", "a.envelope = isBool ||"},
	{"success alone is an envelope", "answer.go", "a.envelope = isBool || isText ||", "a.envelope = isText ||"},
	{"an error alone is an envelope in 4xx and 5xx", "answer.go", "if !isText && a.status >= 400", "if false"},
	{"an error alone is no envelope in 2xx", "answer.go", "if !isText && a.status >= 400", "if !isText"},
	{"an envelope without success is a success", "answer.go", "a.success = success != \"false\"", "a.success = success == \"true\""},
	{"a success of another type is none", "answer.go", "a.envelope = false // ", "// "},
	{"the message is compared without case", "answer.go", "strings.EqualFold(strings.TrimSpace(strings.TrimSuffix(got, \".\")), op.notNeeded)", "strings.TrimSpace(strings.TrimSuffix(got, \".\")) == op.notNeeded"},
	{"the message is compared without space", "answer.go", "got := strings.TrimSpace(a.message)", "got := a.message"},
	{"the message is compared without a full stop", "answer.go", "strings.TrimSuffix(got, \".\")", "got"},
	{"an oversized body is not whole", "answer.go", "err = errTooLarge", "_ = errTooLarge"},
	// The error table.
	{"401", "errors.go", "return ErrUnauthorized", "return nil"},
	{"429", "errors.go", "return ErrRateLimited", "return nil"},
	{"5xx", "errors.go", "return ErrServer", "return nil"},
	{"3xx and odd 2xx", "errors.go", "case status < 400, status", "case status"},
	{"a 4xx page", "errors.go", ", !a.envelope:\n", ":\n"},
	{"400 not deleted", "errors.go", "return ErrUserNotDeleted", "return ErrBadRequest"},
	{"400", "errors.go", "return ErrBadRequest", "return nil"},
	{"403", "errors.go", "return ErrForbidden", "return nil"},
	{"404", "errors.go", "return ErrNotFound", "return nil"},
	{"not deleted matches ErrBadRequest", "errors.go", "fmt.Errorf(\"user not deleted (%w)\", ErrBadRequest)", "fmt.Errorf(\"user not deleted (%v)\", ErrBadRequest)"},
	// What each operation may repeat.
	{"a read is never unknown", "verdict.go", "c.op.repeat != reads && (effect", "(effect"},
	{"a read without its data is no success", "judge.go", "op.repeat == reads && a.answer.data == nil", "false"},
	{"a create is not repeated", "users.go", "repeat: once, data: dataOf[User],", "data: dataOf[User],"},
	{"an invitation is not repeated", "users.go", "repeat: once,\n\t}\n)", "\n\t}\n)"},
	{"a delete is not repeated unseen", "users.go", "repeat: once, look: &seeUser, did: wasDeleted,", ""},
	{"a delete looks", "users.go", "look: &seeUser, did: wasDeleted,", ""},
	{"who is deleted has been deleted", "verdict.go", "case did:", "case did && false:"},
	{"who is not deleted has not", "verdict.go", "case did:", "case did || true:"},
	{"a look that fails ends the call", "verdict.go", "c.retryAfter = retryAfter(look.header())\n\t\treturn errSettled", "c.retryAfter = retryAfter(look.header())\n\t\treturn nil"},
	{"a look that tells nothing ends the call", "verdict.go", "case !told:", "case !told && false:"},
	{"a look counts", "verdict.go", "c.looks += look.attempts", ""},
	{"a look that fails is not the call's kind", "verdict.go", "opaqueError(\"looking whether it did failed: \" + err.Error())", "err"},
	{"a look gives nothing back", "verdict.go", "case c.retries == 0 && c.isLook:", "case false:"},
	{"a look takes the place of a retry", "verdict.go", "c.retries-c.replaced-max", "c.retries-max"},
	{"a look has no more attempts than the call", "verdict.go", "max(0, c.maxRetries-c.attempts-c.looks)", "c.maxRetries"},
	{"a look is at the user that was meant", "users.go", "if !ok || seen.ID != id {", "if !ok {"},
	{"a create is not sent again by the transport", "attempt.go", "c.abort(errSentAgain)", "_ = c"},
	{"the words of one operation are not another's", "answer.go", "op.notNeeded != \"\" &&", "true &&"},
	{"a bare user is a user", "users.go", "bare.ID == \"\" {\n\t\treturn nil\n\t}\n\treturn &bare\n}\n\n// sight", "true {\n\t\treturn nil\n\t}\n\treturn &bare\n}\n\n// sight"},
	{"a deleted user is deleted, whatever the date", "user.go", "\treturn &at\n", "\tif at.IsZero() {\n\t\treturn nil\n\t}\n\treturn &at\n"},
	{"a list may be large", "users.go", ", maxBody: maxListBody", ""},
	{"a body has a content type", "request.go", "req.ContentLength > 0", "false"},
	{"the users are no organization", "request.go", "case id == op.taken:", "case false:"},
	{"a password is taken out of what the server echoes", "secret.go", "if c.secret != \"\" {\n\t\ttext", "if false {\n\t\ttext"},
	{"an escaped password too", "secret.go", "if clean := c.redactIn(plain, depth-1); clean != plain {", "if clean := plain; clean != plain {"},
	{"what is left of a password at a cut", "secret.go", "a.body = nil //", "_ = a //"},
	{"what is left of a token at a cut", "secret.go", "return before + redacted", "return before + token[:n]"},
	{"a text that is not UTF-8 is refused", "request.go", "return errors.New(\"a text is not valid", "_ = errors.New(\"a text is not valid"},
	// Waiting.
	{"a Retry-After is obeyed", "retry.go", "return asked, nil", "_ = asked"},
	{"a Retry-After over the cap ends the call", "retry.go", "asked > c.client.maxRetryAfter", "false"},
	{"a wait over the deadline is not begun", "retry.go", "bounded && time.Until(deadline) <= c.wait", "false"},
	{"a deadline that has passed is the caller's", "retry.go", "bounded && time.Until(deadline) <= 0", "false"},
	{"retries end", "retry.go", "c.attempts+c.looks > c.maxRetries", "c.attempts > 50"},
	{"the budget is asked", "retry.go", "!c.client.budget.take()", "false"},
	{"a success gives back what it took", "verdict.go", "c.client.budget.giveBack(int64(c.retries) * retryTenths)", ""},
	{"a first-try success gives back a tenth", "verdict.go", "c.client.budget.giveBack(1)", "_ = c"},
	{"a retry that was not sent is given back", "verdict.go", "c.client.budget.giveBack(int64(c.retries-c.replaced-max(0, c.attempts-1)) * retryTenths) // those that were not sent", ""},
	// Rate limits.
	{"first attempts are held back too", "verdict.go", "if c.stop = c.hold(); c.stop != nil {", "if c.attempts > 0 && c.hold() != nil {"},
	{"the turn comes before the look", "verdict.go", "looks := c.looks\n", "if c.stop = c.hold(); c.stop != nil {\n\t\treturn c.stop\n\t}\n\tlooks := c.looks\n"},
	{"calls that leave let others on", "pace.go", "if at == 0 && len(p.queue) > 0 {", "if false {"},
	{"the rate grows", "pace.go", "p.rate += paceFast", "_ = p"},
	{"the rate falls", "pace.go", "p.rate*fall, min", "p.rate+fall*0, min"},
	{"a refusal of an earlier round tells nothing new", "pace.go", "round != p.round.Load() || now.Sub(p.fell) < p.least()", "false"},
	{"the pacing ends", "pace.go", "now.Sub(p.refused) > paceQuiet", "false"},
	{"no call is held back past its deadline", "pace.go", "bounded && !now.Add(wait).Before(deadline)", "bounded && deadline.IsZero()"},
	{"the rate does not fall far below what is taken", "pace.go", ", min(p.rate, taken*paceFastFall))", ", taken*0)"},
	{"pacing can be switched off", "options.go", "c.pacer = nil", "_ = c"},
	{"an error says that the call was held back", "pace.go", "c.held += held", "_ = c"},
	// Never.
	{"a redirect is not followed", "retry.go", "return http.ErrUseLastResponse", "return nil"},
	{"each attempt has the whole timeout", "timeout.go", "if !l.at.After(now) {", "if !now.IsZero() {"},
	{"an attempt that began later has a timeout, too", "timeout.go", "if !next.IsZero() {\n\t\tw.set", "if false {\n\t\tw.set"},
	{"a client has a timeout after a bubble, too", "timeout.go", "|| now.Sub(w.next) > w.timeout {", "{"},
	{"an ID is escaped", "request.go", "escaped := url.PathEscape(c.id)", "escaped := url.PathEscape(c.id)[:0] + c.id"},
	{"a token that is echoed is taken out of the message", "secret.go", "a.message = c.redact(a.message)", ""},
	{"a token that is echoed is taken out of the body", "secret.go", "a.body = []byte(c.redact(string(a.body[:min(len(a.body), maxErrorBody+maxErrorBody/8)])))", ""},
	{"a token that is echoed is taken out of the header", "secret.go", "values[i] = c.redact(value)", "values[i] = value"},
	{"a token of an earlier attempt is taken out", "verdict.go", "c.spent = append(c.spent, c.token)", ""},
	{"a body is not read without end", "answer.go", "io.LimitReader(resp.Body, limit+1)", "resp.Body"},
	{"an error keeps 64 KiB", "errors.go", "min(len(a.body), maxErrorBody)", "len(a.body)"},
	{"an error is one line", "errors.go", "if unicode.IsPrint(r) {", "if true || unicode.IsPrint(r) {"},
	{"http:// is for loopback", "client.go", "!loopback(c.baseURL.Hostname())", "false"},
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	dir, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // what is left is in the temporary folder
	if err := os.CopyFS(dir, os.DirFS("..")); err != nil {
		return err
	}
	if output, ok := testsPass(dir); !ok {
		return fmt.Errorf("the tests fail without a mutant:\n%s", output)
	}
	only := strings.Join(os.Args[1:], " ")
	tried, unnoticed := 0, 0
	for _, m := range mutants {
		if !strings.Contains(m.file+" "+m.rule, only) {
			continue
		}
		tried++
		verdict, err := try(dir, m)
		if err != nil {
			return fmt.Errorf("%s: %w", m.rule, err)
		}
		if !strings.HasPrefix(verdict, "noticed") {
			unnoticed++
		}
		fmt.Printf("%-60s %-12s %s\n", m.rule, m.file, verdict)
	}
	fmt.Printf("%d mutants, %d not noticed\n", tried, unnoticed)
	if unnoticed > 0 {
		return fmt.Errorf("%d rules can be broken without a test noticing", unnoticed)
	}
	return nil
}

func try(dir string, m mutant) (string, error) {
	path := filepath.Join(dir, m.file)
	source, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if n := bytes.Count(source, []byte(m.old)); n != 1 {
		return "", fmt.Errorf("%q stands %d times in %s, not once", m.old, n, m.file)
	}
	mutated := bytes.Replace(source, []byte(m.old), []byte(m.broken), 1)
	if err := os.WriteFile(path, mutated, 0o600); err != nil {
		return "", err
	}
	output, ok := testsPass(dir)
	if err := os.WriteFile(path, source, 0o600); err != nil {
		return "", err
	}
	switch {
	case ok:
		return "NOT NOTICED", nil
	case strings.Contains(output, "[build failed]"), strings.Contains(output, "[setup failed]"):
		return "", fmt.Errorf("the mutant does not compile:\n%s", output)
	}
	for line := range strings.Lines(output) {
		if name, found := strings.CutPrefix(line, "--- FAIL: "); found {
			name, _, _ = strings.Cut(name, " ")
			return "noticed by " + name, nil
		}
	}
	return "noticed (panic or timeout)", nil
}

func testsPass(dir string) (output string, ok bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-short", "-failfast", "-vet=off", "-skip", "README|AllocatesNoMore|ManyCallsAtOnce", "-timeout", "60s", ".")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

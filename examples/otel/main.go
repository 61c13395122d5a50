// Command otel shows the OpenTelemetry trace of a call: a span of the caller's own,
// and under it one for each attempt, which otelhttp makes. It needs no set-up: the
// backend is a fake one that fails twice.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

func main() {
	spans := tracetest.NewInMemoryExporter() // a service has another one
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	if err := activate(context.Background(), provider); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	show(os.Stdout, spans.GetSpans())
}

func activate(ctx context.Context, provider *sdktrace.TracerProvider) error {
	backend := flashbacktest.NewServer()
	defer backend.Close()
	backend.AddDeletedUser("user-1")
	backend.Script(flashbacktest.Respond(http.StatusServiceUnavailable, ""), flashbacktest.LoseResponse(flashbacktest.CutResponse))

	// A transport of one's own, with many idle connections for many workers.
	base := &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 100, IdleConnTimeout: time.Minute}
	client, err := flashback.NewClient(backend.Token(), flashback.WithBaseURL(backend.URL),
		flashback.WithHTTPClient(&http.Client{Transport: otelhttp.NewTransport(base, otelhttp.WithTracerProvider(provider))}))
	if err != nil {
		return err
	}

	ctx, span := provider.Tracer("example").Start(ctx, "reactivate user")
	defer span.End()
	activation, err := client.Organization.Users.Activate(ctx, "user-1")
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
		return err
	}
	span.SetAttributes(attribute.Int("flashback.attempts", activation.Attempts), attribute.Bool("flashback.recovered", activation.Recovered))
	return nil
}

// show prints spans as a tree of two levels.
func show(out io.Writer, spans tracetest.SpanStubs) {
	for _, parent := range spans {
		if parent.Parent.IsValid() {
			continue
		}
		fmt.Fprintln(out, parent.Name, values(parent, "flashback.attempts", "flashback.recovered"))
		for _, s := range spans {
			if s.Parent.SpanID() == parent.SpanContext.SpanID() {
				fmt.Fprintln(out, "  "+s.Name, values(s, "http.response.status_code", "error.type"))
			}
		}
	}
}

func values(s tracetest.SpanStub, keys ...attribute.Key) (found []string) {
	for _, a := range s.Attributes {
		for _, key := range keys {
			if a.Key == key {
				found = append(found, string(key)+"="+a.Value.String())
			}
		}
	}
	return found
}

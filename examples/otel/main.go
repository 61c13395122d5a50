// Command otel shows calls in OpenTelemetry: a span for each call, under it one for each
// request, and a histogram of the requests per call. It needs no set-up: the backend is a
// fake one that fails.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run makes two calls, and shows their spans and their metric.
func run(ctx context.Context, out io.Writer) error {
	spans, reader := tracetest.NewInMemoryExporter(), sdkmetric.NewManualReader() // a service has others
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	attempts, err := meters.Meter("example").Int64Histogram("flashback.call.attempts",
		metric.WithUnit("{attempt}"), metric.WithExplicitBucketBoundaries(1, 2, 3, 5))
	if err != nil {
		return err
	}
	calls := observer{tracers.Tracer("example"), attempts}

	backend := flashbacktest.NewServer()
	defer backend.Close()
	backend.AddDeletedUser("user-1")
	backend.Script(flashbacktest.Respond(http.StatusServiceUnavailable, ""), flashbacktest.LoseResponse(flashbacktest.CutResponse), flashbacktest.None(),
		flashbacktest.LoseResponse(flashbacktest.CutResponse)) // three for Activate, one for Delete

	base := flashback.NewTransport() // keeps connections for many workers
	defer base.CloseIdleConnections()
	client, err := flashback.NewClient(backend.Token(), flashback.WithBaseURL(backend.URL), flashback.WithHTTPClient(&http.Client{
		Transport: otelhttp.NewTransport(counted{base}, otelhttp.WithTracerProvider(tracers), otelhttp.WithSpanNameFormatter(spanName)),
	}))
	if err != nil {
		return err
	}
	users := client.Organization.Users

	err = errors.Join(
		calls.observe(ctx, "organization.users.activate", func(ctx context.Context) error {
			_, err := users.Activate(ctx, "user-1")
			return err
		}),
		calls.observe(ctx, "organization.users.delete", func(ctx context.Context) error {
			_, err := users.Delete(ctx, "user-1")
			return err
		}),
	)
	if err != nil {
		return err
	}
	showTrace(out, spans.GetSpans())
	return showMetric(ctx, out, reader)
}

// observer makes a span and a measurement of each call.
type observer struct {
	tracer   trace.Tracer
	attempts metric.Int64Histogram
}

func (o observer) observe(ctx context.Context, op string, call func(context.Context) error) error {
	ctx, span := o.tracer.Start(ctx, op)
	defer span.End()
	var response flashback.Response
	err := call(flashback.WithResponse(ctx, &response))
	span.SetAttributes(attribute.Int("flashback.attempts", response.Attempts), attribute.Bool("flashback.recovered", response.Recovered))
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	o.attempts.Record(ctx, int64(response.Attempts), metric.WithAttributes(attribute.String("flashback.op", op)))
	return err
}

// spanName names the span of a request.
func spanName(_ string, req *http.Request) string {
	attempt, _ := flashback.AttemptFrom(req.Context())
	return req.Method + " " + attempt.Op
}

// counted puts into the span of a request how many the call has sent before.
type counted struct{ http.RoundTripper }

func (t counted) RoundTrip(req *http.Request) (*http.Response, error) {
	if attempt, ok := flashback.AttemptFrom(req.Context()); ok && attempt.Number > 1 {
		trace.SpanFromContext(req.Context()).SetAttributes(attribute.Int("http.request.resend_count", attempt.Number-1))
	}
	return t.RoundTripper.RoundTrip(req)
}

// showTrace prints spans as trees of two levels.
func showTrace(out io.Writer, spans tracetest.SpanStubs) {
	for _, parent := range spans {
		if parent.Parent.IsValid() {
			continue
		}
		fmt.Fprintln(out, parent.Name, values(parent, "flashback.attempts", "flashback.recovered"))
		for _, s := range spans {
			if s.Parent.SpanID() == parent.SpanContext.SpanID() {
				fmt.Fprintln(out, "  "+s.Name, values(s, "http.request.resend_count", "http.response.status_code", "error.type"))
			}
		}
	}
}

func values(s tracetest.SpanStub, keys ...attribute.Key) (found []string) {
	for _, key := range keys {
		for _, a := range s.Attributes {
			if a.Key == key {
				found = append(found, string(key)+"="+a.Value.String())
			}
		}
	}
	return found
}

// showMetric prints the histograms that a reader has, which come in no order.
func showMetric(ctx context.Context, out io.Writer, reader sdkmetric.Reader) error {
	var all metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &all); err != nil {
		return err
	}
	var lines []string
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			histogram, _ := m.Data.(metricdata.Histogram[int64])
			for _, p := range histogram.DataPoints {
				op, _ := p.Attributes.Value("flashback.op")
				lines = append(lines, fmt.Sprintf("%s %s [count=%d sum=%d, up to %v: %v]", m.Name, op.AsString(), p.Count, p.Sum, p.Bounds, p.BucketCounts))
			}
		}
	}
	slices.Sort(lines)
	for _, line := range lines {
		fmt.Fprintln(out, line)
	}
	return nil
}

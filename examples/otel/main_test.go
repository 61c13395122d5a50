package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

func TestEachAttemptHasASpanUnderTheCallers(t *testing.T) {
	t.Parallel()
	exporter := tracetest.NewInMemoryExporter()
	require.NoError(t, activate(t.Context(), sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))))
	spans := exporter.GetSpans()
	require.Len(t, spans, 4)
	caller := spans[3] // the last to end
	assert.Equal(t, "reactivate user", caller.Name)
	assert.False(t, caller.Parent.IsValid())
	for _, attempt := range spans[:3] {
		assert.Equal(t, "HTTP POST", attempt.Name)
		assert.Equal(t, caller.SpanContext.SpanID(), attempt.Parent.SpanID())
		assert.Equal(t, caller.SpanContext.TraceID(), attempt.SpanContext.TraceID())
	}
	var out bytes.Buffer
	show(&out, spans)
	assert.Equal(t, `reactivate user [flashback.attempts=3 flashback.recovered=true]
  HTTP POST [http.response.status_code=503 error.type=503]
  HTTP POST [error.type=*errors.errorString]
  HTTP POST [http.response.status_code=400 error.type=400]
`, out.String())
}

package api

import (
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// traced tells the tracer of each request that next answers, as part of the trace that the brand's own
// request belongs to, if it says so (W3C traceparent). Nothing of a trace is told to the brand. Only brands
// that are known and within their rate come here, so nobody else can have anything traced.
func (d *Door) traced(next *http.ServeMux) http.Handler {
	if d.o.Tracer == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, route := next.Handler(r)
		ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		ctx, span := d.o.Tracer.Start(ctx, route, trace.WithSpanKind(trace.SpanKindServer),
			trace.WithAttributes(attribute.String("porchlight.brand", string(brandOf(ctx).ID))))
		defer span.End()
		rec := &recorder{ResponseWriter: w}
		next.ServeHTTP(rec, r.WithContext(ctx))
		span.SetAttributes(attribute.Int("http.response.status_code", rec.status))
		if rec.status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, "")
		}
	})
}

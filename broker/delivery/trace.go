package delivery

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"porchlight/device"
	"porchlight/device/registry"
)

// tracing tells a tracer what becomes of messages: accept, and on each screen that gets it judge, offer
// and receipt, each a child of the one before. It names homes, devices, brands and messages by ID, as
// logs do; what was decided elsewhere, and what people did, it does not tell. Nil tells nothing.
type tracing struct {
	tracer trace.Tracer

	mu sync.Mutex
	of map[device.MessageID]trace.SpanContext // of messages in force: where they were accepted
}

// tracedMessages is how many messages in force are traced at most.
const tracedMessages = 4096

// Attributes of spans, beside OpenTelemetry's own.
const (
	messageAttribute = "porchlight.message"
	homeAttribute    = "porchlight.home"
	deviceAttribute  = "porchlight.device"
	brandAttribute   = "porchlight.brand"
)

func newTracing(t trace.Tracer) *tracing {
	if t == nil {
		return nil
	}
	return &tracing{tracer: t, of: map[device.MessageID]trace.SpanContext{}}
}

// Accept takes in a message. The same key with the same message gives the same answer, whenever
// it comes; it is signed anew if the brand's key has changed. It fails with an Invalid, a
// SignatureError, ErrKey, ErrUnsigned, ErrStopped, ErrConflict, ErrQuota, or a fault of the store.
func (d *Desk) Accept(ctx context.Context, b registry.Brand, key string, s Submission) (Answer, error) {
	if d.tracing == nil {
		return d.accept(ctx, b, key, s)
	}
	ctx, span := d.tracing.tracer.Start(ctx, "accept", trace.WithAttributes(attribute.String(brandAttribute, string(b.ID))))
	defer span.End()
	a, err := d.accept(ctx, b, key, s)
	if err != nil {
		span.SetStatus(codes.Error, "") // what was wrong is the brand's to hear
	} else {
		span.SetAttributes(attribute.String(messageAttribute, a.ID.String()))
	}
	return a, err
}

// keep remembers where a message was accepted, before anybody judges it.
func (t *tracing) keep(id device.MessageID, ctx context.Context) {
	if t == nil {
		return
	}
	at := trace.SpanContextFromContext(ctx)
	if !at.IsSampled() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.of) < tracedMessages {
		t.of[id] = at
	}
}

// drop forgets a message that is not in force any more.
func (t *tracing) drop(id device.MessageID) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.of, id)
}

// judged tells that a screen was claimed, from the look round the home on. It returns the span, nil if
// the message is not traced.
func (t *tracing) judged(h *home, dl *delivery, began time.Time) trace.Span {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	at, ok := t.of[dl.id]
	t.mu.Unlock()
	if !ok {
		return nil
	}
	span := t.start(at, "judge", trace.SpanKindInternal, h, dl, trace.WithTimestamp(began))
	span.End()
	return span
}

// offered tells that the message was handed to the device's connection: the span lasts until the device
// has acknowledged it.
func (t *tracing) offered(h *home, dl *delivery) {
	if t != nil && dl.span != nil {
		dl.span = t.start(dl.span.SpanContext(), "offer", trace.SpanKindProducer, h, dl)
	}
}

// answered tells that the device has acknowledged what it was offered.
func (dl *delivery) answered() {
	if dl.span != nil {
		dl.span.End()
	}
}

// unanswered tells that the connection ended before.
func (dl *delivery) unanswered() {
	if dl.span != nil {
		dl.span.SetStatus(codes.Error, "away")
		dl.span.End()
	}
}

// presented tells that the device's word that the message was on its screen is on disk.
func (t *tracing) presented(h *home, dl *delivery, began time.Time) {
	if t != nil && dl.span != nil {
		dl.span.End() // of an acknowledgement that comes later, or was lost
		t.start(dl.span.SpanContext(), "receipt", trace.SpanKindConsumer, h, dl, trace.WithTimestamp(began)).End()
	}
}

func (t *tracing) start(parent trace.SpanContext, name string, kind trace.SpanKind, h *home, dl *delivery, more ...trace.SpanStartOption) trace.Span {
	_, span := t.tracer.Start(trace.ContextWithSpanContext(context.Background(), parent), name, append(more, trace.WithSpanKind(kind),
		trace.WithAttributes(attribute.String(messageAttribute, dl.id.String()), attribute.Int64(homeAttribute, int64(h.id)), attribute.String(deviceAttribute, string(dl.device))))...)
	return span
}

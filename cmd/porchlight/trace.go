package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/encoding/protowire"
)

// traces carries spans to a collector. Nil has none.
type traces struct {
	provider *sdk.TracerProvider
	to       *collector
}

// openTraces returns nil if c names no collector.
func openTraces(c TracesConfig, log *slog.Logger) *traces {
	if c.To == "" {
		return nil
	}
	to, _ := url.Parse(c.To) // Validate has seen it
	if to.Path == "" || to.Path == "/" {
		to = to.JoinPath("v1/traces")
	}
	k := &collector{to: to.String(), log: log, client: http.Client{
		Timeout:       10 * time.Second,
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConns: 2, IdleConnTimeout: time.Minute},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	k.sent = prometheus.NewCounter(prometheus.CounterOpts{Name: "porchlight_trace_spans_sent_total", Help: "Spans that the collector has taken."})
	k.lost = prometheus.NewCounter(prometheus.CounterOpts{Name: "porchlight_trace_spans_lost_total", Help: "Spans that the collector could not be given."})
	k.ended = tally{prometheus.NewCounter(prometheus.CounterOpts{Name: "porchlight_trace_spans_total", Help: "Spans that were to be sent. Up to 2048 wait; what is neither sent, lost nor waiting had no room to wait."})}
	return &traces{to: k, provider: sdk.NewTracerProvider(
		sdk.WithResource(resource.NewSchemaless(attribute.String("service.name", "porchlight"), attribute.String("service.version", version()))),
		sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(c.Sample))),
		sdk.WithSpanProcessor(k.ended),
		sdk.WithBatcher(k, sdk.WithBatchTimeout(time.Second)),
	)}
}

// tracer is what is told of spans; nil: nobody is.
func (t *traces) tracer() trace.Tracer {
	if t == nil {
		return nil
	}
	return t.provider.Tracer("porchlight")
}

// metrics are what is counted.
func (t *traces) metrics() []prometheus.Collector {
	if t == nil {
		return nil
	}
	return []prometheus.Collector{t.to.ended, t.to.sent, t.to.lost}
}

// Close sends what is left, for at most three seconds.
func (t *traces) Close() error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	return t.provider.Shutdown(ctx)
}

// collector is what takes spans: OTLP over HTTP, in protobuf. It is written out here because the exporter that
// there is brings gRPC along, a quarter of this program's size. It implements sdk.SpanExporter.
type collector struct {
	to         string
	client     http.Client
	log        *slog.Logger
	sent, lost prometheus.Counter
	ended      tally
}

// tally counts spans that have ended. It implements sdk.SpanProcessor.
type tally struct{ prometheus.Counter }

func (tally) OnStart(context.Context, sdk.ReadWriteSpan) {}
func (t tally) OnEnd(s sdk.ReadOnlySpan) {
	if s.SpanContext().IsSampled() {
		t.Inc()
	}
}
func (tally) Shutdown(context.Context) error   { return nil }
func (tally) ForceFlush(context.Context) error { return nil }

// ExportSpans sends spans once. What the collector does not take is lost, and counted.
func (k *collector) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := k.send(ctx, encodeSpans(spans))
	if err != nil {
		k.lost.Add(float64(len(spans)))
		k.log.Warn("spans not sent", "spans", len(spans), "err", err)
		return nil // it has been said
	}
	k.sent.Add(float64(len(spans)))
	return nil
}

func (k *collector) send(ctx context.Context, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, k.to, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	resp, err := k.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection is used again
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("the collector answered %s", resp.Status)
	}
	return nil
}

// Shutdown closes the connections.
func (k *collector) Shutdown(context.Context) error {
	k.client.CloseIdleConnections()
	return nil
}

// encodeSpans is an ExportTraceServiceRequest of OTLP 1: the spans are all of one process and one tracer.
func encodeSpans(spans []sdk.ReadOnlySpan) []byte {
	if len(spans) == 0 {
		return nil
	}
	var scoped []byte
	scoped = field(scoped, 1, field(nil, 1, []byte("porchlight"))) // scope
	for _, s := range spans {
		scoped = field(scoped, 2, encodeSpan(s))
	}
	var of []byte
	of = field(of, 1, encodeAttributes(nil, 1, spans[0].Resource().Attributes()))
	of = field(of, 2, scoped)
	return field(nil, 1, of)
}

func encodeSpan(s sdk.ReadOnlySpan) (b []byte) {
	at, parent := s.SpanContext(), s.Parent()
	id, span := at.TraceID(), at.SpanID()
	b = field(b, 1, id[:])
	b = field(b, 2, span[:])
	if p := parent.SpanID(); p.IsValid() {
		b = field(b, 4, p[:])
	}
	b = field(b, 5, []byte(s.Name()))
	b = number(b, 6, uint64(s.SpanKind())) // the numbers are the same
	b = protowire.AppendFixed64(protowire.AppendTag(b, 7, protowire.Fixed64Type), uint64(s.StartTime().UnixNano()))
	b = protowire.AppendFixed64(protowire.AppendTag(b, 8, protowire.Fixed64Type), uint64(s.EndTime().UnixNano()))
	b = encodeAttributes(b, 9, s.Attributes())
	if status := s.Status(); status.Code == codes.Error {
		b = field(b, 15, number(field(nil, 2, []byte(status.Description)), 3, 2))
	}
	const hasRemote, remote = 0x100, 0x200
	flags := uint32(at.TraceFlags()) | hasRemote
	if parent.IsRemote() {
		flags |= remote
	}
	return binary.LittleEndian.AppendUint32(protowire.AppendTag(b, 16, protowire.Fixed32Type), flags)
}

func encodeAttributes(b []byte, number protowire.Number, all []attribute.KeyValue) []byte {
	for _, kv := range all {
		var value []byte
		if kv.Value.Type() == attribute.INT64 {
			value = protowire.AppendVarint(protowire.AppendTag(nil, 3, protowire.VarintType), uint64(kv.Value.AsInt64()))
		} else {
			value = field(nil, 1, []byte(kv.Value.String()))
		}
		b = field(b, number, field(field(nil, 1, []byte(kv.Key)), 2, value))
	}
	return b
}

// field appends a field of bytes, text or a message.
func field(b []byte, n protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), value)
}

func number(b []byte, n protowire.Number, value uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), value)
}

// built tells which gateway this is, as the metrics of a process do.
func built() prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "porchlight_build_info", Help: "1, with the version of the gateway and of Go.",
		ConstLabels: prometheus.Labels{"version": version(), "goversion": runtime.Version()}})
	g.Set(1)
	return g
}

package broker

import (
	"context"
	"log/slog"

	"github.com/mochi-mqtt/server/v2/packets"
)

// quiet is the library's logger. The library logs whole packets, and at levels that a stranger
// can provoke: of its lines only the constant message, the listener and the reason code pass,
// all at Debug.
type quiet struct{ to slog.Handler }

func (q quiet) Enabled(ctx context.Context, _ slog.Level) bool {
	return q.to.Enabled(ctx, slog.LevelDebug)
}

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	clean := slog.NewRecord(r.Time, slog.LevelDebug, "library: "+r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		switch v := a.Value.Any().(type) {
		case packets.Code:
			if a.Key == "error" {
				clean.AddAttrs(slog.Int("code", int(v.Code)))
			}
		case string:
			if a.Key == "listener" && len(v) <= len(webSocketTLS) {
				clean.AddAttrs(a)
			}
		}
		return true
	})
	return q.to.Handle(ctx, clean)
}

func (q quiet) WithAttrs([]slog.Attr) slog.Handler { return q }
func (q quiet) WithGroup(string) slog.Handler      { return q }

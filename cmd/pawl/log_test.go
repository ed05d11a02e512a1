package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The lines are those of slog's own handler, whatever is in them.
func TestJSONLines(t *testing.T) {
	text := rapid.OneOf(rapid.StringMatching(`[ -~]{0,12}`), rapid.String(), rapid.SampledFrom([]string{"", "verdict", "<&>", `"`, `\`, "é", "\x00", "\x7f", "\xff", "\u2028"}))
	var value *rapid.Generator[slog.Value]
	attr := rapid.Custom(func(t *rapid.T) slog.Attr { return slog.Attr{Key: text.Draw(t, "key"), Value: value.Draw(t, "value")} })
	value = rapid.Custom(func(t *rapid.T) slog.Value {
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0:
			return slog.Int64Value(rapid.Int64().Draw(t, "int"))
		case 1:
			return slog.BoolValue(rapid.Bool().Draw(t, "bool"))
		case 2:
			return slog.DurationValue(time.Duration(rapid.Int64().Draw(t, "duration")))
		case 3:
			return slog.GroupValue(rapid.SliceOfN(rapid.Deferred(func() *rapid.Generator[slog.Attr] { return attr }), 0, 3).Draw(t, "group")...)
		case 4:
			return slog.AnyValue(errors.New(text.Draw(t, "error")))
		case 5:
			return slog.Float64Value(rapid.Float64Range(-1e9, 1e9).Draw(t, "float"))
		case 6:
			return slog.AnyValue(nil)
		case 7:
			return slog.TimeValue(time.Unix(rapid.Int64Range(-1e11, 1e11).Draw(t, "time"), 0))
		default:
			return slog.StringValue(text.Draw(t, "string"))
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		at := rapid.SampledFrom([]time.Time{{}, time.Unix(1_800_000_000, 123_000_000).UTC(), time.Unix(1_800_000_000, 0), time.Now()}).Draw(t, "at")
		level := slog.Level(rapid.IntRange(-5, 9).Draw(t, "level"))
		r := slog.NewRecord(at, level, text.Draw(t, "message"), 0)
		r.AddAttrs(rapid.SliceOfN(attr, 0, 8).Draw(t, "attributes")...)
		var got, want bytes.Buffer
		ours, theirs := newJSONHandler(&got, slog.LevelInfo), slog.NewJSONHandler(&want, nil)
		if ours.Enabled(context.Background(), level) != theirs.Enabled(context.Background(), level) {
			t.Fatal("another level")
		}
		for _, h := range []slog.Handler{ours, theirs} {
			if err := h.Handle(context.Background(), r.Clone()); err != nil {
				t.Fatal(err)
			}
		}
		if got.String() != want.String() {
			t.Fatalf("got  %swant %s", got.String(), want.String())
		}
	})
}

func BenchmarkLine(b *testing.B) {
	r := slog.NewRecord(time.Now(), slog.LevelInfo, "request", 0)
	r.AddAttrs(slog.Attr{Value: slog.GroupValue(
		slog.String("verdict", "allowed"), slog.String("action", "secretsmanager:GetSecretValue"), slog.String("secret", "prod/orders/db"),
		slog.String("principal", "arn:aws:iam::123456789012:user/orders"), slog.String("key", "AKIAIOSFODNN7EXAMPLE"),
		slog.String("account", "123456789012"), slog.String("region", "us-east-1"), slog.Int("status", 200),
		slog.Duration("took", 40*time.Microsecond), slog.Int("received", 30), slog.Int("sent", 1300),
		slog.String("request", "11111111-2222-4333-8444-555555555555"), slog.String("remote", "127.0.0.1:40961"), slog.Bool("tls", false))})
	for name, h := range map[string]slog.Handler{"ours": newJSONHandler(io.Discard, slog.LevelInfo), "slog": slog.NewJSONHandler(io.Discard, nil)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = h.Handle(b.Context(), r)
			}
		})
	}
}

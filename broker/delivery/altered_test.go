package delivery

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/policy"
)

// odd is what stands in the place of something in an altered export.
var odd = []any{-1, 0, 1, 127, 128, 255, 256, 70000, 1 << 32, math.MaxInt64, math.MinInt64, 1e300, 1.5, nil, true, false, "", "x", "Local", "../etc", "9999999h",
	"\u202egrocer", "a\x00b", strings.Repeat("A", 100_000), []any{}, map[string]any{}, []any{nil}, []any{1, 1, 1}}

// alter changes one thing somewhere in what JSON says.
func alter(r *rand.Rand, v any) any {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 || r.IntN(6) == 0 {
			break
		}
		keys := slices.Sorted(maps.Keys(v))
		key := keys[r.IntN(len(keys))]
		if r.IntN(12) == 0 {
			delete(v, key)
		} else {
			v[key] = alter(r, v[key])
		}
		return v
	case []any:
		if len(v) == 0 || r.IntN(6) == 0 {
			break
		}
		i := r.IntN(len(v))
		if r.IntN(8) == 0 {
			return append(v, slices.Repeat(v[i:i+1], 2000)...)
		}
		v[i] = alter(r, v[i])
		return v
	}
	return odd[r.IntN(len(odd))]
}

// An export that was altered anyhow is refused, or the home works: messages are judged there, its people are answered, it can be
// exported, and that after a restart, too.
func TestImportAlteredAnyhow(t *testing.T) {
	n, seed := 30, rand.Uint64()
	if os.Getenv("PORCHLIGHT_LONG") != "" {
		n = 5000
	}
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	inWorld(t, func(w *world) {
		w.lives()
		good := unzip(t, w.export(ExportAsked{Home: "oak"}))
		was := strings.Split(strings.TrimSpace(good[journalFile]), "\n")
		taken := 0
		for range n {
			lines, i := slices.Clone(was), r.IntN(len(was))
			var l map[string]any
			w.must(json.Unmarshal([]byte(lines[i]), &l))
			l["body"] = alter(r, l["body"])
			altered, err := json.Marshal(l)
			w.must(err)
			lines[i] = string(altered)
			files := maps.Clone(good)
			files[journalFile] = strings.Join(lines, "\n") + "\n"
			raw := rezip(t, files)
			v := &world{t: w.t, path: filepath.Join(t.TempDir(), "q.db"), hands: map[device.ID]*hand{}, brand: w.brand}
			v.start()
			_, err = v.desk.AddBrand(w.t.Context(), w.brand)
			v.must(err)
			if _, err := v.desk.Import(w.t.Context(), bytes.NewReader(raw), int64(len(raw)), ImportAsked{Name: "oak"}); err == nil {
				taken++
				for range 2 {
					if err := v.works(); err != nil {
						t.Errorf("%v, of %.1000s", err, altered)
					}
					v.restart()
				}
			}
			v.end()
		}
		if taken == 0 || taken == n {
			t.Errorf("of %d altered exports %d were taken in", n, taken)
		}
	})
}

// works does what people, brands and operators do with the home oak.
func (w *world) works() error {
	ctx := w.t.Context()
	devices, err := w.desk.Devices(ctx, "oak")
	if err != nil {
		return fmt.Errorf("devices: %w", err)
	}
	for _, d := range devices {
		w.hand(d.Device).connect()
	}
	w.wait()
	w.n++
	a, err := w.desk.Accept(ctx, w.brand, fmt.Sprint("key-", w.n), w.good())
	if err != nil {
		return fmt.Errorf("accept: %w", err)
	}
	w.pass(3 * time.Second)
	for name, do := range map[string]func() error{
		"home":        func() error { _, err := w.desk.Home(ctx, "oak"); return err },
		"preferences": func() error { _, err := w.desk.Preferences(ctx, "oak"); return err },
		"in force":    func() error { _, err := w.desk.InForce(ctx, "oak"); return err },
		"why":         func() error { _, err := w.desk.Why(ctx, a.ID, "oak", WhyOptions{}); return err },
		"held":        func() error { _, err := w.desk.Held(ctx, "oak", WhyOptions{}); return err },
		"export":      func() error { return w.desk.Export(ctx, ExportAsked{Home: "oak"}, io.Discard) },
		"a no":        func() error { return w.desk.Choose(ctx, "oak", "", w.brand.ID, policy.Marketing, policy.Refused) },
		"a yes":       func() error { return w.desk.Choose(ctx, "oak", "", w.brand.ID, policy.Marketing, policy.Given) },
	} {
		if err := do(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	w.pass(time.Minute)
	return nil
}

package policy

import (
	"math/rand/v2"
	"testing"

	"cel.dev/cel-go/cel"

	"porchlight/device"
)

// typical are conditions as brands write them.
var typical = []string{
	"fridge.door.open",
	"fridge.door.open && fridge.door.open.since < 120",
	"screen.state in ['idle', 'on', 'paused'] && screen.power.state == 'on'",
	"now.hour >= 17 && now.hour < 21 && now.weekday in ['mon', 'tue', 'wed', 'thu', 'fri']",
	"washer.OperationalState == 'Stopped' && washer.OperationCompletion == 'NoError'",
	"now.date >= '2026-06-01' && now.date <= '2026-06-24' && !screen.dnd",
	"car.Vehicle.Speed == 0 ? car.Vehicle.LowVoltageSystemState != 'START' : fridge.temperature > 8.5",
	"presence.count >= 1 && presence.children == 0",
}

func typicalWorld(b *testing.B) (q Request, all []*Expression) {
	r := rand.New(rand.NewPCG(1, 1))
	q = *good(device.TV)
	q.Home.Consents[ConsentKey{0, grocer, Context}] = Stance{Choice: Given}
	q.Home.Consents[ConsentKey{ada, grocer, Context}] = Stance{Choice: Given}
	q.seen("1")
	for _, class := range []device.Class{device.Washer, device.Car} {
		q.Home.Screens = append(q.Home.Screens, &Screen{ID: device.ID(class.String()), Class: class, Context: &device.Context{Class: class}})
	}
	for _, text := range typical {
		c, err := ParseCondition(text)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, c)
		for _, v := range c.vars {
			for _, s := range q.Home.Screens {
				if info := v.attribute.Info(); (v.class == s.Class || v.class == 0 && s == q.Screen) && info.Kind != device.Unknown {
					value := map[device.Kind]any{device.Bool: true, device.Number: 0.0}[info.Kind]
					if info.Kind == device.Enum {
						value = info.Values[r.IntN(len(info.Values))]
					}
					putSince(s, v.attribute, val(v.attribute, value), q.Now, q.Now-60_000)
				}
			}
		}
	}
	q.Home.Prepare(q.Now)
	q.look()
	return q, all
}

var benchTruth Truth

// BenchmarkCondition is what one of eight typical conditions costs, alone.
func BenchmarkCondition(b *testing.B) {
	q, all := typicalWorld(b)
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			c := all[i%len(all)]
			n := inquiry{q: &q}
			benchTruth = n.truth(c, len(c.nodes)-1)
		}
	})
	b.Run("cel-go", func(b *testing.B) {
		var programs []cel.Program
		var inputs []any
		for _, c := range all {
			p, err := refProgram(c.Text())
			if err != nil {
				b.Fatal(err)
			}
			known, patterns := map[string]any{}, []*cel.AttributePatternType{}
			for _, name := range c.Needs() {
				if v, ok := refVariable(q, name, false); ok {
					known[name] = v
				} else {
					patterns = append(patterns, cel.AttributePattern(name))
				}
			}
			in, err := cel.PartialVars(known, patterns...)
			if err != nil {
				b.Fatal(err)
			}
			programs, inputs = append(programs, p), append(inputs, in)
		}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			_, _, _ = programs[i%len(programs)].Eval(inputs[i%len(inputs)])
		}
	})
}

// BenchmarkConditionUntil is the same, and when the clock may change it.
func BenchmarkConditionUntil(b *testing.B) {
	q, all := typicalWorld(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		n := inquiry{q: &q}
		benchTruth = n.judge(all[i%len(all)]).truth()
	}
}

// BenchmarkConditionCompile is what it costs to read one and find out whether it makes sense.
func BenchmarkConditionCompile(b *testing.B) {
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := ParseCondition(typical[i%len(typical)]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("cel-go", func(b *testing.B) {
		refEnv()
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := refProgram(typical[i%len(typical)]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

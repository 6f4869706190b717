package sim

import (
	"strings"
	"testing"

	"porchlight/device"
	"porchlight/device/wire"
)

func canAll(c *Config) { c.Can.Duties = device.CanDim | device.CanMinimal }

// A duty that the birth names is kept; one that it does not name is declined.
func TestDuties(t *testing.T) {
	tests := map[string]struct {
		duties uint
		config func(*Config)
		kind   wire.EventKind
		draws  []string
		not    []string
	}{
		"none":             {0, canAll, wire.Presented, []string{"Soup of the day", "┌", "│ "}, []string{"press to read", "┊"}},
		"dim":              {wire.DutyDim, canAll, wire.Presented, []string{"Soup of the day", "┊ "}, []string{"press to read"}},
		"minimal":          {wire.DutyMinimal, canAll, wire.Presented, []string{"Grocer", "press to read", "[not now]"}, []string{"Soup", "Yes, please", "┊"}},
		"both":             {wire.DutyDim | wire.DutyMinimal, canAll, wire.Presented, []string{"Grocer", "press to read", "┊"}, []string{"Soup"}},
		"dim, not named":   {wire.DutyDim, nil, wire.Declined, nil, nil},
		"a later version":  {1 << 20, canAll, wire.Declined, nil, nil},
		"dim alone, named": {wire.DutyMinimal, func(c *Config) { c.Can.Duties = device.CanDim }, wire.Declined, nil, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			shown := make(chan Event, 10)
			d := g.ready(device.Display, func(c *Config) {
				c.Notify = func(e Event) {
					if e.Kind == Shown {
						shown <- e
					}
				}
				if tt.config != nil {
					tt.config(c)
				}
			})
			p := g.message()
			p.Duties, p.Sender, p.Title = tt.duties, "Grocer", "Soup for you"
			p.Responses = []wire.Response{{ID: 1, Label: "Yes, please"}}
			g.send(d, wire.DnMsg, p)
			reason := wire.Reason(0)
			if tt.kind == wire.Declined {
				reason = wire.UnsupportedForm
			}
			g.want(g.event(p.Message, 1), tt.kind, reason)
			if tt.kind == wire.Declined {
				return
			}
			if e := <-shown; e.Dim != (tt.duties&wire.DutyDim != 0) || (e.Text == "") != (tt.duties&wire.DutyMinimal != 0) {
				t.Errorf("shown: %+v", e)
			}
			drawn := d.State().Picture(44)
			for _, w := range tt.draws {
				if !strings.Contains(drawn, w) {
					t.Errorf("want %q in\n%s", w, drawn)
				}
			}
			for _, w := range tt.not {
				if strings.Contains(drawn, w) {
					t.Errorf("want no %q in\n%s", w, drawn)
				}
			}
			if tt.duties&wire.DutyMinimal == 0 {
				if err := d.Read(); err == nil {
					t.Error("read, though nothing was kept back")
				}
				return
			}
			if err := d.Press(1, nil); err == nil {
				t.Error("pressed a button that is not seen")
			}
			if err := d.Read(); err != nil {
				t.Fatal(err)
			}
			if e := <-shown; !strings.HasPrefix(e.Text, "Soup") || e.Title != "Soup for you" {
				t.Errorf("read: %+v", e)
			}
			if drawn := d.State().Picture(44); !strings.Contains(drawn, "Soup of the day") || !strings.Contains(drawn, "Yes, please") {
				t.Errorf("read:\n%s", drawn)
			}
			if err := d.Press(1, nil); err != nil {
				t.Error(err)
			}
			g.want(g.event(p.Message, 2), wire.Responded, 0)
		})
	}
}

package delivery

import (
	"context"
	"fmt"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/policy"
)

// ConditionAsked asks what a condition comes to on a screen.
type ConditionAsked struct {
	Home      string         `json:"home"`
	Device    string         `json:"device"`          // by ID, or by name
	Brand     device.BrandID `json:"brand,omitempty"` // as for a message of this brand; "": all may be read
	Condition string         `json:"condition"`
}

// ConditionTold is what a condition comes to, part by part.
type ConditionTold struct {
	Needs []string        `json:"needs"`
	Steps []ConditionStep `json:"steps"`
}

// ConditionStep is what a part of a condition comes to.
type ConditionStep struct {
	policy.Step
	Is string `json:"is"` // true, false or unknown
}

// TellCondition says what c comes to for q.
func TellCondition(c *policy.Expression, q policy.Request) ConditionTold {
	t := ConditionTold{Needs: c.Needs(), Steps: []ConditionStep{}}
	for _, s := range c.Explain(q) {
		t.Steps = append(t.Steps, ConditionStep{s, s.Truth.String()})
	}
	return t
}

// ExplainCondition says what a condition comes to on a screen of a home, now. It fails with
// registry.ErrInvalid if the condition cannot be read, and with registry.ErrUnknown if there is no such
// home, device or brand.
func (d *Desk) ExplainCondition(ctx context.Context, in ConditionAsked) (told ConditionTold, err error) {
	c, err := policy.ParseCondition(in.Condition)
	if err != nil {
		return told, fmt.Errorf("condition: %w: %w", registry.ErrInvalid, err)
	}
	id, err := d.homeID(ctx, in.Home)
	if err == nil && in.Brand != "" {
		err = d.db.View(ctx, func(tx *store.Tx) error { _, err := registry.BrandByID(tx, in.Brand); return err })
	}
	if err == nil {
		err = d.in(id, func(h *home) error {
			for _, s := range h.view.Screens {
				if string(s.ID) != in.Device && h.screens[s.ID].Name != in.Device {
					continue
				}
				q := policy.Request{Home: &h.view, Screen: s, Now: d.o.Now()}
				if in.Brand != "" {
					q.Message = &policy.Message{Brand: in.Brand}
				}
				told = TellCondition(c, q)
				return nil
			}
			return &registry.UnknownError{What: "device", Name: in.Device, Home: id}
		})
	}
	return told, err
}

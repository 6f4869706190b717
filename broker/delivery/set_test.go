package delivery

import (
	"context"
	"fmt"

	"porchlight/device/store"
	"porchlight/device/twin"
	"porchlight/policy"
)

// SetQuiet, SetMutes and SetCaps replace a preference of a home as policy has it, where tests want just that. Empty caps mean
// no cap at all; nil ones are DefaultCaps.
func (d *Desk) SetQuiet(ctx context.Context, homeName string, quiet []policy.Quiet) error {
	return d.setPreference(ctx, homeName, twin.Quiet, quiet, func(h *home) error { return checkQuiet(quiet, h.lives) })
}

// SetMutes replaces the mutes of a home.
func (d *Desk) SetMutes(ctx context.Context, homeName string, mutes []policy.MuteRule) error {
	return d.setPreference(ctx, homeName, twin.Mutes, mutes, func(h *home) error { return checkMutes(mutes, h.lives) })
}

// SetCaps replaces the caps of a home.
func (d *Desk) SetCaps(ctx context.Context, homeName string, caps []policy.Cap) error {
	if caps == nil {
		caps = DefaultCaps()
	}
	return d.setPreference(ctx, homeName, twin.Caps, caps, func(h *home) error { return checkCaps(caps, h.lives) })
}

// setPreference sets a preference of a home, unless check says what is wrong with it.
func (d *Desk) setPreference(ctx context.Context, homeName, name string, body any, check func(h *home) error) error {
	return d.named(ctx, homeName, func(h *home, tx *store.Tx) error {
		if err := check(h); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
		return setPreference(tx, h.id, name, body, "")
	})
}

package delivery

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
)

// The facts of doors and of the authority: for the audit alone.
const (
	doorRefused       = "door.refused"
	authorityRotated  = "authority.rotated"
	authorityRetired  = "authority.retired"
	authorityExported = "authority.exported"
)

// Refusal is something that a door did not let somebody do, once or several times.
type Refusal struct {
	Peer  string        `json:"peer,omitempty"` // device ID, "b-" and a brand's, or what a stranger called itself; "": nothing
	Home  device.HomeID `json:"-"`              // a device's; 0: not a device's
	From  string        `json:"from,omitempty"` // address without its port
	What  string        `json:"what"`
	Count int           `json:"count"`
}

// Refused writes down what a door has refused.
func (d *Desk) Refused(all []Refusal) error {
	return d.update(func(tx *store.Tx) error {
		for _, r := range all {
			home := r.Home
			if home != device.Gateway {
				if _, err := registry.HomeByID(tx, home); err != nil {
					home = device.Gateway // removed meanwhile
				}
			}
			if _, err := tx.Add(home, doorRefused, r); err != nil {
				return err
			}
		}
		return nil
	})
}

// AuthorityChanged writes down that the certificate authority was rotated, retired or exported.
func (d *Desk) AuthorityChanged(what string) error {
	return d.update(func(tx *store.Tx) error {
		_, err := tx.Add(device.Gateway, "authority."+what, struct{}{})
		return err
	})
}

// Behind counts the devices whose credentials were issued before then, and names the first most of them for the operator: by
// name, home and ID.
func (d *Desk) Behind(ctx context.Context, then device.Instant, most int) (n int, some []string, err error) {
	err = d.db.View(ctx, func(tx *store.Tx) error {
		var devices []device.Device
		if n, devices, err = registry.Behind(tx, then, most); err != nil {
			return err
		}
		for _, one := range devices {
			h, err := registry.HomeByID(tx, one.Home)
			if err != nil {
				return err
			}
			some = append(some, fmt.Sprintf("%s of home %s (%s)", one.Name, h.Name, one.ID))
		}
		return nil
	})
	return n, some, err
}

// applyNothing projects the facts that are for the audit alone.
func applyNothing(_ *store.Apply, e store.Event) (mine bool, err error) {
	switch e.Kind {
	case doorRefused, authorityRotated, authorityRetired, authorityExported:
		return true, nil
	}
	return false, nil
}

// AuditAsked says which facts are wanted.
type AuditAsked struct {
	Home   string         `json:"home,omitempty"`  // by name; "": all, and the gateway's own
	About  string         `json:"about,omitempty"` // an ID that occurs in the fact, or in who caused it
	Since  device.Instant `json:"since,omitempty"`
	Limit  int            `json:"limit,omitempty"`  // the newest so many; 0: 1,000
	Screen bool           `json:"screen,omitempty"` // deliveries and messages too
}

// AuditEntry is one fact, as an operator reads it.
type AuditEntry struct {
	Seq   int64           `json:"seq"` // place among all facts of this gateway
	At    device.Instant  `json:"at"`
	Home  string          `json:"home,omitempty"` // by name; "": the gateway's own book
	Actor device.Actor    `json:"actor"`          // who, and from where; "gateway": by itself; "erased": that is erased, too
	Kind  string          `json:"kind"`
	Fact  json.RawMessage `json:"fact"`
}

const mostAudit = 10_000

// Audit lists who did what, when and from where, the oldest first. Nothing can take an entry away.
func (d *Desk) Audit(ctx context.Context, ask AuditAsked) (all []AuditEntry, err error) {
	limit := min(ask.Limit, mostAudit)
	if limit <= 0 {
		limit = 1000
	}
	err = d.db.View(ctx, func(tx *store.Tx) error {
		names := map[device.HomeID]string{}
		homes, err := registry.Homes(tx)
		if err != nil {
			return err
		}
		for _, h := range homes {
			names[h.ID] = h.Name
		}
		f := store.Filter{Since: ask.Since, Kind: func(kind string) bool {
			return ask.Screen || !strings.HasPrefix(kind, "delivery.") && !strings.HasPrefix(kind, "message.")
		}}
		if ask.Home != "" {
			h, err := registry.HomeByName(tx, ask.Home)
			if err != nil {
				return err
			}
			f.Home = &h.ID
		}
		for e, err := range tx.Journal(f) {
			if err != nil {
				return err
			}
			if ask.About != "" && !bytes.Contains(e.Body, []byte(ask.About)) && !strings.Contains(string(e.Actor), ask.About) {
				continue
			}
			a := AuditEntry{Seq: e.Seq, At: e.At, Home: names[e.Home], Actor: e.Actor, Kind: e.Kind, Fact: e.Body}
			switch {
			case e.Erased:
				a.Actor, a.Fact = "erased", json.RawMessage(`{"what":"erased"}`)
			case a.Actor == "":
				a.Actor = "gateway"
			}
			if a.Home == "" && e.Home != device.Gateway {
				a.Home = fmt.Sprintf("removed (%d)", e.Home)
			}
			if all = append(all, a); len(all) == limit {
				break
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	slices.Reverse(all)
	return all, nil
}

// Words is what the fact says, in a line: the fields that tell who and what, and no secret.
func (e AuditEntry) Words() string {
	var body map[string]any
	if json.Unmarshal(e.Fact, &body) != nil {
		return ""
	}
	var words []string
	put := func(body map[string]any) {
		for _, key := range []string{"id", "device", "peer", "applicant", "from", "what", "why", "class", "brand", "kid", "purpose", "choice", "subject", "method", "kind", "way", "wrong", "count", "until", "reason", "on"} {
			switch v := body[key].(type) {
			case nil, map[string]any, []any:
			case float64:
				if key == "until" {
					words = append(words, key+" "+device.Instant(v).String())
				} else {
					words = append(words, fmt.Sprintf("%s %g", key, v))
				}
			default:
				words = append(words, fmt.Sprintf("%s %v", key, v))
			}
		}
	}
	put(body)
	if o, ok := body["origin"].(map[string]any); ok {
		put(o)
	}
	return strings.Join(words, ", ")
}

package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/registry"
)

// What the verbs about homes, people and devices take and answer, beside the Desk's own types.
type (
	// HomeAdded is a new home with its devices and their tokens.
	HomeAdded struct {
		Home    registry.Home       `json:"home"`
		Devices []delivery.Enrolled `json:"devices"`
	}
	// PreferencesSet replaces preferences of a home, by names. What is nil stays as it is.
	PreferencesSet struct {
		Home string `json:"home"`
		delivery.Preferences
	}
	// Snooze silences a home, or what is shown where somebody is.
	Snooze struct {
		Home   string `json:"home"`
		Person string `json:"person,omitempty"` // by name; "": everybody
		Until  string `json:"until,omitempty"`  // as delivery.ParseUntil reads it; "": not any more
	}
	// Snoozed says until when.
	Snoozed struct {
		Until device.Instant `json:"until"` // 0: not any more
	}
	// Got says that somebody of a home has got something.
	Got struct {
		Home string `json:"home"`
		Item string `json:"item"`
	}
	// Complaint is about a brand.
	Complaint struct {
		Home  string         `json:"home"`
		Brand device.BrandID `json:"brand"`
	}
	// PersonAdd adds somebody to a home.
	PersonAdd struct {
		Home   string              `json:"home"`
		Person delivery.PersonSpec `json:"person"`
	}
	// PersonSet changes what is known of somebody.
	PersonSet struct {
		Home   string                `json:"home"`
		Person string                `json:"person"` // by the name that they have
		Change delivery.PersonChange `json:"change"`
	}
	// DeviceAdd adds a device to a home.
	DeviceAdd struct {
		Home   string              `json:"home"`
		Device delivery.DeviceSpec `json:"device"`
		Until  string              `json:"until,omitempty"` // as delivery.ParseUntil reads it, in place of the device's
	}
	// DeviceSet changes what is known of a device.
	DeviceSet struct {
		ID     device.ID             `json:"id"`
		Change delivery.DeviceChange `json:"change"`
	}
)

func (o *Operators) homeVerbs(mux *http.ServeMux) {
	verb(o, mux, "home/add", func(ctx context.Context, d *delivery.Desk, in delivery.HomeSpec) (HomeAdded, error) {
		h, devices, err := d.AddHome(ctx, in)
		return HomeAdded{h, devices}, err
	})
	verb(o, mux, "home/list", func(ctx context.Context, d *delivery.Desk, _ None) ([]registry.Home, error) { return d.Homes(ctx) })
	verb(o, mux, "home/remove", func(ctx context.Context, d *delivery.Desk, in Named) (None, error) {
		return None{}, d.RemoveHome(ctx, in.Name)
	})
	verb(o, mux, "home/show", func(ctx context.Context, d *delivery.Desk, in Named) (delivery.HomeState, error) {
		return d.Home(ctx, in.Name)
	})
	verb(o, mux, "preferences/set", func(ctx context.Context, d *delivery.Desk, in PreferencesSet) (None, error) {
		return None{}, d.SetPreferences(ctx, in.Home, in.Preferences)
	})
	verb(o, mux, "preferences/show", func(ctx context.Context, d *delivery.Desk, in Named) (delivery.Preferences, error) {
		return d.Preferences(ctx, in.Name)
	})
	verb(o, mux, "home/snooze", func(ctx context.Context, d *delivery.Desk, in Snooze) (Snoozed, error) {
		until, err := d.Snooze(ctx, in.Home, in.Person, in.Until)
		return Snoozed{until}, err
	})
	verb(o, mux, "home/got", func(ctx context.Context, d *delivery.Desk, in Got) (None, error) {
		return None{}, d.Got(ctx, in.Home, in.Item)
	})
	verb(o, mux, "home/complain", func(ctx context.Context, d *delivery.Desk, in Complaint) (None, error) {
		return None{}, d.Complain(ctx, in.Home, in.Brand)
	})
	verb(o, mux, "home/resolve", func(ctx context.Context, d *delivery.Desk, in Complaint) (None, error) {
		err := d.Resolve(ctx, in.Home, in.Brand)
		var wrong *registry.UnknownError
		if !errors.Is(err, registry.ErrUnknown) || errors.As(err, &wrong) {
			return None{}, err
		}
		if _, err := d.Brand(ctx, in.Brand); err != nil { // it is the brand that is not known
			return None{}, err
		}
		return None{}, &Problem{Type: "about:blank", Title: http.StatusText(http.StatusNotFound), Status: http.StatusNotFound, Detail: fmt.Sprintf("there is no open complaint about %s", in.Brand)}
	})
	verb(o, mux, "person/add", func(ctx context.Context, d *delivery.Desk, in PersonAdd) (registry.Person, error) {
		return d.AddPerson(ctx, in.Home, in.Person)
	})
	verb(o, mux, "person/set", func(ctx context.Context, d *delivery.Desk, in PersonSet) (registry.Person, error) {
		return d.ChangePerson(ctx, in.Home, in.Person, in.Change)
	})
	verb(o, mux, "person/list", func(ctx context.Context, d *delivery.Desk, in InHome) ([]registry.Person, error) {
		return d.People(ctx, in.Home)
	})
	verb(o, mux, "person/remove", func(ctx context.Context, d *delivery.Desk, in InHome) (None, error) {
		return None{}, d.RemovePerson(ctx, in.Home, in.Name)
	})
	verb(o, mux, "device/add", func(ctx context.Context, d *delivery.Desk, in DeviceAdd) (delivery.Enrolled, error) {
		if in.Until != "" {
			var err error
			if in.Device.Until, err = d.Until(ctx, in.Home, in.Until); err != nil {
				return delivery.Enrolled{}, err
			}
		}
		return d.AddDevice(ctx, in.Home, in.Device)
	})
	verb(o, mux, "device/set", func(ctx context.Context, d *delivery.Desk, in DeviceSet) (device.Device, error) {
		return d.ChangeDevice(ctx, in.ID, in.Change)
	})
	verb(o, mux, "device/show", func(ctx context.Context, d *delivery.Desk, in DeviceRef) (delivery.DeviceOf, error) {
		return d.Device(ctx, in.ID)
	})
	verb(o, mux, "device/list", func(ctx context.Context, d *delivery.Desk, in InHome) ([]delivery.DeviceState, error) {
		return d.Devices(ctx, in.Home)
	})
}

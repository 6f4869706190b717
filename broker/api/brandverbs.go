package api

import (
	"context"
	"net/http"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/registry"
)

// What the verbs about brands take and answer, beside the Desk's own types.
type (
	// BrandAdded is a new brand with its API key.
	BrandAdded struct {
		registry.Brand
		Key string `json:"key"`
	}
	// BrandRef names a brand.
	BrandRef struct {
		ID device.BrandID `json:"id"`
	}
	// BrandSet changes what a brand says of itself. What is nil stays as it is.
	BrandSet struct {
		ID       device.BrandID `json:"id"`
		Name     *string        `json:"name,omitempty"`
		Legal    *string        `json:"legal_name,omitempty"`
		Contact  *string        `json:"contact,omitempty"`
		Domain   *string        `json:"domain,omitempty"`
		Country  *string        `json:"country,omitempty"`
		Purposes []string       `json:"purposes,omitempty"`
		Quota    *int           `json:"quota,omitempty"`
	}
	// BrandStop stops a brand.
	BrandStop struct {
		ID     device.BrandID `json:"id"`
		Reason string         `json:"reason,omitempty"`
	}
	// BrandStopped says how many messages were withdrawn.
	BrandStopped struct {
		Withdrawn int `json:"withdrawn"`
	}
	// APIKeyNew asks for another API key.
	APIKeyNew struct {
		ID     device.BrandID `json:"id"`
		AtOnce bool           `json:"at_once,omitempty"` // those before are void at once
	}
	// APIKeyIssued is a new API key.
	APIKeyIssued struct {
		Key string `json:"key"`
	}
	// SignKeyAdd gives a brand a key to sign with.
	SignKeyAdd struct {
		ID     device.BrandID `json:"id"`
		KID    string         `json:"kid,omitempty"`
		Public string         `json:"public"` // in PEM, or a JWK
	}
	// SignKeyRef names a key that a brand signs with.
	SignKeyRef struct {
		ID  device.BrandID `json:"id"`
		KID string         `json:"kid"`
	}
	// MessageRef names a message.
	MessageRef struct {
		ID device.MessageID `json:"id"`
	}
)

// brandVerbs adds what operators do with brands.
func (o *Operators) brandVerbs(mux *http.ServeMux) {
	verb(o, mux, "brand/add", func(ctx context.Context, d *delivery.Desk, in registry.Brand) (BrandAdded, error) {
		if in.Quota == 0 {
			in.Quota = 100
		}
		key, err := d.AddBrand(ctx, in)
		return BrandAdded{in, key}, err
	})
	verb(o, mux, "brand/set", func(ctx context.Context, d *delivery.Desk, in BrandSet) (registry.Brand, error) {
		return d.ChangeBrand(ctx, in.ID, in.edit)
	})
	verb(o, mux, "brand/list", func(ctx context.Context, d *delivery.Desk, _ None) ([]registry.Brand, error) { return d.Brands(ctx) })
	verb(o, mux, "brand/show", func(ctx context.Context, d *delivery.Desk, in BrandRef) (delivery.BrandState, error) {
		return d.Brand(ctx, in.ID)
	})
	verb(o, mux, "brand/stop", func(ctx context.Context, d *delivery.Desk, in BrandStop) (BrandStopped, error) {
		n, err := d.StopBrand(ctx, in.ID, in.Reason)
		return BrandStopped{n}, err
	})
	verb(o, mux, "brand/start", func(ctx context.Context, d *delivery.Desk, in BrandRef) (None, error) {
		return None{}, d.StartBrand(ctx, in.ID)
	})
	verb(o, mux, "brand/remove", func(ctx context.Context, d *delivery.Desk, in BrandRef) (None, error) {
		return None{}, d.RemoveBrand(ctx, in.ID)
	})
	verb(o, mux, "brand/apikey/new", func(ctx context.Context, d *delivery.Desk, in APIKeyNew) (APIKeyIssued, error) {
		key, err := d.RenewAPIKey(ctx, in.ID, in.AtOnce)
		return APIKeyIssued{key}, err
	})
	verb(o, mux, "brand/signkey/add", func(ctx context.Context, d *delivery.Desk, in SignKeyAdd) (registry.SignKey, error) {
		k, err := delivery.ParseSignKey(in.ID, in.KID, []byte(in.Public))
		if err != nil {
			return registry.SignKey{}, err
		}
		return k, d.AddSignKey(ctx, k)
	})
	verb(o, mux, "brand/signkey/revoke", func(ctx context.Context, d *delivery.Desk, in SignKeyRef) (None, error) {
		return None{}, d.RevokeSignKey(ctx, in.ID, in.KID)
	})
	verb(o, mux, "message/verify", func(ctx context.Context, d *delivery.Desk, in MessageRef) (delivery.Proof, error) {
		return d.Prove(ctx, in.ID)
	})
}

// edit makes of b what is asked for.
func (in BrandSet) edit(b *registry.Brand) {
	for to, from := range map[*string]*string{&b.Name: in.Name, &b.Legal: in.Legal, &b.Contact: in.Contact, &b.Domain: in.Domain, &b.Country: in.Country} {
		if from != nil {
			*to = *from
		}
	}
	if in.Purposes != nil {
		b.Purposes = in.Purposes
	}
	if in.Quota != nil {
		b.Quota = *in.Quota
	}
}

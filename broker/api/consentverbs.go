package api

import (
	"context"
	"net/http"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/policy"
	"porchlight/policy/consent"
)

// What the verbs about choices take and answer, beside the Desk's own types.
type (
	// Choice is a choice that somebody in a home made.
	Choice struct {
		Home    string         `json:"home"`
		Person  string         `json:"person,omitempty"` // "": the home as a whole
		Brand   device.BrandID `json:"brand"`
		Purpose policy.Purpose `json:"purpose"`
		Choice  policy.Choice  `json:"choice"`
	}
	// Giving is a yes that somebody in a home said.
	Giving struct {
		Home string `json:"home"`
		delivery.Yes
	}
	// Asking is a question to be put to somebody in a home.
	Asking struct {
		Home    string         `json:"home"`
		Person  string         `json:"person,omitempty"` // by name; "": whoever is there
		Brand   device.BrandID `json:"brand"`
		Purpose policy.Purpose `json:"purpose"`
		Device  device.ID      `json:"device,omitempty"` // or its name; "": the best screen
	}
	// WithdrawalState is a no with its word, and whose it is.
	WithdrawalState struct {
		delivery.Withdrawal
		State  string `json:"state"`            // stopping, stopped
		Person string `json:"person,omitempty"` // by name; "": the home as a whole
	}
	// ReceiptAsked asks for the receipt of a choice.
	ReceiptAsked struct {
		Home string `json:"home"`
		Pos  int64  `json:"pos,omitempty"` // in the home's journal; 0: the newest choice
	}
	// Receipt is a receipt, and what verifies it.
	Receipt struct {
		Signed []byte `json:"signed"` // COSE_Sign1
		Key    string `json:"key"`    // PEM
	}
	// Forgetting is what was learnt and is not to be used any more.
	Forgetting struct {
		Home  string         `json:"home"`
		Brand device.BrandID `json:"brand,omitempty"` // "": all brands
	}
)

func (o *Operators) consentVerbs(mux *http.ServeMux) {
	verb(o, mux, "consent/choose", func(ctx context.Context, d *delivery.Desk, in Choice) (None, error) {
		return None{}, d.Choose(ctx, in.Home, in.Person, in.Brand, in.Purpose, in.Choice)
	})
	verb(o, mux, "consent/give", func(ctx context.Context, d *delivery.Desk, in Giving) (None, error) {
		return None{}, d.Give(ctx, in.Home, in.Yes)
	})
	verb(o, mux, "consent/ask", func(ctx context.Context, d *delivery.Desk, in Asking) (delivery.AskState, error) {
		return d.Ask(ctx, in.Home, in.Brand, in.Purpose, delivery.AskWhere{Device: in.Device, Person: in.Person})
	})
	verb(o, mux, "consent/asks", func(ctx context.Context, d *delivery.Desk, in Named) ([]delivery.AskState, error) {
		return d.Asks(ctx, in.Name)
	})
	verb(o, mux, "consent/withdrawal", func(ctx context.Context, d *delivery.Desk, in Choice) (WithdrawalState, error) {
		w, err := d.Withdrawal(ctx, in.Home, in.Person, in.Brand, in.Purpose)
		return WithdrawalState{w, w.State(), in.Person}, err
	})
	verb(o, mux, "consent/withdrawals", func(ctx context.Context, d *delivery.Desk, in Named) ([]WithdrawalState, error) {
		people, err := d.People(ctx, in.Name)
		if err != nil {
			return nil, err
		}
		all, err := d.Withdrawals(ctx, in.Name)
		var states []WithdrawalState
		for _, w := range all {
			states = append(states, WithdrawalState{w, w.State(), nameOf(people, w.Subject)})
		}
		return states, err
	})
	verb(o, mux, "consent/list", func(ctx context.Context, d *delivery.Desk, in InHome) ([]delivery.ConsentEvent, error) {
		return d.InForce(ctx, in.Home)
	})
	verb(o, mux, "consent/history", func(ctx context.Context, d *delivery.Desk, in InHome) ([]delivery.ConsentEvent, error) {
		return d.History(ctx, in.Home)
	})
	verb(o, mux, "notice/add", func(ctx context.Context, d *delivery.Desk, in consent.Notice) (delivery.NoticeState, error) {
		n, err := d.IssueNotice(ctx, in)
		return delivery.NoticeState{Notice: n, Hash: n.Hash(), Issued: n.Issued, Newest: true}, err
	})
	verb(o, mux, "notice/list", func(ctx context.Context, d *delivery.Desk, in BrandRef) ([]delivery.NoticeState, error) {
		return d.Notices(ctx, in.ID)
	})
	verb(o, mux, "ledger/head", func(ctx context.Context, d *delivery.Desk, in Named) (delivery.SignedHead, error) {
		return d.LedgerHead(ctx, in.Name)
	})
	verb(o, mux, "ledger/export", func(ctx context.Context, d *delivery.Desk, in Named) ([]byte, error) {
		return d.LedgerExport(ctx, in.Name)
	})
	verb(o, mux, "ledger/key", func(ctx context.Context, d *delivery.Desk, in Named) (Exported, error) {
		key, err := d.LedgerKey(ctx, in.Name)
		return Exported{key}, err
	})
	verb(o, mux, "receipt", func(ctx context.Context, d *delivery.Desk, in ReceiptAsked) (Receipt, error) {
		signed, err := d.Receipt(ctx, in.Home, in.Pos)
		if err != nil {
			return Receipt{}, err
		}
		key, err := d.LedgerKey(ctx, in.Home)
		return Receipt{signed, key}, err
	})
	verb(o, mux, "forget", func(ctx context.Context, d *delivery.Desk, in Forgetting) (None, error) {
		return None{}, d.Forget(ctx, in.Home, in.Brand)
	})
}

// nameOf is somebody's name; "" for the home as a whole.
func nameOf(people []registry.Person, id device.PersonID) string {
	for _, p := range people {
		if p.ID == id {
			return p.Name
		}
	}
	return ""
}

package delivery

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"porchlight/device"
	"porchlight/device/ledger"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/policy/consent"
)

// SignedHead is the head of a home's log, signed by the home.
type SignedHead struct {
	Head   ledger.Head `json:"head"`
	Signed []byte      `json:"signed"` // COSE_Sign1
}

// LedgerHead is the head of a home's log now. Whoever keeps one elsewhere can tell later whether anything
// before it was altered or left out.
func (d *Desk) LedgerHead(ctx context.Context, homeName string) (h SignedHead, err error) {
	id, err := d.homeID(ctx, homeName)
	if err == nil {
		h.Head, err = d.db.Head(ctx, id)
	}
	if err == nil {
		h.Signed, err = d.db.Sign(id, ledger.HeadType, h.Head.Payload())
	}
	if err != nil {
		return SignedHead{}, fmt.Errorf("ledger of home %q: %w", homeName, err)
	}
	return h, nil
}

// LedgerExport is a home's log as it can be verified elsewhere: what was said is sealed, people are
// pseudonyms; when, of which kind and by whom (a device and its address, an operator) are not.
func (d *Desk) LedgerExport(ctx context.Context, homeName string) ([]byte, error) {
	id, err := d.homeID(ctx, homeName)
	var x ledger.Export
	if err == nil {
		err = d.db.View(ctx, func(tx *store.Tx) (err error) { x, err = tx.Export(id); return err })
	}
	var b bytes.Buffer
	if err == nil {
		err = x.Write(&b)
	}
	if err != nil {
		return nil, fmt.Errorf("ledger of home %q: %w", homeName, err)
	}
	return b.Bytes(), nil
}

// LedgerKey is the public key that verifies what a home has signed, in PEM.
func (d *Desk) LedgerKey(ctx context.Context, homeName string) (string, error) {
	id, err := d.homeID(ctx, homeName)
	if err != nil {
		return "", err
	}
	key, err := d.db.PublicKey(id)
	var der []byte
	if err == nil {
		der, err = x509.MarshalPKIXPublicKey(key)
	}
	if err != nil {
		return "", fmt.Errorf("key of home %q: %w", homeName, err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
}

// Receipt is a choice with the home's signature on it: what was said, to which notice, when, and the proof that
// it is in the home's log. It is given to whoever said it; it names nobody. pos is the position of the
// choice in the home's book, 0: the newest choice of the home. It fails with registry.ErrUnknown if there is no
// choice at that position.
func (d *Desk) Receipt(ctx context.Context, homeName string, pos int64) ([]byte, error) {
	id, err := d.homeID(ctx, homeName)
	if err != nil {
		return nil, err
	}
	var r ledger.Receipt
	err = d.db.View(ctx, func(tx *store.Tx) error {
		all, err := consent.History(tx, id)
		if err != nil {
			return err
		}
		var said *consent.Entry
		for i := range all {
			if (pos == 0 || all[i].Pos == pos) && consent.Binds("consent."+string(all[i].State)) {
				said = &all[i]
			}
		}
		if said == nil {
			return fmt.Errorf("choice at position %d: %w", pos, registry.ErrUnknown)
		}
		events, err := tx.Events(id, said.Pos-1, 1)
		if err != nil {
			return err
		}
		log, err := tx.Log(id)
		if err != nil {
			return err
		}
		r, err = log.Receipt(events[0].Entry, decided(tx, *said), d.o.Now())
		return err
	})
	var signed []byte
	if err == nil {
		signed, err = d.db.Sign(id, ledger.ReceiptType, r.Payload())
	}
	if err != nil {
		return nil, fmt.Errorf("receipt: %w", err)
	}
	return signed, nil
}

// decided is what a receipt says in plain words, in the terms of ISO/IEC TS 27560.
func decided(tx *store.Tx, e consent.Entry) map[string]string {
	words := map[string]string{"schema": "https://w3id.org/dpv/schema/dpv-27560#receipt-eu-gdpr", "brand": string(e.Brand), "purpose": e.Purpose.String(), "state": string(e.State),
		"method": e.Method}
	if b, err := registry.BrandByID(tx, e.Brand); err == nil {
		words["controller"] = cmp.Or(b.Legal, b.Name)
		words["contact"] = b.Contact
	}
	if e.Notice != (consent.Hash{}) {
		words["notice"] = e.Notice.String()
	}
	if e.Until != 0 {
		words["until"] = e.Until.String()
	}
	if e.Served != (device.MessageID{}) {
		words["asked"] = e.Served.String()
	}
	if e.Device != "" {
		words["device"] = string(e.Device)
	}
	for k, v := range words {
		if v == "" {
			delete(words, k)
		}
	}
	return words
}

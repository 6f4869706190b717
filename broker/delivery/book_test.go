package delivery

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"testing"

	"porchlight/device"
	"porchlight/device/ledger"
	"porchlight/device/registry"
	"porchlight/policy"
)

// A choice's receipt is signed by the home, proves itself, and says what was said; the log can be checked
// elsewhere against a head that was kept, and a book of another home cannot pass for it.
func TestReceiptAndLedger(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		ctx := w.t.Context()
		key := func(home string) any {
			text, err := w.desk.LedgerKey(ctx, home)
			w.must(err)
			block, _ := pem.Decode([]byte(text))
			k, err := x509.ParsePKIXPublicKey(block.Bytes)
			w.must(err)
			return k
		}
		if _, err := w.desk.Receipt(ctx, "oak", 0); !errors.Is(err, registry.ErrUnknown) {
			t.Errorf("a receipt though nobody has said anything: %v", err)
		}
		w.choose(policy.Given)
		early, err := w.desk.LedgerHead(ctx, "oak")
		w.must(err)
		tv.says("withdrawn")
		signed, err := w.desk.Receipt(ctx, "oak", 0)
		w.must(err)
		r, err := ledger.OpenReceipt(signed, key("oak"))
		w.must(err)
		if r.Kind != "consent.withdrawn" || r.Decided["brand"] != "grocer" || r.Decided["purpose"] != "marketing" || r.Decided["state"] != "withdrawn" || r.Decided["device"] != string(tv.id) {
			t.Errorf("the receipt says %+v", r)
		}
		first, err := w.desk.Receipt(ctx, "oak", early.Head.Size)
		w.must(err)
		if r, err = ledger.OpenReceipt(first, key("oak")); err != nil || r.Decided["state"] != "given" || r.Decided["notice"] == "" || r.Decided["until"] == "" {
			t.Errorf("the receipt of the yes says %+v, %v", r, err)
		}
		head, err := w.desk.LedgerHead(ctx, "oak")
		w.must(err)
		raw, err := w.desk.LedgerExport(ctx, "oak")
		w.must(err)
		for _, word := range []string{"grocer", "Anna", "marketing"} {
			if bytes.Contains(raw, []byte(word)) {
				t.Errorf("the exported log says %q in plain", word)
			}
		}
		x, err := ledger.ReadExport(bytes.NewReader(raw))
		w.must(err)
		h, err := ledger.OpenHead(head.Signed, key("oak"))
		w.must(err)
		w.must(ledger.Verify(x, early.Head, h))
		x.Entries[2].Sealed[0] ^= 1
		var damage *ledger.DamageError
		if err := ledger.Verify(x, h); !errors.As(err, &damage) || damage.From != 3 || damage.To != 3 {
			t.Errorf("entry 3 was altered: %v", err)
		}
		_, _, err = w.desk.AddHome(ctx, HomeSpec{Name: "elm", Zone: "UTC"})
		w.must(err)
		if _, err := ledger.OpenReceipt(signed, key("elm")); err == nil {
			t.Error("a receipt of oak passes for one of elm")
		}
	})
}

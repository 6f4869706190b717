package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"porchlight/device"
	"porchlight/device/ledger"
)

// keptLog writes what somebody keeps of a home's log: an export, a head for every size, a receipt, the
// key; and a head that another key has signed.
func keptLog(t *testing.T, dir string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, other, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, raw []byte, err error) {
		t.Helper()
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	write("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), err)
	x := ledger.Export{Home: ledger.NewPseudonym()}
	log := ledger.Log{Home: x.Home}
	seal := ledger.NewCipher(ledger.NewKey())
	who := ledger.NewPseudonym()
	for pos := int64(1); pos <= 5; pos++ {
		e := ledger.Entry{Pos: pos, At: device.Instant(1000 * pos), Kind: "consent.given", Actor: "operator", Subject: who}
		seal.Seal(&e, fmt.Appendf(nil, `{"n":%d}`, pos))
		x.Entries, log.Leaves = append(x.Entries, e), append(log.Leaves, e.Leaf)
		h := log.Head(device.Instant(1000*pos + 1))
		raw, err := ledger.Sign(private, ledger.HeadType, h.Payload())
		write(fmt.Sprintf("head-%d", pos), raw, err)
		if pos == 5 {
			raw, err := ledger.Sign(other, ledger.HeadType, h.Payload())
			write("forged", raw, err)
		}
	}
	r, err := log.Receipt(x.Entries[2], map[string]string{"brand": "fresh"}, 9000)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := ledger.Sign(private, ledger.ReceiptType, r.Payload())
	write("receipt", raw, err)
	var out bytes.Buffer
	err = x.Write(&out)
	write("export", out.Bytes(), err)
	lines := strings.SplitAfter(out.String(), "\n")
	write("without", []byte(strings.Join(append(append([]string{}, lines[:3]...), lines[4:]...), "")), nil)
	write("altered", []byte(strings.Replace(out.String(), `"operator"`, `"somebody"`, 1)), nil)
	write("short", []byte(strings.Join(lines[:4], "")), nil)
	write("torn", out.Bytes()[:out.Len()-20], nil)
}

func TestLedgerVerify(t *testing.T) {
	dir := t.TempDir()
	keptLog(t, dir)
	tests := map[string]struct {
		args   string // @ is the folder
		status int
		want   string // on stdout, or of an error on stderr
	}{
		"whole":                 {"ledger verify @/export --head @/head-5 --key @/key.pem", 0, "whole: 5 entries, 0 of them erased, as they were signed for at 1970-01-01T00:00:05.001Z"},
		"several heads":         {"ledger verify @/export --head @/head-2 --head @/head-5 --key @/key.pem", 0, "whole: 5 entries"},
		"an entry altered":      {"ledger verify @/altered --head @/head-5 --key @/key.pem", 1, "entry 1 was altered"},
		"an entry missing":      {"ledger verify @/without --head @/head-5 --key @/key.pem", 1, "entry 3 is missing from its place"},
		"the end cut off":       {"ledger verify @/short --head @/head-5 --key @/key.pem", 1, "entry 4 is missing from its place"},
		"more than the head":    {"ledger verify @/export --head @/head-3 --key @/key.pem", 1, "no head vouches for the entries 4 to 5"},
		"a forged head":         {"ledger verify @/export --head @/forged --key @/key.pem", 1, "forged: "},
		"torn":                  {"ledger verify @/torn --head @/head-5 --key @/key.pem", 1, "line 6 of the log"},
		"a key that is none":    {"ledger verify @/export --head @/head-5 --key @/head-5", 1, "does not hold a PUBLIC KEY in PEM"},
		"no head":               {"ledger verify @/export --key @/key.pem", 2, "missing flags: --head=FILE"},
		"nothing there":         {"ledger verify @/nothing --head @/head-5 --key @/key.pem", 1, "no such file"},
		"a receipt":             {"receipt verify @/receipt --key @/key.pem", 0, "brand    fresh\nsigned   1970-01-01T00:00:09.000Z\nverdict  the signature is good, and the entry is in the home's log"},
		"a receipt as JSON":     {"receipt verify @/receipt --key @/key.pem --json", 0, `"kind": "consent.given"`},
		"a head is no receipt":  {"receipt verify @/head-5 --key @/key.pem", 1, "head-5: "},
		"a receipt is no head":  {"ledger verify @/export --head @/receipt --key @/key.pem", 1, "receipt: "},
		"a receipt not there":   {"receipt verify @/nothing --key @/key.pem", 1, "no such file"},
		"a receipt, and no key": {"receipt verify @/receipt", 2, "missing flags: --key=FILE"},
	}
	for name, test := range tests {
		var out, errs strings.Builder
		status := run(t.Context(), strings.Fields(strings.ReplaceAll(test.args, "@", dir)), strings.NewReader(""), &out, &errs)
		got := out.String()
		if test.status != 0 {
			got = errs.String()
		}
		if status != test.status || !strings.Contains(got, test.want) {
			t.Errorf("%s: status %d, %q; want %d with %q", name, status, got, test.status, test.want)
		}
		if test.status == 1 && out.Len() > 0 {
			t.Errorf("%s: printed %q beside the error", name, out.String())
		}
	}
}

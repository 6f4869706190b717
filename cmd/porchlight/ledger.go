package main

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"porchlight/broker/api"
	"porchlight/broker/delivery"
	"porchlight/device/ledger"
)

type ledgerCmd struct {
	Head   ledgerHeadCmd   `cmd:"" help:"Print the head of a home's log, signed by the home: keep it elsewhere."`
	Export ledgerExportCmd `cmd:"" help:"Print a home's log: what was said in it is sealed."`
	Key    ledgerKeyCmd    `cmd:"" help:"Print the public key of a home, which verifies what it has signed."`
	Verify ledgerVerifyCmd `cmd:"" help:"Check an export against heads that were kept elsewhere. Needs no gateway."`
}

type receiptCmd struct {
	Show   receiptShowCmd   `cmd:"" help:"Print the receipt of a choice: what was said, when and to what, and the proof that it is in the home's log."`
	Verify receiptVerifyCmd `cmd:"" help:"Check a receipt. Needs no gateway."`
}

type ledgerHeadCmd struct {
	Home string `required:"" help:"The home's name." placeholder:"HOME"`
	Out  string `help:"Write the signed head to this file, which must not be there." placeholder:"FILE"`
	JSON bool   `help:"Print JSON."`
}

// Run prints a head.
func (c *ledgerHeadCmd) Run(e *env) error {
	h, err := ask[delivery.SignedHead](e, "ledger/head", api.Named{Name: c.Home})
	if err == nil && c.Out != "" {
		err = writeNew(c.Out, 0o600, h.Signed)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e.out, h)
	}
	t := table(e.out)
	fmt.Fprintf(t, "log\t%s\nentries\t%d\nroot\t%s\nat\t%s\n", h.Head.Home, h.Head.Size, h.Head.Root, h.Head.At)
	return t.Flush()
}

type ledgerExportCmd struct {
	Home string `required:"" help:"The home's name." placeholder:"HOME"`
	Out  string `help:"Write it to this file, which must not be there." placeholder:"FILE"`
}

// Run prints a log.
func (c *ledgerExportCmd) Run(e *env) error {
	raw, err := ask[[]byte](e, "ledger/export", api.Named{Name: c.Home})
	switch {
	case err != nil:
		return err
	case c.Out != "":
		return writeNew(c.Out, 0o600, raw)
	}
	_, err = e.out.Write(raw)
	return err
}

type ledgerKeyCmd struct {
	Home string `required:"" help:"The home's name." placeholder:"HOME"`
}

// Run prints a key.
func (c *ledgerKeyCmd) Run(e *env) error {
	k, err := ask[api.Exported](e, "ledger/key", api.Named{Name: c.Home})
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(e.out, k.PEM)
	return err
}

type receiptShowCmd struct {
	Home string `required:"" help:"The home's name." placeholder:"HOME"`
	Pos  int64  `arg:"" optional:"" help:"Position of the choice, as consent history lists it; default the newest."`
	Out  string `help:"Write the signed receipt to this file, which must not be there." placeholder:"FILE"`
	JSON bool   `help:"Print JSON."`
}

// Run prints a receipt.
func (c *receiptShowCmd) Run(e *env) error {
	in, err := ask[api.Receipt](e, "receipt", api.ReceiptAsked{Home: c.Home, Pos: c.Pos})
	if err != nil {
		return err
	}
	key, err := parsePublic("the gateway's answer", []byte(in.Key))
	if err != nil {
		return err
	}
	r, err := ledger.OpenReceipt(in.Signed, key)
	if err == nil && c.Out != "" {
		err = writeNew(c.Out, 0o600, in.Signed)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e.out, r)
	}
	return printReceipt(e, r)
}

type ledgerVerifyCmd struct {
	File string   `arg:"" help:"Export, as ledger export writes it."`
	Head []string `required:"" help:"Signed head, as ledger head writes it; may be given several times: the more, the nearer they tell where something is wrong." sep:"none" placeholder:"FILE"`
	Key  string   `required:"" help:"The home's public key, as ledger key prints it." placeholder:"FILE"`
}

// Run checks an export.
func (c *ledgerVerifyCmd) Run(e *env) error {
	key, err := readPublic(c.Key)
	if err != nil {
		return err
	}
	var heads []ledger.Head
	for _, path := range c.Head {
		raw, err := readNamed(path)
		if err != nil {
			return err
		}
		h, err := ledger.OpenHead(raw, key)
		if err != nil {
			return notThat(path, "ledger head --out", err)
		}
		heads = append(heads, h)
	}
	f, err := openFile(c.File)
	if err != nil {
		return err
	}
	defer f.Close()
	x, err := ledger.ReadExport(f)
	if err == nil {
		err = ledger.Verify(x, heads...)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	erased := 0
	for _, entry := range x.Entries {
		if entry.Erased {
			erased++
		}
	}
	last := slices.MaxFunc(heads, func(a, b ledger.Head) int { return int(a.Size - b.Size) })
	fmt.Fprintf(e.out, "whole: %d entries, %d of them erased, as they were signed for at %s\n", len(x.Entries), erased, last.At)
	return nil
}

type receiptVerifyCmd struct {
	File string `arg:"" help:"Receipt, as receipt show writes it."`
	Key  string `required:"" help:"The home's public key, as ledger key prints it." placeholder:"FILE"`
	JSON bool   `help:"Print JSON."`
}

// Run checks a receipt.
func (c *receiptVerifyCmd) Run(e *env) error {
	key, err := readPublic(c.Key)
	if err != nil {
		return err
	}
	raw, err := readNamed(c.File)
	if err != nil {
		return err
	}
	r, err := ledger.OpenReceipt(raw, key)
	if err != nil {
		return notThat(c.File, "receipt show --out", err)
	}
	if c.JSON {
		return printJSON(e.out, r)
	}
	return printReceipt(e, r)
}

// notThat is what is wrong with a file that command should have written.
func notThat(path, command string, err error) error {
	if errors.Is(err, ledger.ErrFormat) {
		err = fmt.Errorf("%w: name a file that porchlight %s has written", err, command)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// printReceipt tells what a receipt says.
func printReceipt(e *env, r ledger.Receipt) error {
	t := table(e.out)
	fmt.Fprintf(t, "entry\t%d of %d\nkind\t%s\nat\t%s\n", r.Pos, r.Head.Size, r.Kind, r.At)
	var names []string
	for name := range r.Decided {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(t, "%s\t%s\n", name, r.Decided[name])
	}
	fmt.Fprintf(t, "signed\t%s\nverdict\tthe signature is good, and the entry is in the home's log\n", r.Head.At)
	return t.Flush()
}

// readPublic reads a file with a public key in PEM.
func readPublic(path string) (crypto.PublicKey, error) {
	raw, err := readNamed(path)
	if err != nil {
		return nil, err
	}
	return parsePublic(path, raw)
}

func parsePublic(name string, raw []byte) (crypto.PublicKey, error) {
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, fmt.Errorf("%s does not hold a PUBLIC KEY in PEM, as porchlight ledger key prints it", name)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: read the public key: %w", name, err)
	}
	return key, nil
}

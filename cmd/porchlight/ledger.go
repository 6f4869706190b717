package main

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"

	"porchlight/device/ledger"
)

type ledgerCmd struct {
	Verify ledgerVerifyCmd `cmd:"" help:"Check an export against heads that were kept elsewhere. Needs no gateway."`
}

type receiptCmd struct {
	Verify receiptVerifyCmd `cmd:"" help:"Check a receipt. Needs no gateway."`
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
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		h, err := ledger.OpenHead(raw, key)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		heads = append(heads, h)
	}
	f, err := os.Open(c.File)
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
	raw, err := os.ReadFile(c.File)
	if err != nil {
		return err
	}
	r, err := ledger.OpenReceipt(raw, key)
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	if c.JSON {
		return printJSON(e.out, r)
	}
	return printReceipt(e, r)
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

// readPublic reads a public key in PEM.
func readPublic(path string) (crypto.PublicKey, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, fmt.Errorf("%s does not hold a PUBLIC KEY in PEM, as porchlight ledger key prints it", path)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: the public key cannot be read", path), err)
	}
	return key, nil
}

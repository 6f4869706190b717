package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"

	"porchlight/broker/api"
	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/registry"
)

type apiKeyCmd struct {
	New apiKeyNewCmd `cmd:"" help:"Give a brand another API key; prints it, once. The one before stands for 24 hours more."`
}

type apiKeyNewCmd struct {
	ID     string `arg:"" name:"id" help:"The brand's ID."`
	AtOnce bool   `help:"Every API key before is void at once."`
	JSON   bool   `help:"Print JSON."`
}

// Run makes an API key.
func (c *apiKeyNewCmd) Run(e *env) error {
	issued, err := ask[api.APIKeyIssued](e, "brand/apikey/new", api.APIKeyNew{ID: device.BrandID(c.ID), AtOnce: c.AtOnce})
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e.out, issued)
	}
	fmt.Fprintln(e.out, issued.Key)
	return nil
}

type signKeyCmd struct {
	New    signKeyNewCmd    `cmd:"" help:"Make a key pair, as a brand does; no gateway is asked. Prints the public key as a JWK."`
	Add    signKeyAddCmd    `cmd:"" help:"Let a brand sign with a key; prints the key's ID. From its first key on, it must sign."`
	Revoke signKeyRevokeCmd `cmd:"" help:"End a key at once. What was accepted before stays."`
	List   signKeyListCmd   `cmd:"" help:"List the keys that a brand signs with, and those it did."`
}

type signKeyNewCmd struct {
	Out string `required:"" help:"Where to write the private key (PKCS #8, PEM). The public one is written beside it, with .pub added to the name." placeholder:"FILE"`
	Alg string `help:"EdDSA (Ed25519) or ES256." default:"EdDSA" enum:"EdDSA,ES256"`
	KID string `name:"kid" help:"The key's ID; default made of the key." placeholder:"ID"`
}

// Run makes a key pair.
func (c *signKeyNewCmd) Run(e *env) error {
	private, err := delivery.MakeSignKey(c.Alg)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return fmt.Errorf("signing key: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		return fmt.Errorf("signing key: %w", err)
	}
	k, err := registry.NewSignKey("", c.KID, public)
	if err != nil {
		return err
	}
	jwk, err := delivery.JWK(k)
	if err != nil {
		return err
	}
	if err := writeNew(c.Out, 0o600, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})); err != nil {
		return fmt.Errorf("signing key: %w", err)
	}
	if err := writeNew(c.Out+".pub", 0o644, publicPEM(k)); err != nil {
		return fmt.Errorf("signing key: %w", err)
	}
	fmt.Fprintf(e.out, "%s\n", jwk)
	return nil
}

func publicPEM(k registry.SignKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: k.Public})
}

// writeNew writes a file that must not be there yet.
func writeNew(path string, mode os.FileMode, raw []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return cannotWrite(path, err)
	}
	_, err = f.Write(raw)
	return cannotWrite(path, errors.Join(err, f.Close()))
}

// maxKeyFile is how large a file with a key may be.
const maxKeyFile = 16 << 10

func readKeyFile(path string) ([]byte, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err == nil && len(raw) > maxKeyFile {
		err = fmt.Errorf("%s is larger than %d bytes: that is no key", path, maxKeyFile)
	}
	return raw, err
}

// readSignKey reads a private key, as signkey new or openssl genpkey writes it.
func readSignKey(path string) (crypto.Signer, error) {
	raw, err := readKeyFile(path)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("signing key: %s does not hold a PRIVATE KEY (PKCS #8) in PEM: make one with porchlight brand signkey new", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("signing key: %s: %w", path, err)
	}
	switch key := key.(type) {
	case ed25519.PrivateKey:
		return key, nil
	case *ecdsa.PrivateKey:
		return key, nil
	}
	return nil, fmt.Errorf("signing key: %s is neither an Ed25519 key nor one on P-256", path)
}

type signKeyAddCmd struct {
	ID   string `arg:"" name:"id" help:"The brand's ID."`
	File string `required:"" help:"The public key, in PEM or as a JWK." placeholder:"FILE"`
	KID  string `name:"kid" help:"The key's ID, 1 to 64 characters, as the brand names it in what it signs; default that of the JWK, or made of the key." placeholder:"ID"`
	JSON bool   `help:"Print JSON."`
}

// Run adds a key.
func (c *signKeyAddCmd) Run(e *env) error {
	raw, err := readKeyFile(c.File)
	if err != nil {
		return fmt.Errorf("signing key: %w", err)
	}
	// A private key is refused here: it is not to travel, not even to the gateway.
	if _, err := delivery.ParseSignKey(device.BrandID(c.ID), c.KID, raw); err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	k, err := ask[registry.SignKey](e, "brand/signkey/add", api.SignKeyAdd{ID: device.BrandID(c.ID), KID: c.KID, Public: string(raw)})
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e.out, k)
	}
	fmt.Fprintln(e.out, k.ID)
	return nil
}

type signKeyRevokeCmd struct {
	ID  string `arg:"" name:"id" help:"The brand's ID."`
	KID string `arg:"" name:"kid" help:"The key's ID."`
}

// Run revokes a key.
func (c *signKeyRevokeCmd) Run(e *env) error {
	_, err := ask[api.None](e, "brand/signkey/revoke", api.SignKeyRef{ID: device.BrandID(c.ID), KID: c.KID})
	return err
}

type signKeyListCmd struct {
	ID   string `arg:"" name:"id" help:"The brand's ID."`
	JSON bool   `help:"Print JSON."`
}

// Run lists keys.
func (c *signKeyListCmd) Run(e *env) error {
	b, err := ask[delivery.BrandState](e, "brand/show", api.BrandRef{ID: device.BrandID(c.ID)})
	if err != nil {
		return err
	}
	if c.JSON {
		if b.SignKeys == nil {
			b.SignKeys = []registry.SignKey{}
		}
		return printJSON(e.out, b.SignKeys)
	}
	t := table(e.out)
	fmt.Fprintln(t, "KID\tALG\tSTATE")
	for _, k := range b.SignKeys {
		fmt.Fprintf(t, "%s\t%s\t%s\n", k.ID, k.Alg, inForce(k))
	}
	return t.Flush()
}

type messageCmd struct {
	Verify messageVerifyCmd `cmd:"" help:"Show who signed a message, and verify the signature anew."`
}

type messageVerifyCmd struct {
	ID     device.MessageID `arg:"" name:"id" help:"The message's ID."`
	Export string           `help:"Write what other software needs to verify it: PREFIX.jws, and the public key as PREFIX.jwk and PREFIX.pem." placeholder:"PREFIX"`
	JSON   bool             `help:"Print JSON."`
}

// Run verifies a signature. It fails if the brand cannot be shown to have signed the message.
func (c *messageVerifyCmd) Run(e *env) error {
	p, err := ask[delivery.Proof](e, "message/verify", api.MessageRef{ID: c.ID})
	if err != nil {
		return err
	}
	if c.Export != "" {
		if p.Sign == nil {
			return fmt.Errorf("message %s: %s: there is nothing to export", c.ID, p.Verdict)
		}
		for _, file := range []struct {
			name string
			raw  []byte
		}{{".jws", []byte(p.JWS + "\n")}, {".jwk", append(p.JWK, '\n')}, {".pem", publicPEM(*p.Sign)}} {
			if err := writeNew(c.Export+file.name, 0o644, file.raw); err != nil {
				return err
			}
		}
	}
	if c.JSON {
		err = printJSON(e.out, p)
	} else {
		t := table(e.out)
		fmt.Fprintf(t, "message\t%s\nbrand\t%s\naccepted\t%s\n", p.ID, p.Brand, p.Accepted)
		if p.KID != "" {
			fmt.Fprintf(t, "kid\t%s\n", p.KID)
		}
		if p.Sign != nil {
			fmt.Fprintf(t, "key\t%s, %s\n", p.Sign.Alg, inForce(*p.Sign))
		}
		fmt.Fprintf(t, "verdict\t%s\n", p.Verdict)
		err = t.Flush()
	}
	if err == nil && !p.Valid {
		err = fmt.Errorf("message %s: %s", p.ID, p.Verdict)
	}
	return err
}

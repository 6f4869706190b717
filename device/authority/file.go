package authority

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	keyFile = "ca.key" // everything: see encode
	crtFile = "ca.crt" // for the clients, made from keyFile
	newFile = ".new-*" // half-written
)

// line is the CAs in force.
type line struct {
	newest ca // signs the certificates of devices
	older  ca // in force until Retire; without certificate outside a rotation
	// cross is newest's key and name, signed by older. Nil if older may not sign a CA: then older
	// keeps its key and goes on signing the certificate that listeners present.
	cross *x509.Certificate
}

type ca struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// at is l without the older CA if that has ended by now.
func (l line) at(now time.Time) line {
	if l.older.cert != nil && now.After(l.older.cert.NotAfter) {
		return line{newest: l.newest}
	}
	return l
}

// presented is the current CA, which signs the certificate that listeners present, and the
// certificate of that CA's key that goes with it.
func (l line) presented() (by ca, above *x509.Certificate) {
	switch {
	case l.cross != nil:
		return l.newest, l.cross
	case l.older.cert != nil:
		return l.older, l.older.cert
	}
	return l.newest, l.newest.cert
}

// inForce lists the CAs' certificates, the current one first.
func (l line) inForce() []*x509.Certificate {
	switch {
	case l.cross != nil:
		return []*x509.Certificate{l.newest.cert, l.older.cert}
	case l.older.cert != nil:
		return []*x509.Certificate{l.older.cert, l.newest.cert}
	}
	return []*x509.Certificate{l.newest.cert}
}

// bundle is the content of ca.crt.
func (l line) bundle() []byte {
	var b bytes.Buffer
	for _, c := range l.inForce() {
		pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	return b.Bytes()
}

// encode is the content of ca.key: the newest CA's key and certificate, then, during a rotation,
// the older one's certificate and either cross or the older one's key.
func (l line) encode() []byte {
	var b bytes.Buffer
	for _, c := range []ca{l.newest, l.older, {cert: l.cross}} {
		if c.key != nil {
			der, err := x509.MarshalPKCS8PrivateKey(c.key)
			if err != nil {
				panic(err) // a P-256 key always has a form
			}
			pem.Encode(&b, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
		}
		if c.cert != nil {
			pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw})
		}
	}
	return b.Bytes()
}

func decode(b []byte) (line, error) {
	var certs []*x509.Certificate
	var keys []*ecdsa.PrivateKey
	for {
		block, rest := pem.Decode(b)
		if block == nil {
			if len(bytes.TrimSpace(rest)) > 0 {
				return line{}, errors.New("it ends in what is not PEM")
			}
			break
		}
		b = rest
		switch block.Type {
		case "CERTIFICATE":
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return line{}, err
			}
			certs = append(certs, c)
		case "PRIVATE KEY":
			k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return line{}, err
			}
			key, ok := k.(*ecdsa.PrivateKey)
			if !ok || key.Curve != elliptic.P256() {
				return line{}, errors.New("a key is not of the kind P-256")
			}
			keys = append(keys, key)
		default:
			return line{}, fmt.Errorf("a block %q does not belong there", block.Type)
		}
	}
	var l line
	switch {
	case len(keys) == 1 && len(certs) == 1:
		l = line{newest: ca{certs[0], keys[0]}}
	case len(keys) == 1 && len(certs) == 3:
		l = line{newest: ca{certs[0], keys[0]}, older: ca{cert: certs[1]}, cross: certs[2]}
		if err := l.cross.CheckSignatureFrom(l.older.cert); err != nil || !keys[0].PublicKey.Equal(l.cross.PublicKey) {
			return line{}, errors.New("its certificates do not belong together")
		}
	case len(keys) == 2 && len(certs) == 2:
		l = line{newest: ca{certs[0], keys[0]}, older: ca{certs[1], keys[1]}}
	default:
		return line{}, fmt.Errorf("%d keys and %d certificates are not a CA, nor two in rotation", len(keys), len(certs))
	}
	for _, c := range []ca{l.newest, l.older} {
		if c.cert != nil && !c.cert.IsCA {
			return line{}, errors.New("a certificate is not a CA's")
		}
		if c.key != nil && !c.key.PublicKey.Equal(c.cert.PublicKey) {
			return line{}, errors.New("key and certificate do not belong together")
		}
	}
	return l, nil
}

// load reads what is in force; the zero line if there is nothing yet.
func load(dir string) (line, error) {
	key, crt := filepath.Join(dir, keyFile), filepath.Join(dir, crtFile)
	info, err := os.Stat(key)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(crt); err == nil {
			return line{}, fmt.Errorf("%s is not there, but %s is: put your copy of the key back, or remove %s, start again, and give every client the new file", key, crt, dir)
		}
		return line{}, nil
	}
	if err != nil {
		return line{}, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return line{}, fmt.Errorf("%s can be read or changed by others than its owner (mode %04o), and who has it can be this gateway: chmod 600 %[1]s", key, mode)
	}
	b, err := os.ReadFile(key)
	if err != nil {
		return line{}, err
	}
	if !bytes.Contains(b, []byte("-----BEGIN CERTIFICATE-----")) { // the first kind: the certificate is in ca.crt alone
		cert, err := os.ReadFile(crt)
		if err != nil {
			return line{}, fmt.Errorf("%s has no certificate: %w: put it back, or remove %[1]s if no client was ever given it", key, err)
		}
		b = append(append(b, '\n'), cert...)
	}
	l, err := decode(b)
	if err != nil {
		return line{}, fmt.Errorf("read %s: %w", key, err)
	}
	return l, nil
}

// tidy brings the folder to the state l, whatever a kill or an older gateway left there.
func tidy(dir string, l line) error {
	halves, err := filepath.Glob(filepath.Join(dir, newFile))
	if err != nil {
		return err
	}
	// The first kind kept the certificate for listeners, and its key, here.
	for _, path := range append(halves, filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key")) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, f := range []struct {
		name string
		want []byte
		mode fs.FileMode
	}{{keyFile, l.encode(), 0o600}, {crtFile, l.bundle(), 0o644}} {
		path := filepath.Join(dir, f.name)
		if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, f.want) {
			continue
		}
		if err := write(path, f.want, f.mode); err != nil {
			return err
		}
	}
	return syncDir(filepath.Dir(dir))
}

// reached is told each step of a change on disk. A test ends the process there.
var reached = func(step string) {}

// write replaces a file in one step that survives a kill and a power cut.
func write(path string, b []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), newFile) // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	reached("made")
	_, err = f.Write(b)
	reached("written")
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	reached("synced")
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	reached("renamed")
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a folder survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

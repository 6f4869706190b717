package api

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"porchlight/broker/delivery"
)

// stalled is how long one who reads an export, or sends one, may do nothing.
const stalled = 30 * time.Second

// rightsVerbs adds what is done with all that is known: a copy of it, a move to another gateway, an end of it.
func (o *Operators) rightsVerbs(mux *http.ServeMux) {
	verb(o, mux, "erase", func(ctx context.Context, d *delivery.Desk, in delivery.Erasure) (delivery.Erased, error) {
		done, err := d.Erase(ctx, in)
		if errors.Is(err, delivery.ErrOnScreen) {
			err = &Problem{Type: "about:blank", Title: http.StatusText(http.StatusConflict), Status: http.StatusConflict, Detail: err.Error() + ": try again"}
		}
		return done, err
	})
	mux.HandleFunc("POST /export", func(w http.ResponseWriter, r *http.Request) {
		in, err := readVerb[delivery.ExportAsked](r)
		out := &download{w: w, control: http.NewResponseController(w)}
		if err == nil {
			err = o.desk.As(caller(r)).Export(r.Context(), in, out)
		}
		switch {
		case err == nil:
		case out.begun: // what came so far must not be taken for all there is
			o.log.Error("verb failed", "verb", "export", "status", http.StatusOK)
			panic(http.ErrAbortHandler)
		default:
			o.refuse(w, "export", err)
		}
	})
	mux.HandleFunc("POST /import", func(w http.ResponseWriter, r *http.Request) {
		var done delivery.Imported
		f, size, err := o.upload(w, r)
		if err == nil {
			defer f.Close()
			ask := delivery.ImportAsked{Name: r.URL.Query().Get("name")}
			if key := r.URL.Query().Get("key"); key != "" {
				ask.Key, err = publicKey(key)
			}
			if err == nil {
				done, err = o.desk.As(caller(r)).Import(r.Context(), f, size, ask)
			}
		}
		switch {
		case errors.Is(err, delivery.ErrDamaged), errors.Is(err, delivery.ErrNewer), errors.Is(err, delivery.ErrNotSigned):
			err = &Problem{Type: "about:blank", Title: http.StatusText(http.StatusUnprocessableEntity), Status: http.StatusUnprocessableEntity, Detail: err.Error()}
		}
		if err != nil {
			o.refuse(w, "import", err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(done) // nobody is left to tell
	})
}

// publicKey reads a key as X.509 writes it, in base64url.
func publicKey(text string) (crypto.PublicKey, error) {
	der, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		var key crypto.PublicKey
		if key, err = x509.ParsePKIXPublicKey(der); err == nil {
			return key, nil
		}
	}
	return nil, &Problem{Type: "about:blank", Title: http.StatusText(http.StatusBadRequest), Status: http.StatusBadRequest, Detail: "key is no public key as X.509 writes it, in base64url without padding"}
}

// refuse answers that a verb was not done.
func (o *Operators) refuse(w http.ResponseWriter, verb string, err error) {
	p := operatorProblem(err)
	if p.cause != nil {
		o.log.Error("verb failed", "verb", verb, "status", p.Status)
	}
	write(w, p)
}

// download is an answer that is a file. It may take as long as somebody reads it.
type download struct {
	w       http.ResponseWriter
	control *http.ResponseController
	begun   bool
}

func (d *download) Write(p []byte) (int, error) {
	if !d.begun {
		d.begun = true
		d.w.Header().Set("Content-Type", "application/zip")
	}
	if err := d.control.SetWriteDeadline(time.Now().Add(stalled)); err != nil {
		return 0, err
	}
	return d.w.Write(p)
}

// upload keeps what is sent in a file without a name, which is gone when it is closed, whatever happens.
func (o *Operators) upload(w http.ResponseWriter, r *http.Request) (_ *os.File, size int64, err error) {
	f, err := os.CreateTemp(filepath.Dir(o.path), ".import-")
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if err := os.Remove(f.Name()); err != nil {
		return nil, 0, err
	}
	control := http.NewResponseController(w)
	part := make([]byte, 1<<20)
	for {
		if err := control.SetReadDeadline(time.Now().Add(stalled)); err != nil {
			return nil, 0, err
		}
		n, err := r.Body.Read(part)
		if size += int64(n); size > delivery.MaxImport {
			return nil, 0, fmt.Errorf("%w: it has more than %d bytes", delivery.ErrDamaged, delivery.MaxImport)
		}
		if _, err := f.Write(part[:n]); err != nil {
			return nil, 0, err
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, 0, &Problem{Type: "about:blank", Title: "Bad Request", Status: http.StatusBadRequest, Detail: "read the file: " + err.Error()}
		}
	}
	// What follows may take longer than an answer usually may.
	return f, size, errors.Join(control.SetReadDeadline(time.Time{}), control.SetWriteDeadline(time.Now().Add(10*time.Minute)))
}

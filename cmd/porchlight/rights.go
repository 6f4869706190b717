package main

import (
	"archive/zip"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"porchlight/broker/delivery"
	"porchlight/device"
)

type exportCmd struct {
	Home     string `required:"" help:"The home's name." placeholder:"HOME"`
	Person   string `help:"Only what is about this person and their devices, and nothing about others." placeholder:"PERSON"`
	Language string `help:"Of the page to read: en, de, fr, es; default what the person or the home prefers." placeholder:"TAG"`
	Out      string `short:"o" required:"" help:"Where to write it: a zip with a page to read, index.html." placeholder:"FILE"`
}

// Run writes an export.
func (c *exportCmd) Run(e *env) (err error) {
	if _, err := os.Lstat(c.Out); err == nil {
		return fmt.Errorf("export: %s is there already: choose another name, or remove it", c.Out)
	}
	answer, err := call(e, "export", delivery.ExportAsked{Home: c.Home, Person: c.Person, Language: c.Language}, 0)
	if err != nil {
		return err
	}
	defer answer.Close()
	// It is about people: nobody else may read it, and half of it is none.
	f, err := os.CreateTemp(filepath.Dir(c.Out), ".export-")
	if err != nil {
		return fmt.Errorf("export: %w", cannotWrite(c.Out, err))
	}
	defer func() {
		if f.Close(); err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	size, err := io.Copy(f, &progress{r: answer, out: e.errs, what: "written"})
	if err != nil {
		return fmt.Errorf("export: the gateway broke off: %w", err)
	}
	if _, err := zip.NewReader(f, size); err != nil {
		return fmt.Errorf("export: what came is not whole: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if err := os.Link(f.Name(), c.Out); err != nil { // never over another's
		if !errors.Is(err, fs.ErrExist) {
			err = os.Rename(f.Name(), c.Out)
		}
		if err != nil {
			return fmt.Errorf("export: %w", cannotWrite(c.Out, err))
		}
	} else if err := os.Remove(f.Name()); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	fmt.Fprintf(e.out, "%s: %d bytes\n", c.Out, size)
	return nil
}

type importCmd struct {
	File string `arg:"" help:"Export of a whole home."`
	Name string `help:"What to call the home here; default as it was called." placeholder:"NAME"`
	Key  string `help:"The home's public key, as ledger key prints it where the home was exported: take the file only as it was written there." placeholder:"FILE"`
	JSON bool   `help:"Print JSON."`
}

// Run takes a home in.
func (c *importCmd) Run(e *env) error {
	ask := url.Values{"name": {c.Name}}
	if c.Key != "" {
		key, err := readPublic(c.Key)
		if err != nil {
			return fmt.Errorf("import: %w", err)
		}
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			return fmt.Errorf("import: %s: %w", c.Key, err)
		}
		ask.Set("key", base64.RawURLEncoding.EncodeToString(der))
	}
	f, err := openFile(c.File)
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	defer f.Close()
	answer, err := stream(e, "import?"+ask.Encode(), "application/zip", &progress{r: f, out: e.errs, what: "sent"}, 0)
	if err != nil {
		return err
	}
	defer answer.Close()
	var done delivery.Imported
	if err := json.NewDecoder(answer).Decode(&done); err != nil {
		return fmt.Errorf("read the gateway's answer: %w", err)
	}
	if c.JSON {
		return printJSON(e.out, done)
	}
	fmt.Fprintf(e.out, "home %s is home %d here, with %d events\n", done.Home.Name, done.Home.ID, done.Events)
	if !done.Proven {
		fmt.Fprintln(e.errs, "porchlight: import: the file was taken at its word: --key FILE, with what ledger key prints where the home was, has it proved")
	}
	for _, b := range done.Brands {
		fmt.Fprintf(e.out, "brand %s came with it: it is stopped, and has no key\n", b)
	}
	for _, b := range done.Strange {
		fmt.Fprintf(e.out, "brand %s is not known here as the firm that it was: what was allowed to it does not stand\n", b)
	}
	for _, b := range done.TooLong {
		fmt.Fprintf(e.out, "what was allowed to %s does not stand: it would have ended later than in 12 months\n", b)
	}
	return nil
}

type eraseCmd struct {
	Home    string         `required:"" help:"The home's name." placeholder:"HOME"`
	Person  string         `help:"All about this person, who leaves the home." placeholder:"PERSON"`
	Brand   device.BrandID `help:"All about this brand." placeholder:"ID"`
	Device  string         `help:"All about this device, which is removed; by ID, or by name while it is there." placeholder:"DEVICE"`
	Kind    delivery.Data  `help:"All of one kind: consent, deliveries, preferences, learnt, asks, acts, context." placeholder:"KIND"`
	After   string         `help:"Only what was from then on, and is over: a time such as 2026-01-01T00:00:00Z, or a date (UTC)." placeholder:"TIME"`
	Before  string         `help:"Only what was before then, and is over." placeholder:"TIME"`
	Devices bool           `help:"With --person: remove their devices, too."`
	JSON    bool           `help:"Print JSON."`
	sureFlags
}

// Validate is called by the parser.
func (c *eraseCmd) Validate() error {
	n := 0
	for _, given := range []bool{c.Person != "", c.Brand != "", c.Device != "", c.Kind != ""} {
		if given {
			n++
		}
	}
	switch {
	case n > 1:
		return errors.New("give one of --person, --brand, --device, --kind")
	case n == 0 && c.After == "" && c.Before == "":
		return errors.New("say what: --person, --brand, --device, --kind, or a period with --after, --before")
	case c.Devices && c.Person == "":
		return errors.New("--devices goes with --person")
	}
	return nil
}

// Run erases.
func (c *eraseCmd) Run(e *env) (err error) {
	in := delivery.Erasure{Home: c.Home, Person: c.Person, Brand: c.Brand, Device: c.Device, Data: c.Kind, Devices: c.Devices, Try: true}
	if in.After, err = moment(c.After); err != nil {
		return usageError{fmt.Errorf("--after %w", err)}
	}
	if in.Before, err = moment(c.Before); err != nil {
		return usageError{fmt.Errorf("--before %w", err)}
	}
	if !c.Yes {
		would, err := ask[delivery.Erased](e, "erase", in)
		if err != nil {
			return err
		}
		name := c.Home
		for _, given := range []string{c.Person, string(c.Brand), c.Device} {
			if given != "" {
				name = given
			}
		}
		what := fmt.Sprintf("This erases %d of the home's events for good", would.Events)
		for _, id := range would.Removed {
			what += fmt.Sprintf(", and removes device %s", id)
		}
		if err := c.sure(e, what+".", name, "erased"); err != nil {
			return fmt.Errorf("erase: %w", err)
		}
	}
	in.Try = false
	done, err := ask[delivery.Erased](e, "erase", in)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e.out, done)
	}
	fmt.Fprintf(e.out, "erased: %d events\n", done.Events)
	return nil
}

// moment reads a time or a date; "" is none.
func moment(text string) (device.Instant, error) {
	if text == "" {
		return 0, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return device.At(t), nil
		}
	}
	return 0, fmt.Errorf("is %.40q: use a time such as 2026-01-01T00:00:00Z, or a date such as 2026-01-01", text)
}

// progress tells once a second how much of something long went through it.
type progress struct {
	r    io.Reader
	out  io.Writer
	what string
	told time.Time
	size int64
}

func (p *progress) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.size += int64(n)
	switch now := time.Now(); {
	case p.told.IsZero():
		p.told = now.Add(time.Second) // what is over within two is not long
	case now.Sub(p.told) >= time.Second:
		p.told = now
		fmt.Fprintf(p.out, "%d MB %s\n", p.size>>20, p.what)
	}
	return n, err
}

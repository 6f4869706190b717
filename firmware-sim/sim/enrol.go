package sim

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"porchlight/device"
	"porchlight/device/wire"
)

// Enrolment says how a device that belongs to no home becomes one of a home's. The gateway must be
// reached over TLS.
type Enrolment struct {
	Way wire.Way // 0 means ByCode
	// Secret is what is on the device's label (ByLabel, at least 16 characters of base32), or the
	// one-time code of the home that a person has typed on the device (ByHome; once it has been of
	// use, the device goes ByCode). Hyphens, spaces and capitals make no difference.
	Secret string
	Token  bool // the device makes no key, and asks for a token
	// Show, if not nil, is told the six digits that a person has to type on a device of the home,
	// and "" when they are of no use any more. They are in the device's State as well.
	Show func(code string)
}

// minLabel is how many characters of base32 a label's secret has at least: 80 bits.
const minLabel = 16

func (e *Enrolment) check(gateway string) error {
	switch scheme, _, _ := strings.Cut(gateway, "://"); scheme {
	case "tls", "ssl", "mqtts", "wss":
	default:
		return fmt.Errorf("%w: %q begins with neither tls:// nor wss://: a device enrols over TLS only", errConfig, gateway)
	}
	switch plain := wire.PlainSecret(e.Secret); e.Way {
	case 0, wire.ByCode:
	case wire.ByLabel:
		if len(plain) < minLabel || len(plain) > wire.MaxCode || strings.Trim(plain, "abcdefghijklmnopqrstuvwxyz234567") != "" {
			return fmt.Errorf("the secret of the label must be %d to %d characters of a-z and 2-7", minLabel, wire.MaxCode)
		}
	case wire.ByHome:
		if plain == "" || len(plain) > wire.MaxCode {
			return errors.New("the home's one-time code is missing, or too long")
		}
	default:
		return fmt.Errorf("way %d of enrolling is unknown", e.Way)
	}
	return nil
}

// application is an enrolment that has begun. It is in the book, so that the answer can be asked
// for again if it was lost, also to a power cut.
type application struct {
	Key []byte `json:"key,omitempty"` // P-256, PKCS #8; none: a token is wanted
	// A device without a key is known by its nonce, which it therefore keeps. Once the nonce has
	// been revealed it is revealed again only to the same authority, for the same challenge:
	// whoever could choose another could choose the code.
	Nonce     []byte `json:"nonce,omitempty"`
	Authority []byte `json:"authority,omitempty"`
	Challenge []byte `json:"challenge,omitempty"`
}

// same reports whether old, which may be nil, is the application b.
func (old *application) same(b application) bool {
	return old != nil && bytes.Equal(old.Key, b.Key) && bytes.Equal(old.Nonce, b.Nonce)
}

// turnedAway is the gateway's no, for people.
type turnedAway struct {
	why  string
	stop bool // until a person wants the device to ask again
}

func (t turnedAway) Error() string { return t.why }

// errForgotten ends an application of a device without a key that the gateway does not know any
// more.
var errForgotten = turnedAway{why: "what it has asked before is not known any more: it begins anew"}

// errNotWanted means that a reset or a power cut came in between.
var errNotWanted = errors.New("the connection is not wanted any more")

// decideWithin is how long a person may take to make up their mind.
const decideWithin = 15 * time.Minute

// errStranger means that somebody may stand between the device and its gateway.
var errStranger = errors.New("somebody may stand between the device and its gateway")

// enrol asks once to be let in. The error is nil if the device has an identity now, or ctx has
// ended.
func (d *Device) enrol(ctx context.Context) error {
	a, err := d.apply()
	if err != nil {
		return err
	}
	err = d.applyWith(ctx, a)
	if ctx.Err() != nil {
		return nil
	}
	if no := (turnedAway{}); err == nil || !errors.As(err, &no) && !errors.Is(err, errStranger) {
		return err
	}
	// Another time with another key, as if this had not been.
	d.with(func(time.Time) error {
		d.fw.book.Applying, d.fw.book.dirty = nil, true
		return nil
	})
	return err
}

// apply is the application that has begun, or a new one. It is in the book before anybody hears of
// it.
func (d *Device) apply() (a application, err error) {
	err = d.with(func(time.Time) error {
		old := d.fw.book.Applying
		if old != nil && (old.Key == nil) == d.cfg.Enrol.Token {
			a = *old
			return nil
		}
		if d.cfg.Enrol.Token {
			a.Nonce = newNonce()
		} else if a.Key, err = newKey(); err != nil {
			return err
		}
		b := d.fw.book
		b.Applying, b.dirty = &a, true
		if err := b.save(); err != nil {
			return err
		}
		d.fw.book = b
		return nil
	})
	return a, err
}

func newNonce() []byte {
	nonce := make([]byte, wire.NonceSize)
	rand.Read(nonce)
	return nonce
}

// applyWith asks to be let in with the application a.
func (d *Device) applyWith(ctx context.Context, a application) error {
	csr, key, err := request(a.Key)
	if err != nil {
		return err
	}
	bind := wire.Binding{Device: key, NonceD: a.Nonce}
	if a.Key != nil {
		bind.NonceD = newNonce()
	}
	commit := wire.Commitment(bind.NonceD, key)
	me := device.ID(wire.ApplicantID(key, commit))

	way := d.way()
	var server *x509.Certificate
	frames := make(chan []byte, 8) // it takes two
	l, err := d.open(ctx, login{id: me, user: "enrol", secure: &tls.Config{
		InsecureSkipVerify: true, // the person who types the code verifies it
		MinVersion:         tls.VersionTLS12,
		VerifyConnection: func(c tls.ConnectionState) (err error) {
			server = c.PeerCertificates[0]
			bind.CA, err = authority(c.PeerCertificates)
			return err
		},
	}}, func(_ *link, topic string, payload []byte) {
		if topic == wire.Topic(me, wire.DnEnrol) {
			select {
			case frames <- payload:
			default:
			}
		}
	})
	if err != nil {
		return closedDoor(err, way)
	}
	defer l.close()
	d.mu.Lock()
	if d.cut || !d.fw.book.Applying.same(a) {
		d.mu.Unlock()
		return errNotWanted
	}
	d.link = l
	d.mu.Unlock()
	defer d.showCode("")
	defer d.with(func(time.Time) error {
		if d.link == l {
			d.link = nil
		}
		return nil
	})
	if a.Challenge != nil && !bytes.Equal(a.Authority, bind.CA[:]) {
		return errForgotten
	}
	if err := d.subscribe(l, "dn/#"); err != nil {
		return err
	}
	model := d.cfg.Model
	if err := d.say(l, wire.Apply{Commit: commit, CSR: csr, Class: d.cfg.Class, Way: way,
		Model: wire.Model{Maker: model.Maker, Name: model.Name, Hardware: model.Hardware}}); err != nil {
		return err
	}
	d.enrolling("asks to be let in as " + string(me))
	// The challenge comes at once; an answer when a person has made up their mind.
	patience := time.NewTimer(d.cfg.AckWait)
	defer patience.Stop()
	for {
		var payload []byte
		select {
		case payload = <-frames:
		case <-ctx.Done():
			return ctx.Err()
		case <-patience.C:
			return errors.New("the gateway does not answer")
		case <-l.lost:
			select {
			case payload = <-frames: // came before the end
			default:
				return l.why
			}
		}
		f, err := wire.DecodeEnrolment(payload)
		switch {
		case err != nil:
			return err
		case f.TurnedAway != nil:
			return turnedAway{whyNot(*f.TurnedAway, way), f.TurnedAway.Why == wire.Rejected}
		case f.Admitted != nil:
			return d.admitted(l, a, bind, server, *f.Admitted)
		case bytes.Equal(bind.NonceG, f.Challenge.Nonce):
			continue // once more
		case bind.NonceG != nil:
			return fmt.Errorf("%w: a second challenge came for one nonce", errStranger)
		case a.Challenge != nil && !bytes.Equal(a.Challenge, f.Challenge.Nonce):
			return errForgotten
		}
		patience.Reset(decideWithin)
		bind.NonceG = f.Challenge.Nonce
		if err := d.reveal(l, a, bind, way); err != nil {
			return err
		}
	}
}

// authority is what a server's chain ends in: the SHA-256 of that key. The chain must hang
// together, or anybody could put another's authority at the end of theirs. Neither its name nor
// its time is looked at: the device knows neither yet.
func authority(chain []*x509.Certificate) (key [wire.HashSize]byte, err error) {
	last := chain[len(chain)-1]
	o := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	o.Roots.AddCert(last)
	for _, c := range chain {
		o.Intermediates.AddCert(c)
		if c.NotBefore.After(o.CurrentTime) {
			o.CurrentTime = c.NotBefore
		}
	}
	if _, err := chain[0].Verify(o); err != nil {
		return key, fmt.Errorf("%w: %w", errStranger, err)
	}
	return sha256.Sum256(last.RawSubjectPublicKeyInfo), nil
}

// closedDoor says in words why an applicant is not even heard.
func closedDoor(err error, way wire.Way) error {
	var no refusedError
	switch {
	case !errors.As(err, &no):
		return err
	case no.unknown() && way == wire.ByHome:
		return errors.New("the gateway waits for no home's code just now: let it make a new one")
	case no.unknown():
		return errors.New("nobody is adding a device just now: open the window on a device of the home first")
	case no.code == 3:
		return errors.New("too many devices ask just now")
	}
	return err
}

// reveal opens the commitment, and shows the code if there is one.
func (d *Device) reveal(l *link, a application, bind wire.Binding, way wire.Way) error {
	r := wire.Reveal{Nonce: bind.NonceD}
	if way != wire.ByCode {
		r.Proof = bind.Proof(d.cfg.Enrol.Secret)
	}
	if a.Key == nil {
		err := d.with(func(time.Time) error {
			if d.link != l {
				return errNotWanted
			}
			b := d.fw.book
			b.Applying, b.dirty = &application{Nonce: a.Nonce, Authority: bind.CA[:], Challenge: bind.NonceG}, true
			err := b.save()
			if err == nil {
				d.fw.book = b
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	if err := d.say(l, r); err != nil {
		return err
	}
	switch way {
	case wire.ByCode:
		d.showCode(bind.Code())
		d.enrolling("waits: type its code on a device of the home")
	case wire.ByLabel:
		d.enrolling("waits: type the secret on its label on a device of the home")
	}
	return nil
}

// admitted makes the device one of the home's, if it is the gateway of the binding that says so.
func (d *Device) admitted(l *link, a application, bind wire.Binding, server *x509.Certificate, m wire.Admitted) error {
	ca, err := x509.ParseCertificate(m.CAs[0])
	if err != nil {
		return fmt.Errorf("%w: the authority's certificate: %w", errStranger, err)
	}
	if sha256.Sum256(ca.RawSubjectPublicKeyInfo) != bind.CA {
		return fmt.Errorf("%w: it was admitted by another authority than the one that it sees", errStranger)
	}
	if err := server.VerifyHostname(m.Name); err != nil {
		return fmt.Errorf("%w: %w", errStranger, err)
	}
	return d.with(func(now time.Time) error {
		if d.link != l {
			return errNotWanted
		}
		c := credential{Key: a.Key, Certificate: m.Certificate, Token: m.Token, CAs: m.CAs}
		if err := c.check(now); err != nil {
			return fmt.Errorf("%w: %w", errStranger, err)
		}
		b := book{path: d.fw.book.path, Forgot: d.cfg.ID, dirty: true, Identity: &identity{ID: m.ID, Name: m.Name, Keys: []credential{c}}}
		if err := b.save(); err != nil {
			return err
		}
		d.fw.book = b
		d.fw.spent, d.fw.refusals = true, 0
		d.fw.note(Event{Kind: Enrolled, Why: string(m.ID)})
		return nil
	})
}

// whyNot is t for people.
func whyNot(t wire.TurnedAway, way wire.Way) string {
	why := "the gateway turned it away"
	switch t.Why {
	case wire.Closed:
		why = "nobody is adding a device just now: open the window on a device of the home first"
	case wire.Rejected:
		why = "somebody said no to it: it asks again when its power was cut, or it was reset"
	case wire.Tries:
		why = "its code was typed wrongly too often"
	case wire.Late:
		why = "nobody said yes to it in time"
	case wire.Unproven:
		why = "the gateway does not believe it"
		if way == wire.ByHome {
			why = "the home's code is wrong, or was used before"
		}
	case wire.Full:
		why = "too many devices ask just now"
	case wire.Unusable:
		why = "the gateway cannot use its key"
	}
	if t.Text != "" {
		why += " (" + printable(t.Text) + ")"
	}
	return why
}

// printable is text from a stranger without what would confuse a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, text)
}

// way is how the device enrols now.
func (d *Device) way() wire.Way {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.cfg.Enrol; e.Way != 0 && (e.Way != wire.ByHome || !d.fw.spent) {
		return e.Way
	}
	return wire.ByCode
}

// say publishes a frame of an enrolment. What it is answered with is its acknowledgement.
func (d *Device) say(l *link, v any) error {
	payload, err := wire.Encode(v)
	if err != nil {
		return err
	}
	t := l.client.Publish(wire.Topic(l.id(), wire.UpEnrol), 0, false, payload)
	if err := l.wait(t, d.cfg.AckWait); err != nil {
		return fmt.Errorf("%s: %w", wire.UpEnrol, err)
	}
	return nil
}

// subscribe asks for the frames to the device; the gateway may refuse.
func (d *Device) subscribe(l *link, leaf wire.Leaf) error {
	topic := wire.Topic(l.id(), leaf)
	t := l.client.Subscribe(topic, 1, nil)
	if err := l.wait(t, d.cfg.AckWait); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	if got := t.(*mqtt.SubscribeToken).Result()[topic]; got > 1 {
		return fmt.Errorf("subscribe: %w %s", errNotYours, topic)
	}
	return nil
}

var errNotYours = errors.New("the gateway refused")

func (d *Device) enrolling(why string) {
	d.with(func(time.Time) error {
		d.fw.note(Event{Kind: Enrolling, Why: why})
		return nil
	})
}

// showCode puts the six digits on the screen, or takes them off.
func (d *Device) showCode(code string) {
	changed := false
	d.with(func(time.Time) error {
		changed = d.fw.code != code
		d.fw.code = code
		return nil
	})
	if changed && d.cfg.Enrol.Show != nil {
		d.cfg.Enrol.Show(code)
	}
}

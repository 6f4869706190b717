package wire

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"porchlight/device"
)

// FuzzDecode gives any bytes to every decoder: it must not panic, its error must be an
// ErrFrame of bounded size, and what it takes must survive being encoded again.
func FuzzDecode(f *testing.F) {
	for _, g := range readGolden(f) {
		f.Add(g.bytes)
	}
	for _, b := range readSecond(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, leaf := range leaves {
			got, err := decodeAs(leaf, b)
			if err != nil {
				if text := err.Error(); !errors.Is(err, ErrFrame) || len(text) > 400 || !utf8.ValidString(text) ||
					!strings.HasPrefix(text, "bad frame: "+string(leaf)+": ") {
					t.Fatalf("%x as %s: error %q", b, leaf, text)
				}
				continue
			}
			if len(b) > MaxFrame {
				t.Fatalf("%d bytes were taken as %s", len(b), leaf)
			}
			again := bytesOf(t, got)
			if len(again) > len(b) {
				t.Fatalf("%x as %s became longer: %x", b, leaf, again)
			}
			back, err := decodeAs(leaf, again)
			if err != nil || !same(back, got) {
				t.Fatalf("%x as %s\ngot  %+v\nthen %+v, %v, from %x", b, leaf, got, back, err, again)
			}
			if third := bytesOf(t, back); !bytes.Equal(third, again) {
				t.Fatalf("%x as %s was encoded as %x, then as %x", b, leaf, again, third)
			}
		}
	})
}

// FuzzTopic: a topic that is taken is exactly the one that would be built from its parts, and a
// filter that is allowed selects nothing outside the device's own dn/.
func FuzzTopic(f *testing.F) {
	for _, topic := range hostile {
		if len(topic) < 1000 {
			f.Add(topic)
		}
	}
	for _, leaf := range leaves {
		f.Add(Topic(me, leaf))
	}
	f.Add(Topic(me, "dn/#"))
	f.Add(BrandTopic("fresh-co", UpMessage))
	f.Add(BrandTopic("fresh-co", DnAnswer))
	f.Fuzz(func(t *testing.T, topic string) {
		id, leaf, device := ParseTopic(topic)
		if device && Topic(id, leaf) != topic {
			t.Errorf("%q became %q", topic, Topic(id, leaf))
		}
		brand, leaf, isBrand := ParseBrandTopic(topic)
		if isBrand && BrandTopic(brand, leaf) != topic {
			t.Errorf("%q became %q", topic, BrandTopic(brand, leaf))
		}
		if device && isBrand {
			t.Errorf("%q is both a device's and a brand's", topic)
		}
		if (device || isBrand) && strings.ContainsAny(topic, "+#$\x00") {
			t.Errorf("%q was taken", topic)
		}
		if AllowSubscribe(me, topic) && !strings.HasPrefix(topic, "pl/1/"+string(me)+"/dn/") || strings.Contains(topic, "+") && AllowSubscribe(me, topic) {
			t.Errorf("%q was allowed", topic)
		}
		if AllowBrandSubscribe("fresh-co", topic) && !strings.HasPrefix(topic, "pl/1/b/fresh-co/dn/") {
			t.Errorf("%q was allowed", topic)
		}
	})
}

// FuzzBinding: a code has six digits and a client ID is an applicant's, whatever goes in, and how a
// secret is spelled does not matter.
func FuzzBinding(f *testing.F) {
	f.Add(labelSecret, caCert, nonceD, nonceG)
	f.Add("", []byte{}, speakerD, speakerG)
	f.Add("\xff İ-K", firstCSR, nonceG, nonceD)
	f.Fuzz(func(t *testing.T, secret string, keys, nonceD, nonceG []byte) {
		b := Binding{NonceD: nonceD, NonceG: nonceG}
		copy(b.Device[:], keys[copy(b.CA[:], keys):])
		if code := b.Code(); len(code) != 6 || strings.Trim(code, "0123456789") != "" {
			t.Errorf("code %q", code)
		}
		if id := ApplicantID(b.Device, Commitment(nonceD, b.Device)); !device.IsApplicant(id) {
			t.Errorf("client ID %q", id)
		}
		plain := PlainSecret(secret)
		if PlainSecret(plain) != plain || strings.ContainsAny(plain, "- ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
			t.Errorf("%q became %q, then %q", secret, plain, PlainSecret(plain))
		}
		if !bytes.Equal(b.Proof(secret), b.Proof(plain)) || !bytes.Equal(b.Proof(secret), b.Proof(" -"+secret)) {
			t.Errorf("the proof hangs on how %q is spelled", secret)
		}
	})
}

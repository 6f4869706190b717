package device

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
)

// Instant is a point in time in milliseconds since the Unix epoch, UTC. The zero
// Instant means "none".
type Instant int64

// At returns the Instant of t, cut to the millisecond.
func At(t time.Time) Instant { return Instant(t.UnixMilli()) }

// Time returns i as a time.Time in UTC.
func (i Instant) Time() time.Time { return time.UnixMilli(int64(i)).UTC() }

// Add returns the Instant d later, cut to the millisecond.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d.Milliseconds()) }

// String spells i as RFC 3339 with milliseconds, or "never" for none.
func (i Instant) String() string {
	if i == 0 {
		return "never"
	}
	return i.Time().Format("2006-01-02T15:04:05.000Z")
}

// HomeID numbers a home of this gateway, from 1 on. It says nothing about the people in it, so
// it may stand in a log. 0 is [Gateway].
type HomeID int64

// Gateway is the owner of the book in which brands and messages are written: no home at all.
const Gateway HomeID = 0

// PersonID numbers a person within one home, from 1 on. 0 stands for the home as a whole.
type PersonID int32

// Household is the subject of a choice made for the home as a whole.
const Household PersonID = 0

// RoomID numbers a room within one home, from 1 on; 0 means that none was named.
type RoomID int32

// ID names a device on the wire: 4 to 32 characters of a-z, 0-9 and hyphen, beginning with a
// letter or digit. It is given once and never again, not even after the device is removed.
type ID string

// BrandID names a brand: 2 to 32 characters of a-z, 0-9 and hyphen, beginning with a letter.
type BrandID string

// ErrID is wrapped by every error about an ID that is not spelled as its type demands.
var ErrID = errors.New("bad ID")

var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewID makes a device ID of 80 random bits: 16 characters of base32.
func NewID() ID {
	var b [10]byte
	rand.Read(b[:])
	return ID(base32Lower.EncodeToString(b[:]))
}

// ParseID checks a device ID.
func ParseID(s string) (ID, error) {
	if len(s) < 4 || len(s) > 32 || !slug(s) {
		return "", fmt.Errorf("%w: device %q is not 4 to 32 characters of a-z, 0-9 and hyphen, beginning with a letter or digit", ErrID, cut(s))
	}
	return ID(s), nil
}

// ParseBrandID checks a brand's ID.
func ParseBrandID(s string) (BrandID, error) {
	if len(s) < 2 || len(s) > 32 || !slug(s) || s[0] < 'a' {
		return "", fmt.Errorf("%w: brand %q is not 2 to 32 characters of a-z, 0-9 and hyphen, beginning with a letter", ErrID, cut(s))
	}
	return BrandID(s), nil
}

// IsApplicant reports whether s is the client ID of a device that asks to be let in: "e-" and 16
// hexadecimal digits. No device has such an ID.
func IsApplicant(s string) bool {
	if len(s) != 18 || s[:2] != "e-" {
		return false
	}
	for i := 2; i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Printable reports whether r may stand in a name: no control or line, nothing that changes the
// direction of what follows, and not what stands for a character that could not be read.
func Printable(r rune) bool {
	return !unicode.IsControl(r) && !unicode.Is(unicode.Bidi_Control, r) && !unicode.In(r, unicode.Zl, unicode.Zp) && r != 0xfeff && r != 0xfffd
}

var languageTag = regexp.MustCompile(`^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8}){0,4}$`)

// IsLanguage reports whether s is spelled as a BCP 47 tag of at most 35 characters, such as de or pt-BR.
func IsLanguage(s string) bool { return len(s) <= 35 && languageTag.MatchString(s) }

func slug(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case c == '-' && i > 0:
		default:
			return false
		}
	}
	return true
}

func cut(s string) string {
	if len(s) > 40 {
		return s[:40] + "..."
	}
	return s
}

// Actor is who caused a fact, and from where, as the journal keeps it: "operator anna",
// "device tv-1 192.168.1.7", "brand grocer 203.0.113.9". Empty is the gateway itself.
type Actor string

// MessageID names a message: a UUID of version 7 (RFC 9562), whose first 48 bits are the
// millisecond it was made in. On the wire it is its 16 bytes, in text the usual 36 characters.
type MessageID [16]byte

// NewMessageID makes the ID of a message accepted at now.
func NewMessageID(now Instant) MessageID {
	var id MessageID
	rand.Read(id[6:])
	for i := range 6 {
		id[i] = byte(now >> (8 * (5 - i)))
	}
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}

// ParseMessageID reads the text form.
func ParseMessageID(s string) (MessageID, error) {
	var id MessageID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return id, fmt.Errorf("%w: message %q is not a UUID", ErrID, cut(s))
	}
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("%w: message %q is not a UUID", ErrID, cut(s))
	}
	copy(id[:], b)
	return id, nil
}

// String spells the ID as a UUID.
func (id MessageID) String() string {
	var b [36]byte
	hex.Encode(b[0:8], id[0:4])
	hex.Encode(b[9:13], id[4:6])
	hex.Encode(b[14:18], id[6:8])
	hex.Encode(b[19:23], id[8:10])
	hex.Encode(b[24:36], id[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// MarshalText is String; JSON and YAML use it.
func (id MessageID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText is ParseMessageID.
func (id *MessageID) UnmarshalText(b []byte) error {
	got, err := ParseMessageID(string(b))
	*id = got
	return err
}

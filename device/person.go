package device

import (
	"fmt"
	"strings"
)

// Age is how old a person is, as far as decisions need to know. The zero Age is unknown, and an
// unknown person is perhaps a child.
type Age uint8

// The ages. Where the line between them is drawn is the home's to say.
const (
	AgeUnknown Age = iota
	Child
	Teen
	Adult
)

var ageNames = [...]string{"unknown", "child", "teen", "adult"}

// String names the age.
func (a Age) String() string {
	if int(a) < len(ageNames) {
		return ageNames[a]
	}
	return fmt.Sprintf("age(%d)", uint8(a))
}

// ParseAge reads an age's name.
func ParseAge(s string) (Age, error) {
	for i, name := range ageNames {
		if name == s {
			return Age(i), nil
		}
	}
	return AgeUnknown, fmt.Errorf("age %q is unknown: use one of %s", cut(s), strings.Join(ageNames[:], ", "))
}

// MarshalText is String; JSON and YAML use it.
func (a Age) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText is ParseAge.
func (a *Age) UnmarshalText(b []byte) error {
	got, err := ParseAge(string(b))
	*a = got
	return err
}

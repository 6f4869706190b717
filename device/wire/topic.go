package wire

import (
	"errors"
	"strings"

	"porchlight/device"
)

// ErrFrame is wrapped by every error about bytes that are not a frame. Sending the same bytes
// again would fail again.
var ErrFrame = errors.New("bad frame")

// Leaf is the last part of a topic, with its direction.
type Leaf string

// The leaves of a device.
const (
	UpBirth Leaf = "up/birth"
	UpCtx   Leaf = "up/ctx"
	UpEvt   Leaf = "up/evt"
	UpTwin  Leaf = "up/twin"
	UpBye   Leaf = "up/bye"
	UpKey   Leaf = "up/key"
	UpJoin  Leaf = "up/join"
	UpAns   Leaf = "up/ans"
	UpWhy   Leaf = "up/why"
	UpSig   Leaf = "up/sig"
	DnMsg   Leaf = "dn/msg"
	DnTwin  Leaf = "dn/twin"
	DnTime  Leaf = "dn/time"
	DnErr   Leaf = "dn/err"
	DnKey   Leaf = "dn/key"
	DnJoin  Leaf = "dn/join"
	DnCmd   Leaf = "dn/cmd"
	DnAsk   Leaf = "dn/ask"
	DnWhy   Leaf = "dn/why"
	DnWord  Leaf = "dn/word"
)

// The leaves of a device that asks to be let in.
const (
	UpEnrol Leaf = "up/enrol"
	DnEnrol Leaf = "dn/enrol"
)

// The leaves of a brand.
const (
	UpMessage Leaf = "up/message"
	DnAnswer  Leaf = "dn/answer"
)

// Up reports whether frames on l go to the gateway.
func (l Leaf) Up() bool { return strings.HasPrefix(string(l), "up/") }

const (
	prefix      = "pl/1/"
	brandPrefix = "pl/1/b/" // a device's ID has at least four characters, so none is "b"
)

// Topic is pl/1/<device>/<leaf>.
func Topic(id device.ID, leaf Leaf) string { return prefix + string(id) + "/" + string(leaf) }

// BrandTopic is pl/1/b/<brand>/<leaf>.
func BrandTopic(brand device.BrandID, leaf Leaf) string {
	return brandPrefix + string(brand) + "/" + string(leaf)
}

// ParseTopic is the inverse of [Topic]; ok is false for everything else.
func ParseTopic(topic string) (id device.ID, leaf Leaf, ok bool) {
	name, rest, ok := split(topic, prefix)
	if !ok {
		return "", "", false
	}
	switch leaf = Leaf(rest); leaf {
	case UpBirth, UpCtx, UpEvt, UpTwin, UpBye, UpKey, UpJoin, UpAns, UpWhy, UpSig, UpEnrol, DnMsg, DnTwin, DnTime, DnErr, DnKey, DnJoin, DnCmd, DnAsk, DnWhy, DnWord, DnEnrol:
	default:
		return "", "", false
	}
	id, err := device.ParseID(name)
	if err != nil {
		return "", "", false
	}
	return id, leaf, true
}

// ParseBrandTopic is the inverse of [BrandTopic]; ok is false for everything else.
func ParseBrandTopic(topic string) (brand device.BrandID, leaf Leaf, ok bool) {
	name, rest, ok := split(topic, brandPrefix)
	if leaf = Leaf(rest); !ok || leaf != UpMessage && leaf != DnAnswer {
		return "", "", false
	}
	brand, err := device.ParseBrandID(name)
	if err != nil {
		return "", "", false
	}
	return brand, leaf, true
}

// split cuts prefix + name + "/" + leaf.
func split(topic, prefix string) (name, leaf string, ok bool) {
	rest, ok := strings.CutPrefix(topic, prefix)
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, "/")
}

// AllowSubscribe reports whether a device may subscribe to filter: its own dn/# or one leaf of it.
func AllowSubscribe(id device.ID, filter string) bool {
	name, rest, ok := split(filter, prefix)
	if !ok || name != string(id) {
		return false
	}
	if _, err := device.ParseID(name); err != nil {
		return false
	}
	switch Leaf(rest) {
	case "dn/#", DnMsg, DnTwin, DnTime, DnErr, DnKey, DnJoin, DnCmd, DnAsk, DnWhy, DnWord:
		return true
	case DnEnrol:
		return device.IsApplicant(name)
	}
	return false
}

// AllowBrandSubscribe reports whether a brand may subscribe to filter: its own answers.
func AllowBrandSubscribe(brand device.BrandID, filter string) bool {
	name, rest, ok := split(filter, brandPrefix)
	if !ok || name != string(brand) {
		return false
	}
	if _, err := device.ParseBrandID(name); err != nil {
		return false
	}
	return rest == "dn/#" || Leaf(rest) == DnAnswer
}

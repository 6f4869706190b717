package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"strings"
	"sync"

	"github.com/fxamacker/cbor/v2"

	"porchlight/device"
)

// strict refuses at any depth what no frame may hold, also under keys that are passed over.
var strict, lax = func() (cbor.DecMode, cbor.DecMode) {
	simple, err := cbor.NewSimpleValueRegistryFromDefaults(cbor.WithRejectedSimpleValue(undefined))
	if err != nil {
		panic(err) // the options are constants
	}
	options := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels:  MaxDepth,
		MaxArrayElements: MaxItems,
		MaxMapPairs:      MaxPairs,
		IndefLength:      cbor.IndefLengthAllowed,
		TagsMd:           cbor.TagsForbidden,
		UTF8:             cbor.UTF8RejectInvalid,
		SimpleValues:     simple,
	}
	strict, err := options.DecMode()
	if err != nil {
		panic(err)
	}
	options.UTF8 = cbor.UTF8DecodeInvalid
	lax, err := options.DecMode()
	if err != nil {
		panic(err)
	}
	return strict, lax
}()

const undefined cbor.SimpleValue = 23

// DecodeBirth reads a frame of up/birth.
func DecodeBirth(b []byte) (Birth, error) {
	return decode(UpBirth, b, func(t *table, f *Birth) {
		f.Seq = t.uint(0, "seq", required)
		t.sub(1, "model", required, func(t *table) { readModel(t, &f.Model) })
		f.Class = device.Class(t.known(2, "class", required))
		t.sub(3, "caps", required, func(t *table) { readCapabilities(t, &f.Can) })
		f.Attributes = t.texts(4, "attributes", required)
		f.Twin = t.uint(5, "twin", optional)
		f.Clock = t.uint(6, "clock", optional)
		f.Software = t.text(7, "software", optional)
		f.Held = t.messages(8, "held", optional)
	})
}

func readModel(t *table, m *Model) {
	m.Maker = t.text(0, "maker", required)
	m.Name = t.text(1, "name", required)
	m.Hardware = t.text(2, "hardware", optional)
	m.Serial = t.text(3, "serial", optional)
}

func readCapabilities(t *table, c *Capabilities) {
	c.Screen = t.numbers(0, "screen", optional, maxPixels)
	if t.has(0) && len(c.Screen) == 0 {
		t.fail(errors.New("screen has 0 items, 3 allowed"))
	}
	c.Inputs = t.uint32(1, "inputs", optional)
	c.Sound = t.uint32(2, "sound", optional)
	for _, f := range list(t, 3, "forms", optional, t.form) {
		if f.Known() {
			c.Forms = append(c.Forms, f)
		}
	}
	c.MaxPacket = t.uint32(4, "max packet", optional)
	c.MaxButtons = t.uint32(5, "max buttons", optional)
	c.Languages = t.texts(6, "languages", optional)
	c.Holds = t.uint32(7, "holds", optional)
	c.Attention = t.uint32(8, "attention", optional)
	c.Duties = t.uint32(9, "duties", optional)
}

// DecodeContext reads a frame of up/ctx from a device whose birth listed attributes.
func DecodeContext(attributes []string, b []byte) (Context, error) {
	f, err := decode(UpCtx, b, func(t *table, f *heard) {
		f.Seq = t.uint(0, "seq", required)
		f.Observed = t.uint(1, "observed", optional)
		f.Age = t.uint(2, "age", optional)
		values, ok := t.entries(3, "values", required)
		if !ok {
			return
		}
		f.Values = make(map[string]any, t.laid[values].n)
		for key, at := range t.pairs(values) {
			name := ""
			switch k := &t.laid[key]; {
			case k.major == majorUint && k.n < uint64(len(attributes)):
				name = attributes[k.n]
			case k.major == majorUint:
				t.fail(fmt.Errorf("values: place %d is beyond the %d attributes of the birth", k.n, len(attributes)))
				return
			case k.major == majorText:
				name = word(t.content(key)).(string)
			default:
				t.fail(fmt.Errorf("values: a key is %s, it must be a place or a name", show(t.value(key))))
				return
			}
			before, v := len(f.Values), t.signed(at)
			if f.Values[name] = v; len(f.Values) == before {
				t.fail(fmt.Errorf("values: %s occurs twice", quote(name)))
				return
			}
			if f.err == nil {
				f.err = told(name, v)
			}
		}
		f.Complete = t.bool(4, "complete", optional)
	})
	return f.Context, err
}

// heard is a Context whose values were checked as they were read.
type heard struct {
	Context
	err error
}

func (h *heard) check() error { return h.err }

// DecodeEvent reads a frame of up/evt.
func DecodeEvent(b []byte) (Event, error) {
	return decode(UpEvt, b, func(t *table, f *Event) {
		f.Seq = t.uint(0, "seq", required)
		f.Message = t.message(1, "message", required)
		f.Kind = EventKind(t.known(2, "event", required))
		if t.has(3) {
			id := t.uint32(3, "response", required)
			f.Response = &id
		}
		if t.has(4) {
			wish := Wish(t.known(4, "wish", required))
			f.Wish = &wish
		}
		f.Reason = Reason(t.known(5, "reason", optional))
		f.Age = t.uint(6, "age", optional)
	})
}

// DecodeProposal reads a frame of up/twin.
func DecodeProposal(b []byte) (Proposal, error) {
	return decode(UpTwin, b, func(t *table, f *Proposal) {
		f.Seq = t.uint(0, "seq", required)
		f.Base = t.uint(1, "base", required)
		f.Person = t.number(2, "person", optional)
		f.Brands = subs(t, 3, "brands", readBrandChoice)
		if t.has(4) {
			quiet := append([]QuietTime{}, subs(t, 4, "quiet", readQuietTime)...)
			f.Quiet = &quiet
		}
		if t.has(5) {
			mutes := append([]Mute{}, subs(t, 5, "mutes", readMute)...)
			f.Mutes = &mutes
		}
		if t.has(6) {
			caps := append([]Cap{}, subs(t, 6, "caps", readCap)...)
			f.Caps = &caps
		}
		if t.has(7) {
			moments := append([]string{}, t.texts(7, "moments", required)...)
			f.Moments = &moments
		}
		if t.has(8) {
			languages := append([]string{}, t.texts(8, "languages", required)...)
			f.Languages = &languages
		}
		if t.has(9) {
			frozen := t.bool(9, "frozen", required)
			f.Frozen = &frozen
		}
		if t.has(10) {
			places := append([]uint{}, t.numbers(10, "forget", required, MaxItems-1)...)
			f.Forget = &places
		}
	})
}

// DecodeBye reads a frame of up/bye.
func DecodeBye(b []byte) (Bye, error) {
	return decode(UpBye, b, func(t *table, f *Bye) {
		f.Seq = t.uint(0, "seq", required)
		f.Reason = t.text(1, "reason", required)
		f.Until = t.uint(2, "until", optional)
	})
}

// DecodeMsg reads a frame of dn/msg: without an error, one of p and c is not nil.
func DecodeMsg(b []byte) (p *Present, c *Cancel, err error) {
	f, err := decode(DnMsg, b, func(t *table, f *msg) {
		switch op := t.uint(0, "op", required); {
		case t.err != nil:
		case op == uint64(opPresent):
			f.Present = new(Present)
			readPresent(t, f.Present)
		case op == uint64(opCancel):
			f.Cancel = &Cancel{Op: opCancel, Message: t.message(1, "message", required), Fence: t.uint(2, "fence", optional)}
		default:
			t.fail(fmt.Errorf("op %d is unknown: 1 presents, 2 cancels", op))
		}
	})
	return f.Present, f.Cancel, err
}

// msg is either.
type msg struct {
	*Present
	*Cancel
}

func (m *msg) check() error {
	if m.Present != nil {
		return m.Present.check()
	}
	return m.Cancel.check()
}

func readPresent(t *table, f *Present) {
	f.Op = opPresent
	f.Message = t.message(1, "message", required)
	f.Priority = Priority(t.known(2, "priority", required))
	f.Control = t.uint32(3, "control", required)
	f.ValidUntil = t.uint(4, "valid until", required)
	f.Live = t.uint(5, "live", required)
	f.Text = t.text(6, "text", required)
	f.Title = t.filled(7, "title", MaxName)
	f.Sender = t.filled(8, "sender", MaxName)
	f.Responses = subs(t, 9, "responses", func(t *table, r *Response) {
		r.ID = t.uint32(0, "id", required)
		r.Label = t.text(1, "label", required)
	})
	if t.has(9) && len(f.Responses) == 0 {
		t.fail(fmt.Errorf("responses has no items, 1 to %d allowed", MaxResponses))
	}
	if t.has(10) {
		form := device.Form(t.known(10, "form", required))
		f.Form = &form
	}
	f.Display = t.uint(11, "display", optional)
	if guards, ok := t.entries(13, "guards", optional); ok {
		for key, at := range t.pairs(guards) {
			name, ok := t.value(key).(string)
			if !ok {
				t.fail(fmt.Errorf("guards: a key is %s, it must be a name", show(t.value(key))))
				return
			}
			if guard := &t.laid[at]; guard.major != majorList || guard.n != 2 {
				t.fail(fmt.Errorf("guards: %s is %s, it must be a list of an op and a value", quote(name), show(t.value(at))))
				return
			}
			op, ok := t.value(at + 1).(string)
			if !ok {
				t.fail(fmt.Errorf("guards: %s: op is %s, it must be a text", quote(name), show(t.value(at+1))))
				return
			}
			if f.Guards == nil {
				f.Guards = make(map[string]Guard, t.laid[guards].n)
			}
			f.Guards[name] = Guard{Op: op, Value: t.signed(int(t.laid[at+1].end))}
		}
	}
	f.ContextSeq = t.uint(14, "context seq", optional)
	f.Language = t.filled(15, "language", maxTag)
	f.Lease = t.uint(16, "lease", required)
	f.Epoch = t.uint(17, "epoch", required)
	f.Content = t.uint32(18, "content", optional)
	f.Duties = t.uint32(19, "duties", optional)
	if t.has(12) {
		f.Picture = new(Picture)
		t.sub(12, "picture", required, func(t *table) {
			f.Picture.Path = t.text(0, "path", required)
			f.Picture.SHA256 = t.bytes(1, "sha256", required)
			f.Picture.Bytes = t.uint32(2, "bytes", required)
			f.Picture.Alt = t.filled(3, "alt", maxVersion)
		})
	}
}

// DecodeTwin reads a frame of dn/twin.
func DecodeTwin(b []byte) (Twin, error) {
	f, err := decode(DnTwin, b, func(t *table, f *Twin) {
		f.Version = t.uint(0, "version", required)
		t.sub(1, "doc", required, func(t *table) {
			f.Doc.Brands = subs(t, 0, "brands", readBrandChoice)
			f.Doc.Quiet = subs(t, 1, "quiet", readQuietTime)
			f.Doc.Mutes = subs(t, 2, "mutes", readMute)
			f.Doc.Zone = t.text(3, "zone", optional)
			f.Doc.Caps = subs(t, 4, "caps", readCap)
			f.Doc.Moments = t.texts(5, "moments", optional)
			f.Doc.Languages = t.texts(6, "languages", optional)
			f.Doc.People = subs(t, 7, "people", func(t *table, r *Resident) {
				r.Person = t.number(0, "person", required)
				r.Name = t.text(1, "name", required)
			})
			f.Doc.Rooms = subs(t, 8, "rooms", func(t *table, r *Place) {
				r.Room = t.number(0, "room", required)
				r.Name = t.text(1, "name", required)
			})
			f.Doc.Frozen = t.bool(9, "frozen", optional)
			f.Doc.Learnt = t.texts(10, "learnt", optional)
		})
	})
	if err == nil && len(b) > MaxTwin { // then only is the document perhaps too large: no spelling is shorter than ours
		_, err = Encode(f)
	}
	if err != nil {
		return Twin{}, err
	}
	return f, nil
}

func readBrandChoice(t *table, b *BrandChoice) {
	b.Brand = device.BrandID(t.text(0, "brand", required))
	b.Name = t.text(1, "name", optional)
	b.Purpose = t.text(2, "purpose", required)
	b.Choice = t.text(3, "choice", required)
}

func readQuietTime(t *table, q *QuietTime) {
	q.Days = uint8(t.upTo(0, "days", required, 1<<7-1))
	q.Start = uint16(t.upTo(1, "start", required, lastMinute))
	q.End = uint16(t.upTo(2, "end", required, lastMinute))
	q.Zone = t.filled(3, "zone", MaxName)
	q.Owner = t.number(4, "owner", optional)
	q.Dim = t.bool(5, "dim", optional)
}

func readMute(t *table, m *Mute) {
	m.Brand = device.BrandID(t.filled(0, "brand", MaxLabel))
	m.Category = t.filled(1, "category", MaxName)
	m.Until = t.uint(2, "until", optional)
	m.Purpose = t.filled(3, "purpose", MaxLabel)
	m.Class = device.Class(t.known(4, "class", optional))
	m.Device = device.ID(t.filled(5, "device", MaxLabel))
	m.Room = t.number(6, "room", optional)
	m.Content = t.uint32(7, "content", optional)
	m.Owner = t.number(8, "owner", optional)
}

func readCap(t *table, c *Cap) {
	c.Brand = device.BrandID(t.filled(0, "brand", MaxLabel))
	c.Each = t.bool(1, "each", optional)
	c.Max = uint16(t.upTo(2, "max", required, maxCap))
	c.Hours = uint16(t.upTo(3, "hours", optional, maxHours))
	c.Minutes = uint16(t.upTo(4, "minutes", optional, maxMinutes))
	c.Category = t.filled(5, "category", MaxName)
	c.Purpose = t.filled(6, "purpose", MaxLabel)
	c.Class = device.Class(t.known(7, "class", optional))
	c.Device = device.ID(t.filled(8, "device", MaxLabel))
	c.Room = t.number(9, "room", optional)
	c.Owner = t.number(10, "owner", optional)
	c.Week = t.bool(11, "week", optional)
	c.Trip = t.bool(12, "trip", optional)
	c.Topics = t.bool(13, "each category", optional)
}

// DecodeTime reads a frame of dn/time.
func DecodeTime(b []byte) (Time, error) {
	return decode(DnTime, b, func(t *table, f *Time) {
		f.Clock = t.uint(0, "clock", required)
		f.Fence = t.uint(1, "fence", required)
		f.Keep = t.messages(2, "keep", required)
	})
}

// DecodeErr reads a frame of dn/err.
func DecodeErr(b []byte) (Err, error) {
	return decode(DnErr, b, func(t *table, f *Err) {
		f.Seq = t.uint(0, "seq", required)
		f.Code = uint8(t.upTo(1, "code", required, math.MaxUint8))
		f.Leaf = t.text(2, "leaf", optional)
		f.Text = t.text(3, "text", optional)
	})
}

// decode reads one frame: limits and well-formedness first, then its parts, then their bounds.
func decode[F any, P interface {
	*F
	checker
}](leaf Leaf, b []byte, read func(*table, *F)) (F, error) {
	var none F
	if len(b) > MaxFrame {
		return none, bad(leaf, tooLong(len(b)))
	}
	t := tables.Get().(*table)
	defer t.done()
	parse := func(laid error) (f F, err error) {
		if laid != nil {
			return none, laid
		}
		if err := t.inside(0, func(t *table) { read(t, &f) }); err != nil {
			return none, err
		}
		return f, P(&f).check()
	}
	f, err := parse(t.lay(b))
	if err == nil {
		return f, nil
	}
	if _, ok := errors.AsType[*cbor.SemanticError](err); ok { // invalid UTF-8: our own checks say where
		if _, located := parse(t.respell(lax, b)); located != nil {
			err = located
		}
	}
	return none, bad(leaf, plain(err))
}

// plain turns the library's errors into ours, which show at most 40 bytes of what was sent.
func plain(err error) error {
	if twice, ok := errors.AsType[*cbor.DupMapKeyError](err); ok {
		return fmt.Errorf("%s occurs twice as a key of one map", show(twice.Key))
	}
	if _, ok := errors.AsType[*cbor.UnacceptableDataItemError](err); ok {
		return errors.New("the value undefined is not allowed, use null")
	}
	if _, ok := errors.AsType[*cbor.InvalidMapKeyTypeError](err); ok {
		return errors.New("a key is neither an integer nor a text")
	}
	if _, ok := errors.AsType[*cbor.SemanticError](err); ok {
		return errors.New("a text is not valid UTF-8")
	}
	if errors.Is(err, io.EOF) {
		return errors.New("frame is empty")
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("frame ends in the middle of a value")
	}
	if text, ok := strings.CutPrefix(err.Error(), "cbor: "); ok {
		return errors.New(text)
	}
	return err
}

// table is a map of the frame that is being read. Its methods return the zero value for an
// optional key that is absent, and after the first error, which stays in err.
type table struct {
	layout
	scope
	err error
}

// scope says which map of the frame a table is.
type scope struct {
	at   int    // where it is laid
	next int    // where one of its keys is laid: the search for the next begins there
	keys uint64 // bit n: it has the key n. No frame knows a key over 63
}

var tables = sync.Pool{New: func() any { return new(table) }}

// done gives the room of t to the next frame.
func (t *table) done() {
	*t = table{layout: layout{laid: t.laid[:0]}}
	tables.Put(t)
}

type presence bool

const (
	required presence = true
	optional presence = false
)

// inside reads the value that is laid at a place, which must be a map whose keys are integers. While it
// is being read, t is that map.
func (t *table) inside(at int, read func(*table)) error {
	if t.laid[at].major != majorMap {
		return t.wrong("it", at, "a map")
	}
	within := scope{at: at, next: at + 1}
	for key := range t.pairs(at) {
		switch k := &t.laid[key]; {
		case k.major == majorUint && k.n < 64:
			within.keys |= 1 << k.n
		case k.major != majorUint && k.major != majorNegint:
			return fmt.Errorf("a key is %s, it must be an integer", show(t.value(key)))
		}
	}
	around := t.scope
	t.scope = within
	read(t)
	err := t.err
	t.scope, t.err = around, nil
	return err
}

func (t *table) fail(err error) {
	if t.err == nil {
		t.err = err
	}
}

func (t *table) has(key uint64) bool { return t.keys>>key&1 != 0 }

// take returns where the value under key is laid; ok is false if there is none or something was wrong before.
func (t *table) take(key uint64, name string, must presence) (at int, ok bool) {
	if t.err != nil {
		return 0, false
	}
	if t.has(key) {
		at = t.next
		for range t.laid[t.at].n {
			if at == int(t.laid[t.at].end) {
				at = t.at + 1
			}
			if k := &t.laid[at]; k.major == majorUint && k.n == key {
				t.next = at
				return at + 1, true
			}
			at = int(t.laid[at+1].end)
		}
	}
	if must == required {
		t.fail(fmt.Errorf("%s is missing: key %d", name, key))
	}
	return 0, false
}

// takeA is take for a value of a major type, which is what is wanted in words.
func (t *table) takeA(major uint8, want string, key uint64, name string, must presence) (at int, ok bool) {
	at, ok = t.take(key, name, must)
	if ok && t.laid[at].major != major {
		t.fail(t.wrong(name, at, want))
		return 0, false
	}
	return at, ok
}

func (t *table) wrong(name string, at int, want string) error {
	return fmt.Errorf("%s is %s, it must be %s", name, show(t.value(at)), want)
}

// whole reads an unsigned integer.
func (t *table) whole(name string, at int, largest uint64) (uint64, error) {
	v := &t.laid[at]
	if v.major != majorUint {
		return 0, t.wrong(name, at, "an unsigned integer")
	}
	return v.n, number(name, v.n, largest)
}

func (t *table) upTo(key uint64, name string, must presence, largest uint64) uint64 {
	at, ok := t.take(key, name, must)
	if !ok {
		return 0
	}
	n, err := t.whole(name, at, largest)
	if err != nil {
		t.fail(err)
	}
	return n
}

func (t *table) uint(key uint64, name string, must presence) uint64 {
	return t.upTo(key, name, must, MaxUint)
}

func (t *table) uint32(key uint64, name string, must presence) uint {
	return uint(t.upTo(key, name, must, maxUint32))
}

// number reads the number of a person or a room.
func (t *table) number(key uint64, name string, must presence) uint32 {
	return uint32(t.upTo(key, name, must, math.MaxInt32))
}

// known reads a number from a list of at most 256, which a check will look up.
func (t *table) known(key uint64, name string, must presence) uint8 {
	n := t.upTo(key, name, must, math.MaxUint64)
	if n > math.MaxUint8 {
		t.fail(fmt.Errorf("%s %d is unknown", name, n))
		return 0
	}
	return uint8(n)
}

func (t *table) text(key uint64, name string, must presence) string {
	if at, ok := t.takeA(majorText, "a text", key, name, must); ok {
		return string(t.content(at))
	}
	return ""
}

// filled reads an optional text that is not empty if it is there.
func (t *table) filled(key uint64, name string, most int) string {
	s := t.text(key, name, optional)
	if s == "" && t.has(key) {
		t.fail(size(name, s, 1, most))
	}
	return s
}

func (t *table) bool(key uint64, name string, must presence) bool {
	at, ok := t.take(key, name, must)
	if !ok {
		return false
	}
	b, ok := t.value(at).(bool)
	if !ok {
		t.fail(t.wrong(name, at, "true or false"))
	}
	return b
}

func (t *table) bytes(key uint64, name string, must presence) []byte {
	if at, ok := t.takeA(majorBytes, "a byte string", key, name, must); ok {
		return bytes.Clone(t.content(at))
	}
	return nil
}

func (t *table) message(key uint64, name string, must presence) (id device.MessageID) {
	if at, ok := t.take(key, name, must); ok {
		if err := t.id(name, at, &id); err != nil {
			t.fail(err)
		}
	}
	return id
}

func (t *table) id(name string, at int, id *device.MessageID) error {
	if v := &t.laid[at]; v.major != majorBytes || v.n != uint64(len(id)) {
		return t.wrong(name, at, "a byte string of 16")
	}
	copy(id[:], t.content(at))
	return nil
}

// entries takes a map whose keys are data: see pairs.
func (t *table) entries(key uint64, name string, must presence) (at int, ok bool) {
	return t.takeA(majorMap, "a map", key, name, must)
}

func (t *table) sub(key uint64, name string, must presence, read func(*table)) {
	at, ok := t.take(key, name, must)
	if !ok {
		return
	}
	if err := t.inside(at, read); err != nil {
		t.fail(fmt.Errorf("%s: %w", name, err))
	}
}

// list reads a list, item by item.
func list[T any](t *table, key uint64, name string, must presence, read func(at int, item *T) error) []T {
	at, ok := t.takeA(majorList, "a list", key, name, must)
	if !ok || t.laid[at].n == 0 {
		return nil
	}
	all := make([]T, t.laid[at].n)
	at++
	for i := range all {
		if err := read(at, &all[i]); err != nil {
			t.fail(fmt.Errorf("%s[%d]: %w", name, i, err))
			break
		}
		at = int(t.laid[at].end)
	}
	return all
}

func (t *table) form(at int, f *device.Form) error {
	n, err := t.whole("it", at, math.MaxUint64)
	*f = device.Form(min(n, math.MaxUint8))
	return err
}

func (t *table) texts(key uint64, name string, must presence) []string {
	return list(t, key, name, must, func(at int, s *string) error {
		if t.laid[at].major != majorText {
			return t.wrong("it", at, "a text")
		}
		*s = word(t.content(at)).(string)
		return nil
	})
}

func (t *table) blobs(key uint64, name string, must presence) [][]byte {
	return list(t, key, name, must, func(at int, b *[]byte) error {
		if t.laid[at].major != majorBytes {
			return t.wrong("it", at, "a byte string")
		}
		*b = bytes.Clone(t.content(at))
		return nil
	})
}

func (t *table) messages(key uint64, name string, must presence) []device.MessageID {
	return list(t, key, name, must, func(at int, id *device.MessageID) error { return t.id("it", at, id) })
}

func (t *table) numbers(key uint64, name string, must presence, largest uint64) []uint {
	return list(t, key, name, must, func(at int, n *uint) error {
		whole, err := t.whole("it", at, largest)
		*n = uint(whole)
		return err
	})
}

// subs reads an optional list of maps.
func subs[T any](t *table, key uint64, name string, read func(*table, *T)) []T {
	return list(t, key, name, optional, func(at int, item *T) error {
		return t.inside(at, func(t *table) { read(t, item) })
	})
}

// show says what v is in at most some 50 bytes.
func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool, uint64, int64:
		return fmt.Sprint(v)
	case float64:
		return fmt.Sprintf("the floating-point number %g", v)
	case big.Int, *big.Int:
		return "an integer beyond 64 bits"
	case string:
		return "the text " + quote(v)
	case []byte:
		return fmt.Sprintf("a byte string of %d", len(v))
	case cbor.ByteString:
		return fmt.Sprintf("a byte string of %d", len(v))
	case cbor.SimpleValue:
		return fmt.Sprintf("the simple value %d", v)
	case []any:
		return fmt.Sprintf("a list of %d", len(v))
	case map[any]any:
		return fmt.Sprintf("a map of %d", len(v))
	}
	return fmt.Sprintf("a %T of Go", v)
}

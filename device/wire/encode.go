package wire

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/fxamacker/cbor/v2"
)

// encoding is the Core Deterministic Encoding of RFC 8949: one value, one sequence of bytes.
var encoding = func() cbor.EncMode {
	options := cbor.CoreDetEncOptions()
	options.NilContainers = cbor.NilContainerAsEmpty
	options.TagsMd = cbor.TagsForbidden
	mode, err := options.EncMode()
	if err != nil {
		panic(err) // the options are constants
	}
	return mode
}()

// Encode makes the bytes of a frame: one of this package's frame types or a pointer to one. It
// sets the Op where a frame has a fixed one. It fails with [ErrFrame] where a decoder would, so a
// frame that leaves is one that we would take.
func Encode(frame any) ([]byte, error) {
	switch f := frame.(type) {
	case spelled:
		if !reflect.ValueOf(f).IsNil() {
			return encodeSpelled(f)
		}
	case Birth:
		return encode(UpBirth, &f, f)
	case Context:
		return EncodeContext(f, nil)
	case Event:
		return encode(UpEvt, &f, f)
	case Proposal:
		return encode(UpTwin, &f, f)
	case Bye:
		return encode(UpBye, &f, f)
	case Present:
		return encodeSpelled(&f)
	case Cancel:
		return encodeSpelled(&f)
	case Twin:
		return encodeSpelled(&f)
	case Time:
		return encodeSpelled(&f)
	case Err:
		if len(f.Text) > MaxText {
			f.Text = strings.ToValidUTF8(f.Text[:MaxText], "")
		}
		return encode(DnErr, &f, f)
	case Apply:
		f.Op = opApply
		return encode(UpEnrol, &f, f)
	case Reveal:
		f.Op = opReveal
		return encode(UpEnrol, &f, f)
	case KeyRequest:
		return encode(UpKey, &f, f)
	case Join:
		return encode(UpJoin, &f, f)
	case Challenge:
		f.Op = opChallenge
		return encode(DnEnrol, &f, f)
	case Admitted:
		f.Op = opAdmitted
		return encode(DnEnrol, &f, f)
	case TurnedAway:
		f.Op = opTurnedAway
		return encode(DnEnrol, &f, f)
	case KeyAsk:
		f.Op = opKeyAsk
		return encode(DnKey, &f, f)
	case KeyIssued:
		f.Op = opKeyIssued
		return encode(DnKey, &f, f)
	case Command:
		return encode(DnCmd, &f, f)
	case Window:
		return encode(DnJoin, &f, f)
	case Ask:
		return encode(DnAsk, &f, f)
	case Answer:
		return encode(UpAns, &f, f)
	case WhyAsked:
		return encode(UpWhy, &f, f)
	case Because:
		return encode(DnWhy, &f, f)
	case Signal:
		return encode(UpSig, &f, f)
	case Word:
		return encode(DnWord, &f, f)
	}
	if p := reflect.ValueOf(frame); p.Kind() == reflect.Pointer && !p.IsNil() {
		return Encode(p.Elem().Interface())
	}
	return nil, fmt.Errorf("encode %T: not a frame", frame)
}

// EncodeContext is Encode for a Context of a device whose birth listed attributes: a name on
// the list travels as its place there, any other as it is.
func EncodeContext(c Context, attributes []string) ([]byte, error) {
	values := make(map[any]any, len(c.Values))
	for name, v := range c.Values {
		if place := slices.Index(attributes, name); place >= 0 {
			values[uint64(place)] = v
		} else {
			values[name] = v
		}
	}
	return encode(UpCtx, &c, contextFrame{c.Seq, c.Observed, c.Age, values, c.Complete})
}

// encode checks a frame and makes the bytes of its form on the wire.
func encode(leaf Leaf, frame checker, form any) ([]byte, error) {
	if err := frame.check(); err != nil {
		return nil, bad(leaf, err)
	}
	b, err := encoding.Marshal(form)
	return whole(leaf, b, err)
}

// encodeSpelled is encode, for those that are spelled.
func encodeSpelled(frame spelled) ([]byte, error) {
	if err := frame.check(); err != nil {
		return nil, bad(frame.leaf(), err)
	}
	var p pen
	err := frame.spell(&p)
	if t, ok := frame.(*Twin); ok && err == nil {
		err = t.fits(len(p.b))
	}
	return whole(frame.leaf(), p.b, err)
}

// whole returns b, if it is a frame.
func whole(leaf Leaf, b []byte, err error) ([]byte, error) {
	if err == nil && len(b) > MaxFrame {
		err = tooLong(len(b))
	}
	if err != nil {
		return nil, bad(leaf, err)
	}
	return b, nil
}

type checker interface{ check() error }

func bad(leaf Leaf, err error) error { return fmt.Errorf("%w: %s: %w", ErrFrame, leaf, err) }

func tooLong(n int) error {
	return errors.New(fmt.Sprint("frame is ", n, " bytes long, at most ", MaxFrame))
}

package wire

import (
	"errors"
	"fmt"
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
// sets the Op of a Present and a Cancel. It fails with [ErrFrame] where a decoder would, so a
// frame that leaves is one that we would take.
func Encode(frame any) ([]byte, error) {
	switch f := frame.(type) {
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
		f.Op = opPresent
		return encode(DnMsg, &f, f)
	case Cancel:
		f.Op = opCancel
		return encode(DnMsg, &f, f)
	case Twin:
		return encode(DnTwin, &f, f)
	case Time:
		return encode(DnTime, &f, f)
	case Err:
		if len(f.Text) > MaxText {
			f.Text = strings.ToValidUTF8(f.Text[:MaxText], "")
		}
		return encode(DnErr, &f, f)
	case *Birth:
		return Encode(*f)
	case *Context:
		return Encode(*f)
	case *Event:
		return Encode(*f)
	case *Proposal:
		return Encode(*f)
	case *Bye:
		return Encode(*f)
	case *Present:
		return Encode(*f)
	case *Cancel:
		return Encode(*f)
	case *Twin:
		return Encode(*f)
	case *Time:
		return Encode(*f)
	case *Err:
		return Encode(*f)
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
	if err != nil {
		return nil, bad(leaf, err)
	}
	if len(b) > MaxFrame {
		return nil, bad(leaf, tooLong(len(b)))
	}
	return b, nil
}

type checker interface{ check() error }

func bad(leaf Leaf, err error) error { return fmt.Errorf("%w: %s: %w", ErrFrame, leaf, err) }

func tooLong(n int) error {
	return errors.New(fmt.Sprint("frame is ", n, " bytes long, at most ", MaxFrame))
}

package wire

import (
	"cmp"
	"encoding/binary"
	"slices"

	"porchlight/device"
)

// spelled is a frame that a gateway sends all day: it is spelled as the library would, in a fraction of the time.
type spelled interface {
	checker
	leaf() Leaf
	spell(*pen) error
}

func (*Time) leaf() Leaf    { return DnTime }
func (*Twin) leaf() Leaf    { return DnTwin }
func (*Present) leaf() Leaf { return DnMsg }
func (*Cancel) leaf() Leaf  { return DnMsg }

// pen writes a frame.
type pen struct{ b []byte }

// head writes the first byte of a value and the number that belongs to it, as short as can be.
func (p *pen) head(major byte, n uint64) {
	major <<= 5
	switch {
	case n < 24:
		p.b = append(p.b, major|byte(n))
	case n <= 0xff:
		p.b = append(p.b, major|24, byte(n))
	case n <= 0xffff:
		p.b = binary.BigEndian.AppendUint16(append(p.b, major|25), uint16(n))
	case n <= 0xffff_ffff:
		p.b = binary.BigEndian.AppendUint32(append(p.b, major|26), uint32(n))
	default:
		p.b = binary.BigEndian.AppendUint64(append(p.b, major|27), n)
	}
}

// begin opens a map of at most 23 pairs, with keys below 24 in rising order; pair counts them there.
func (p *pen) begin() (at int) {
	p.b = append(p.b, majorMap<<5)
	return len(p.b) - 1
}

func (p *pen) pair(at int, key byte) {
	p.b[at]++
	p.b = append(p.b, key)
}

func (p *pen) text(s string) {
	p.head(majorText, uint64(len(s)))
	p.b = append(p.b, s...)
}

func (p *pen) bytes(b []byte) {
	p.head(majorBytes, uint64(len(b)))
	p.b = append(p.b, b...)
}

// What follows is one pair of the map at a place; those that end in If are left out if there is nothing to say.

func (p *pen) number(at int, key byte, n uint64) {
	p.pair(at, key)
	p.head(majorUint, n)
}

func (p *pen) numberIf(at int, key byte, n uint64) {
	if n != 0 {
		p.number(at, key, n)
	}
}

func (p *pen) word(at int, key byte, s string) {
	p.pair(at, key)
	p.text(s)
}

func (p *pen) wordIf(at int, key byte, s string) {
	if s != "" {
		p.word(at, key, s)
	}
}

func (p *pen) yesIf(at int, key byte, yes bool) {
	if yes {
		p.pair(at, key)
		p.b = append(p.b, majorSimple<<5|21)
	}
}

// called is a map of a number and what that is called.
func (p *pen) called(n uint64, name string) {
	at := p.begin()
	p.number(at, 0, n)
	p.word(at, 1, name)
}

// listIf is a list, of which each writes one item.
func listIf[T any](p *pen, at int, key byte, list []T, each func(*pen, *T)) {
	if len(list) == 0 {
		return
	}
	p.pair(at, key)
	p.head(majorList, uint64(len(list)))
	for i := range list {
		each(p, &list[i])
	}
}

func (t *Time) spell(p *pen) error {
	p.b = make([]byte, 0, 24+17*len(t.Keep))
	at := p.begin()
	p.number(at, 0, t.Clock)
	p.number(at, 1, t.Fence)
	p.pair(at, 2)
	p.head(majorList, uint64(len(t.Keep)))
	for i := range t.Keep {
		p.bytes(t.Keep[i][:])
	}
	return nil
}

func (c *Cancel) spell(p *pen) error {
	p.b = make([]byte, 0, 32)
	at := p.begin()
	p.number(at, 0, uint64(opCancel))
	p.message(at, 1, &c.Message)
	p.numberIf(at, 2, c.Fence)
	return nil
}

func (p *pen) message(at int, key byte, m *device.MessageID) {
	p.pair(at, key)
	p.bytes(m[:])
}

func (f *Present) spell(p *pen) error {
	p.b = make([]byte, 0, 192+len(f.Text)+len(f.Title))
	at := p.begin()
	p.number(at, 0, uint64(opPresent))
	p.message(at, 1, &f.Message)
	p.number(at, 2, uint64(f.Priority))
	p.number(at, 3, uint64(f.Control))
	p.number(at, 4, f.ValidUntil)
	p.number(at, 5, f.Live)
	p.word(at, 6, f.Text)
	p.wordIf(at, 7, f.Title)
	p.wordIf(at, 8, f.Sender)
	listIf(p, at, 9, f.Responses, func(p *pen, r *Response) {
		p.called(uint64(r.ID), r.Label)
	})
	if f.Form != nil {
		p.number(at, 10, uint64(*f.Form))
	}
	p.numberIf(at, 11, f.Display)
	if f.Picture != nil {
		if err := p.other(at, 12, f.Picture); err != nil {
			return err
		}
	}
	if len(f.Guards) > 0 {
		if err := p.guards(at, f.Guards); err != nil {
			return err
		}
	}
	p.numberIf(at, 14, f.ContextSeq)
	p.wordIf(at, 15, f.Language)
	p.number(at, 16, f.Lease)
	p.number(at, 17, f.Epoch)
	p.numberIf(at, 18, uint64(f.Content))
	p.numberIf(at, 19, uint64(f.Duties))
	return nil
}

// other is a pair that is seldom: the library spells its value.
func (p *pen) other(at int, key byte, v any) error {
	b, err := encoding.Marshal(v)
	if err == nil {
		p.pair(at, key)
		p.b = append(p.b, b...)
	}
	return err
}

func (p *pen) guards(at int, guards map[string]Guard) error {
	p.pair(at, 13)
	p.head(majorMap, uint64(len(guards)))
	names := make([]string, 0, len(guards))
	for name := range guards {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	for _, name := range names {
		p.text(name)
		g := guards[name]
		p.head(majorList, 2)
		p.text(g.Op)
		if yes, ok := g.Value.(bool); ok {
			p.b = append(p.b, majorSimple<<5|20)
			if yes {
				p.b[len(p.b)-1]++
			}
			continue
		}
		if word, ok := g.Value.(string); ok {
			p.text(word)
			continue
		}
		b, err := encoding.Marshal(g.Value)
		if err != nil {
			return err
		}
		p.b = append(p.b, b...)
	}
	return nil
}

func (t *Twin) spell(p *pen) error {
	p.b = make([]byte, 0, 512)
	at := p.begin()
	p.number(at, 0, t.Version)
	p.pair(at, 1)
	d := &t.Doc
	at = p.begin()
	listIf(p, at, 0, d.Brands, func(p *pen, b *BrandChoice) {
		at := p.begin()
		p.word(at, 0, string(b.Brand))
		p.wordIf(at, 1, b.Name)
		p.word(at, 2, b.Purpose)
		p.word(at, 3, b.Choice)
	})
	listIf(p, at, 1, d.Quiet, func(p *pen, q *QuietTime) {
		at := p.begin()
		p.number(at, 0, uint64(q.Days))
		p.number(at, 1, uint64(q.Start))
		p.number(at, 2, uint64(q.End))
		p.wordIf(at, 3, q.Zone)
		p.numberIf(at, 4, uint64(q.Owner))
		p.yesIf(at, 5, q.Dim)
	})
	listIf(p, at, 2, d.Mutes, func(p *pen, m *Mute) {
		at := p.begin()
		p.wordIf(at, 0, string(m.Brand))
		p.wordIf(at, 1, m.Category)
		p.numberIf(at, 2, m.Until)
		p.wordIf(at, 3, m.Purpose)
		p.numberIf(at, 4, uint64(m.Class))
		p.wordIf(at, 5, string(m.Device))
		p.numberIf(at, 6, uint64(m.Room))
		p.numberIf(at, 7, uint64(m.Content))
		p.numberIf(at, 8, uint64(m.Owner))
	})
	p.wordIf(at, 3, d.Zone)
	listIf(p, at, 4, d.Caps, func(p *pen, c *Cap) {
		at := p.begin()
		p.wordIf(at, 0, string(c.Brand))
		p.yesIf(at, 1, c.Each)
		p.number(at, 2, uint64(c.Max))
		p.numberIf(at, 3, uint64(c.Hours))
		p.numberIf(at, 4, uint64(c.Minutes))
		p.wordIf(at, 5, c.Category)
		p.wordIf(at, 6, c.Purpose)
		p.numberIf(at, 7, uint64(c.Class))
		p.wordIf(at, 8, string(c.Device))
		p.numberIf(at, 9, uint64(c.Room))
		p.numberIf(at, 10, uint64(c.Owner))
		p.yesIf(at, 11, c.Week)
		p.yesIf(at, 12, c.Trip)
		p.yesIf(at, 13, c.Topics)
	})
	word := func(p *pen, s *string) { p.text(*s) }
	listIf(p, at, 5, d.Moments, word)
	listIf(p, at, 6, d.Languages, word)
	listIf(p, at, 7, d.People, func(p *pen, r *Resident) {
		p.called(uint64(r.Person), r.Name)
	})
	listIf(p, at, 8, d.Rooms, func(p *pen, r *Place) {
		p.called(uint64(r.Room), r.Name)
	})
	p.yesIf(at, 9, d.Frozen)
	listIf(p, at, 10, d.Learnt, word)
	return nil
}

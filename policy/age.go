package policy

import (
	"math/bits"

	"porchlight/device"
)

// kind is what somebody's age and standing in the home mean for what they may see: a set, because
// a guest may be a child.
type kind uint8

const (
	grown    kind = 1 << iota // an adult of the home
	teenager                  // in between
	child                     // or perhaps one: nobody has said how old they are
	guest                     // here for a while
)

func (p *Person) kind() (k kind) {
	if p.Guest {
		k = guest
	}
	switch {
	case p.Age == device.Adult && !p.Guest:
		return grown
	case p.Age == device.Teen:
		return k | teenager
	case p.Age != device.Adult && (p.Age == device.Child || !p.Guest):
		return k | child
	default:
		return k
	}
}

// kinds joins those of a set of h's people.
func (h *Home) kinds(who uint64) (k kind) {
	for ; who != 0; who &= who - 1 {
		k |= h.People[bits.TrailingZeros64(who)].kind()
	}
	return k
}

// profiles reports whether p needs that somebody is watched, compared or counted.
func profiles(p Purpose) bool {
	return p == Personalised || p == Recommendations || p == Research || p == Analytics
}

// age keeps from children, guests and strangers what is not for them, and what is for one person
// from all others:
//
//	child's own screen     nothing, whoever is there: it speaks to the child
//	child, no adult        nothing
//	child                  nothing personal, no profiling, no buttons, no floor category, and only
//	                       brands to which a guardian has said yes for the child
//	teen                   nothing personal, no profiling, no floor category
//	guest, unknown, or     nothing personal, no research, no floor category
//	not told on a shared screen
//	adults                 what is personal only where one is alone
//
// It waits where a change of who is there could help, and refuses where the owner of the screen,
// who is taken to be there, stands in the way, or where nobody has ever told who is there.
func age(q *Request) finding {
	m, h, p := q.Message, q.Home, &q.there
	there := p.Known | p.Past
	own := q.owner()
	all := own | h.kinds(there)
	// fails is what it comes to if k is why: nothing changes a person whose own screen it is.
	fails := func(k kind, c Cause) finding {
		if own&k != 0 {
			return q.not(refuse, c)
		}
		return q.unless(c)
	}
	f := showTo(p.Until)
	private := m.Audience == Personal || m.Purpose == Personalised
	floored := q.scratch.traits.floored
	switch {
	case own&child != 0:
		return q.not(refuse, Cause{Rule: Age, Code: ChildAlone, Person: q.Screen.Owner})
	case all&child != 0 && h.kinds(p.Known)&grown == 0:
		return q.unless(Cause{Rule: Age, Code: ChildAlone})
	case all&child != 0:
		if private || profiles(m.Purpose) || len(m.Buttons) > 0 || floored {
			f = f.and(q.unless(Cause{Rule: Age, Code: ChildFloor, Purpose: m.Purpose, Category: m.Category}))
		}
		f = f.and(q.approved(there))
	}
	if all&teenager != 0 && (private || profiles(m.Purpose) || floored) {
		f = f.and(fails(teenager, Cause{Rule: Age, Code: TeenThere, Purpose: m.Purpose, Category: m.Category}))
	}
	if stranger := q.anybody(); stranger || all&guest != 0 {
		if private || m.Purpose == Research {
			f = f.and(fails(guest, Cause{Rule: Age, Code: NotForGuests, Purpose: m.Purpose}))
		}
		if floored && all&(child|teenager) == 0 {
			f = f.and(fails(guest, Cause{Rule: Age, Code: ChildFloor, Category: m.Category}))
		}
	} else if private && q.alone() == nil {
		f = f.and(q.unless(Cause{Rule: Age, Code: NotAlone, Person: q.Screen.Owner}))
	}
	return f
}

// approved passes if a guardian of every child among those there has said yes for them.
func (q *Request) approved(there uint64) finding {
	f := pass
	for ; there != 0; there &= there - 1 {
		place := bits.TrailingZeros64(there)
		c := &q.Home.People[place]
		if c.kind()&child == 0 {
			continue
		}
		if said, until := q.stance(c.ID, place); said != Given {
			f = f.and(q.unless(Cause{Rule: Age, Code: ChildThere, Person: c.ID, Brand: q.Message.Brand, Purpose: q.Message.Purpose}))
		} else {
			f = f.and(showTo(until))
		}
	}
	return f
}

// sensitive lets what is nobody else's business be seen by one adult of the home alone.
func sensitive(q *Request) finding {
	if !q.scratch.traits.sensitive {
		return pass
	}
	if one := q.alone(); one != nil && one.kind() == grown {
		return pass
	}
	c := Cause{Rule: Sensitive, Code: SensitiveHere, Category: q.Message.Category}
	if own := q.owner(); own != 0 && own != grown {
		return q.not(refuse, c)
	}
	return q.unless(c)
}

// owner is what the owner of a personal screen is; 0 for all other screens.
func (q *Request) owner() kind {
	if i := q.Home.number(q.Screen.Owner); i >= 0 {
		return q.Home.People[i].kind()
	}
	return 0
}

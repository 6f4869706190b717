// Package policy is the judge: may this message be shown on this screen, now?
//
// In: a Request, which is everything the answer depends on. Out: a Decision. Never: a clock, a
// disk, a network, an error, an allocation, a guess: what is unknown or stale never permits.
package policy

import (
	"fmt"
	"strings"
	"time"

	"porchlight/device"
)

// Verdict is the outcome of a Decision. A smaller verdict is a stricter one.
type Verdict uint8

// The verdicts.
const (
	Refuse Verdict = iota // the zero Verdict: a decision nobody made shows nothing
	Hold                  // not now: judge again when a fact changes or at Until
	Show
)

// String names the verdict.
func (v Verdict) String() string {
	return [...]string{"refuse", "hold", "show"}[min(v, Show)]
}

// Rule is one reason for not showing a message. Every rule is asked for every decision.
type Rule uint8

// The rules, in the order in which reasons are listed. The place of each is kept for those that
// come later (sequence, holdout). Language fails never: there is always a text to fall back on.
const (
	Safety Rule = iota
	Age
	Consent
	Terms
	Mute
	Sensitive
	QuietTime
	Frequency
	Spacing
	Dedupe
	Sequence
	Condition
	Validity
	Capability
	Language
	Holdout
	Operator
	rules // how many there are
)

var ruleNames = [rules]string{"safety", "age", "consent", "terms", "mute", "sensitive", "quiet", "frequency",
	"spacing", "dedupe", "sequence", "context", "validity", "capability", "language", "holdout", "operator"}

// String is the rule's code, as decisions, logs and the API spell it.
func (r Rule) String() string {
	if r < rules {
		return ruleNames[r]
	}
	return "none"
}

// Reasons is a set of rules that did not pass.
type Reasons uint32

// Has reports whether r is in the set.
func (rs Reasons) Has(r Rule) bool { return rs&(1<<r) != 0 }

// With returns the set and r.
func (rs Reasons) With(r Rule) Reasons { return rs | 1<<r }

// Rules lists the set in the order of the rules.
func (rs Reasons) Rules() []Rule {
	var list []Rule
	for r := range rules {
		if rs.Has(r) {
			list = append(list, r)
		}
	}
	return list
}

// String spells the set as codes with a comma between.
func (rs Reasons) String() string {
	var b strings.Builder
	for _, r := range rs.Rules() {
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(r.String())
	}
	return b.String()
}

// MarshalText is String; JSON uses it.
func (rs Reasons) MarshalText() ([]byte, error) { return []byte(rs.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (rs *Reasons) UnmarshalText(b []byte) error {
	*rs = 0
	if len(b) == 0 {
		return nil
	}
next:
	for _, s := range strings.Split(string(b), ",") {
		for r, name := range ruleNames {
			if name == s {
				*rs = rs.With(Rule(r))
				continue next
			}
		}
		return fmt.Errorf("reason %q is unknown", s)
	}
	return nil
}

// Decision is a verdict with everything that explains it. The zero Decision refuses.
type Decision struct {
	Verdict Verdict
	Reasons Reasons        // every rule that did not pass; empty for Show, except that the zero Decision has none either
	Watch   Rule           // of a Hold: the failing rule that is expected to stand longest; judging again before it changes is in vain
	Until   device.Instant // Show: the answer stands until then unless a fact changes. Hold: the clock alone cannot show it before; of a Hold that waits for a fact, Message.NotAfter. Refuse: 0, the clock alone never changes it
	Form    device.Form    // of a Show: how to present it
	Text    int            // of a Show: which of Message.Texts
	Content Content        // of a Show: what of it may be used
	Duties  Duties         // of a Show: what the screen must do while it shows it
}

// Purpose is what a brand wants to use a channel for: a closed list, after the W3C Data Privacy
// Vocabulary. The zero Purpose is none and is never permitted.
type Purpose uint8

// The purposes.
const (
	NoPurpose       Purpose = iota
	Service                 // dpv:RequestedServiceProvision: something the person asked this brand to do
	Marketing               // dpv:DirectMarketing
	Personalised            // dpv:PersonalisedAdvertising
	Recommendations         // dpv:ProvideProductRecommendations
	Research                // dpv:CommercialResearch
	Analytics               // dpv:ServiceUsageAnalytics
	Context                 // dpv:ServicePersonalisation: to choose the moment by what is known of the people there; no message is for it
	purposes
)

var purposeNames = [purposes]string{"", "service", "marketing", "personalised", "recommendations", "research", "analytics", "context"}

// Known reports whether p is one of the purposes above.
func (p Purpose) Known() bool { return p > NoPurpose && p < purposes }

// String names the purpose.
func (p Purpose) String() string {
	if p < purposes {
		return purposeNames[p]
	}
	return fmt.Sprintf("purpose(%d)", uint8(p))
}

// PurposeNames lists the names of all purposes.
func PurposeNames() []string { return append([]string(nil), purposeNames[1:]...) }

// ParsePurpose reads a purpose's name.
func ParsePurpose(s string) (Purpose, error) {
	for p := NoPurpose + 1; p < purposes; p++ {
		if purposeNames[p] == s {
			return p, nil
		}
	}
	return NoPurpose, fmt.Errorf("purpose %q is unknown: use one of %s", s, strings.Join(purposeNames[1:], ", "))
}

// MarshalText is String; JSON and YAML use it.
func (p Purpose) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText is ParsePurpose; the empty text is NoPurpose.
func (p *Purpose) UnmarshalText(b []byte) error {
	*p = NoPurpose
	if len(b) == 0 {
		return nil
	}
	got, err := ParsePurpose(string(b))
	*p = got
	return err
}

// Choice is what somebody last said about one brand and purpose.
type Choice uint8

// The choices.
const (
	Silent    Choice = iota // never asked, never answered: denied
	Given                   // yes
	Refused                 // no
	Withdrawn               // yes, and then no
)

var choiceNames = [...]string{"silent", "given", "refused", "withdrawn"}

// String names the choice.
func (c Choice) String() string { return choiceNames[min(c, Withdrawn)] }

// ParseChoice reads a choice's name.
func ParseChoice(s string) (Choice, error) {
	for c, name := range choiceNames {
		if name == s {
			return Choice(c), nil
		}
	}
	return Silent, fmt.Errorf("choice %q is unknown: use one of %s", s, strings.Join(choiceNames[:], ", "))
}

// MarshalText is String; JSON uses it.
func (c Choice) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText is ParseChoice.
func (c *Choice) UnmarshalText(b []byte) error {
	got, err := ParseChoice(string(b))
	*c = got
	return err
}

// ConsentKey is what a choice is about.
type ConsentKey struct {
	Subject device.PersonID // Household: the home as a whole
	Brand   device.BrandID
	Purpose Purpose
}

// Stance is the choice in force about one key, and how far it reaches. The zero Stance is silence.
type Stance struct {
	Choice  Choice
	Until   device.Instant // from then on it is as if nothing had been said; 0: no end. Only a yes ends
	Classes ClassSet       // the channels that were asked about; 0: every class. Only a yes is bounded
	At      device.Instant // when it was said, for the explanation
	Device  device.ID      // on which; "": none of the home's
}

// ClassSet is a set of classes of devices: bit n is the class with the number n. 0 is every class.
type ClassSet uint64

// Has reports whether c is in the set.
func (s ClassSet) Has(c device.Class) bool { return s == 0 || c < 64 && s&(1<<c) != 0 }

// With returns the set and c, which is below 64.
func (s ClassSet) With(c device.Class) ClassSet { return s | 1<<c }

// Content is a set of what a message is made of.
type Content uint8

// The contents.
const (
	Words   Content = 1 << iota // text to read
	Picture                     // something to look at
	Sound                       // something to hear: speech, or a tone
)

// Selector picks messages and screens. A zero field picks all.
type Selector struct {
	Brand    device.BrandID `json:"brand,omitempty"`
	Purpose  Purpose        `json:"purpose,omitempty"`
	Category string         `json:"category,omitempty"`
	Class    device.Class   `json:"class,omitempty"`
	Device   device.ID      `json:"device,omitempty"`
	Room     device.RoomID  `json:"room,omitempty"`
}

// MuteRule silences what it selects, until an instant or, with Until 0, until it is lifted. With
// Content it takes only that away, and refuses what has nothing else.
type MuteRule struct {
	Selector
	Until   device.Instant  `json:"until,omitempty"`
	Content Content         `json:"content,omitempty"` // 0: the message as a whole
	Owner   device.PersonID `json:"owner,omitempty"`   // whose word it is: it counts where they are, or may be; Household: everywhere
	Implied bool            `json:"-"`                 // nobody said so: it was learnt from what was dismissed
}

// Quiet is a daily interval of local time in which nothing is shown. Start is in it and End is
// not; it may pass midnight, and then belongs to the day on which it starts; Start equal to End is
// the whole day.
type Quiet struct {
	Days  uint8           `json:"days"`            // bit 0 Sunday ... bit 6 Saturday; 0 means every day
	Start int             `json:"start"`           // minutes after midnight, 0 to 1439
	End   int             `json:"end"`             // minutes after midnight, 0 to 1439
	Zone  string          `json:"zone,omitempty"`  // IANA; "": the home's
	Owner device.PersonID `json:"owner,omitempty"` // as MuteRule.Owner
	Dim   bool            `json:"dim,omitempty"`   // nothing is held back: in that time screens show what they show darker

	Clock *time.Location `json:"-"` // Zone, loaded; nil with a Zone: it is not known here, and nothing passes
}

// Cap limits how many messages are shown in a window: those that Selector picks, together, or those
// of each brand or of each category by themselves. It has one window at most; with none that is the
// home's local day. A Max of 1 in some minutes keeps messages apart.
type Cap struct {
	Selector
	Each         bool            `json:"each,omitempty"`          // each brand by itself
	EachCategory bool            `json:"each_category,omitempty"` // each category by itself, whatever brand; what has none is not counted
	Max          int             `json:"max"`                     // 0 or more
	Hours        int             `json:"hours,omitempty"`         // a rolling window, 1 to 168
	Minutes      int             `json:"minutes,omitempty"`       // a rolling window, 1 to 1440
	Week         bool            `json:"week,omitempty"`          // the home's local week, which begins on Monday
	Trip         bool            `json:"trip,omitempty"`          // of a car, and of no other screen: since its ignition was switched on; where that is not known, the last 24 hours
	Owner        device.PersonID `json:"owner,omitempty"`         // counts what this person was, or may have been, in front of; Household: all
}

// Moment is something that goes on in a home and that nobody wants to be disturbed in.
type Moment uint8

// The moments.
const (
	NoMoment Moment = iota
	Film            // something plays in full screen in the same room
	Call            // somebody is in a call in the same room
	Sleep           // somebody sleeps
)

var momentNames = [...]string{"", "film", "call", "sleep"}

// String names the moment; "" for none.
func (m Moment) String() string {
	if int(m) < len(momentNames) {
		return momentNames[m]
	}
	return ""
}

// ParseMoment reads a moment's name.
func ParseMoment(s string) (Moment, error) {
	for i, name := range momentNames {
		if name == s && i > 0 {
			return Moment(i), nil
		}
	}
	return NoMoment, fmt.Errorf("moment %.40q is unknown: use one of %s", s, strings.Join(momentNames[1:], ", "))
}

// MarshalText is String; JSON uses it.
func (m Moment) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText is ParseMoment.
func (m *Moment) UnmarshalText(b []byte) error {
	got, err := ParseMoment(string(b))
	*m = got
	return err
}

// Signal is what an app or a browser has passed on of somebody's choice elsewhere. It can only take
// away: what it permits counts for nothing.
type Signal struct {
	Device device.ID `json:"device"` // the screen on which it was offered: it counts there, and on all screens of that screen's owner
	Denied uint16    `json:"denied"` // purposes: bit n is the Purpose with the number n
}

// Exposure is one message that was shown, or may have been, or is about to be.
type Exposure struct {
	At       device.Instant
	Message  device.MessageID
	Brand    device.BrandID
	Category string
	Purpose  Purpose
	Open     bool     // still on its screen, or on the way there
	Unknown  bool     // perhaps others than Who saw it, too
	Reaction Reaction // what somebody did with it
	Act      Act      // what the button that was pressed does
	// What follows is looked at less often.
	Device device.ID
	Who    []device.PersonID // who was in front of it
	Thread                   // what it belongs to, as its message said
	Ended  device.Instant    // when it was over; 0: it is not, or nobody has said
}

// Person is somebody of the home as the judge sees them.
type Person struct {
	ID        device.PersonID
	Age       device.Age
	Guest     bool
	Frozen    bool     // nothing is done with what is known about them, until they say so
	Languages []string // BCP 47, the preferred first
}

// Screen is one device as the judge sees it.
type Screen struct {
	ID      device.ID
	Class   device.Class
	Room    device.RoomID   // 0: not said
	Owner   device.PersonID // Household: everybody's
	Guest   bool            // a visitor's: what it tells of who is around it opens nothing
	Context *device.Context // nil: nothing is known
	Trip    device.Instant  // when a car's current ignition cycle began; 0: not known
	Can     device.Capabilities
}

// Home is a home as the judge sees it: a snapshot that does not change while it is judged.
type Home struct {
	ID        device.HomeID
	Zone      *time.Location // nil: unknown, and then nothing that depends on local time permits
	People    []Person       // by number
	Consents  map[ConsentKey]Stance
	Mutes     []MuteRule
	Quiet     []Quiet
	Caps      []Cap
	Moments   []Moment   // those that hold messages back
	Languages []string   // BCP 47, the preferred first; none: as each device prefers
	Signals   []Signal   // what was chosen in apps and browsers
	Frozen    bool       // nothing is shown, asked or learnt, until the home says so
	Shown     []Exposure // of the last 32 days, the oldest first
	Screens   []*Screen
	Alarm     bool // some device last said that its alarm is on: lost contact does not end an alarm

	Complaints []Complaint    // what is not put right yet
	Got        []Got          // what somebody here has, or has ordered, as they said themselves
	Channels   []Channel      // where messages are liked
	Rules      []OperatorRule // of whoever runs the gateway; shared by all homes

	Safety *SafetyTable // what may appear on devices of each class, and when; nil: what every gateway has

	index *index // see Prepare
}

// Complaint is that something went wrong with a brand, and is not put right yet.
type Complaint struct {
	Brand device.BrandID
	At    device.Instant
}

// Got is an item that somebody said they have got.
type Got struct {
	Item string
	At   device.Instant
}

// Channel is where somebody likes messages best.
type Channel struct {
	Owner   device.PersonID `json:"owner,omitempty"` // Household: the home's
	Classes []device.Class  `json:"classes"`         // the most liked first; what is not named is liked least
}

// Person finds somebody of the home; ok is false if nobody has that number.
func (h *Home) Person(id device.PersonID) (p Person, ok bool) {
	for i := range h.People {
		if h.People[i].ID == id {
			return h.People[i], true
		}
	}
	return Person{}, false
}

// Audience is whom a message speaks to.
type Audience uint8

// The audiences.
const (
	Everybody Audience = iota // whoever is there
	Personal                  // one person, by name or by what is known about them: nobody else should see it
)

// Pixels are a picture that goes with a message, as the gateway keeps it.
type Pixels struct {
	SHA256 [32]byte
	Bytes  int
	Alt    string // what it shows, in words
}

// Op compares a reading with a constant. The names are the wire's.
type Op string

// The comparisons.
const (
	EQ Op = "eq"
	NE Op = "ne"
	LT Op = "lt"
	LE Op = "le"
	GT Op = "gt"
	GE Op = "ge"
)

// Predicate is one comparison of a message's condition. It is true if a reading is fresh and
// compares as said; never when the reading is unknown or stale, whatever the comparison.
type Predicate struct {
	Class     device.Class // whose reading: any device of that class in the home; 0: the screen itself
	Attribute device.Attribute
	Op        Op
	Value     device.Value
}

// MessageText is a message in one language.
type MessageText struct {
	Language string // BCP 47
	Title    string // at most 64 bytes
	Body     string // 1 to 512 bytes
}

// Act is what a button does for whoever presses it: facts that later messages must not contradict.
type Act uint8

// The acts. NoAct is an answer and nothing more.
const (
	NoAct    Act = iota
	Add          // puts the item on the shopping list
	Buy          // orders the item
	Redeem       // uses the voucher for the item
	Remind       // asks to be reminded
	Complain     // something went wrong: the brand's advertising pauses until it is put right
	acts
)

var actNames = [acts]string{"", "add", "buy", "redeem", "remind", "complain"}

// String names the act; "" for none.
func (a Act) String() string {
	if a < acts {
		return actNames[a]
	}
	return ""
}

// ActNames lists the names of all acts.
func ActNames() []string { return append([]string(nil), actNames[1:]...) }

// ParseAct reads an act's name; the empty name is NoAct.
func ParseAct(s string) (Act, error) {
	for a, name := range actNames {
		if name == s {
			return Act(a), nil
		}
	}
	return NoAct, fmt.Errorf("act %.40q is unknown: use one of %s", s, strings.Join(actNames[1:], ", "))
}

// MarshalText is String; JSON uses it.
func (a Act) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText is ParseAct.
func (a *Act) UnmarshalText(b []byte) error {
	got, err := ParseAct(string(b))
	*a = got
	return err
}

// Thread is what a message has to do with others of the same home.
type Thread struct {
	Dedupe  string   // the brand's word for what it says: a home is shown one message of each; "": the message stands for itself
	Journey string   // the brand's name for a sequence that it belongs to; "": none
	Step    int      // its place in the sequence, from 1
	After   Reaction // how the step before must have ended; NoReaction: however
	Item    string   // what it is about, such as a GTIN; "": nothing in particular
	Echo    Act      // it speaks of what somebody here did with a message of its brand; NoAct: of nothing
}

// Button is an answer that a person can give on the screen.
type Button struct {
	ID     int
	Act    Act
	Labels []string // one for each of Message.Texts, 1 to 32 bytes each
}

// Message is what a brand wants said, checked and ready to be judged. It does not change.
type Message struct {
	ID        device.MessageID
	Brand     device.BrandID
	Sender    string // the brand's name as people know it
	Purpose   Purpose
	Category  string
	Classes   []device.Class // the channels it is for; empty: every class
	Forms     []device.Form  // in the brand's order of liking; at least one
	Texts     []MessageText  // at least one; the first is used where no language fits
	Buttons   []Button
	Audience  Audience
	Sound     bool           // it may be announced by a tone or spoken, where that is welcome
	Picture   *Pixels        // nil: none
	NotBefore device.Instant // 0: at once
	NotAfter  device.Instant // from then on it is not shown; never 0
	Display   time.Duration  // how long to show it; 0: the device's choice
	When      []Predicate    // all must hold
	Condition *Expression    // must be true, too; nil: there is none
	Thread                   // what it has to do with others
	Value     float64        // what it is worth to its brand beside the brand's other messages, 0 to 1; 0.5 is the brand's own middle
	Seq       int64          // its place in the gateway's book: messages keep this order

	traits traits // see Prepare
}

// Request is everything that a Decision depends on.
type Request struct {
	Home    *Home
	Screen  *Screen
	Message *Message
	Now     device.Instant
	Own     bool // the message is open on this very screen: its own reservation does not count against it

	Scene *Scene // what Screen is like at Now, where the caller has asked Look already; nil: it is worked out

	there   Scene // who is in front of Screen, and how calm it is there: found out once, before the rules are asked
	scratch scratch
	notes   *[]Cause // where to write down what speaks against it; nil: nowhere
}

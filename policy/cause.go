package policy

import "porchlight/device"

// Cause is one thing that speaks for or against showing a message, as facts: whoever tells it to
// somebody finds the words. Which fields are set is said with each Code.
type Cause struct {
	Rule      Rule             `json:"rule,omitempty"`
	Code      Code             `json:"code,omitempty"`
	Verdict   Verdict          `json:"verdict,omitempty"` // what this alone would come to: Refuse, Hold, or for what speaks for it Show
	Until     device.Instant   `json:"until,omitempty"`   // 0: the clock alone does not end it
	Person    device.PersonID  `json:"person,omitempty"`  // whose word it is; Household: the home's, or nobody's in particular
	Device    device.ID        `json:"device,omitempty"`  // on which it was said, or which device is meant
	Class     device.Class     `json:"class,omitempty"`
	Room      device.RoomID    `json:"room,omitempty"`
	Purpose   Purpose          `json:"purpose,omitempty"`
	Category  string           `json:"category,omitempty"`
	Brand     device.BrandID   `json:"brand,omitempty"`
	Moment    Moment           `json:"moment,omitempty"`
	Content   Content          `json:"content,omitempty"`
	Form      device.Form      `json:"form,omitempty"`
	Attribute device.Attribute `json:"attribute,omitempty"`
	Op        Op               `json:"op,omitempty"`
	Value     device.Value     `json:"value,omitzero"`
	At        device.Instant   `json:"at,omitempty"`    // when it was said
	Have      int              `json:"have,omitempty"`  // characters, buttons, messages, minutes
	Max       int              `json:"max,omitempty"`   // characters, buttons, messages, minutes
	Hours     int              `json:"hours,omitempty"` // of a cap's window; 0 with Minutes 0: a day
	Minutes   int              `json:"minutes,omitempty"`
}

// Code names one sentence. The numbers are not kept anywhere; the names are the operators'.
type Code string

// The codes, by rule.
const (
	// safety
	NeverHere    Code = "safety.never"   // Class: nothing is ever shown on such a device
	TooLong      Code = "safety.long"    // Class, Have, Max characters
	WrongForm    Code = "safety.form"    // Class: never in a form that the message has
	AlarmOn      Code = "safety.alarm"   // an alarm is on in the home
	NothingKnown Code = "safety.unknown" // Class: the device has said nothing about itself yet
	NotDisturbed Code = "safety.dnd"     // Class: the device is not to be disturbed
	NotSafe      Code = "safety.state"   // Class: what the device does just now, or has not said
	// age: who is in front of it
	ChildAlone   Code = "age.alone"   // nobody but children is there
	ChildThere   Code = "age.child"   // a child is there, and no guardian of theirs has said yes to this brand
	ChildFloor   Code = "age.floor"   // a child or somebody unknown is there, or may be: not this category, question or offer to act
	TeenThere    Code = "age.teen"    // somebody who is not grown up is there: not this category
	NotForGuests Code = "age.guest"   // a guest, or somebody unknown, is there, or may be: nothing personal, no question
	NotAlone     Code = "age.private" // Person: it is for one person alone, and others are there, or may be
	// consent
	NobodyAsked  Code = "consent.silent" // Person, Brand, Purpose: has not said yes
	SaidNo       Code = "consent.no"     // Person, Brand, Purpose, At, Device: has said no
	Ended        Code = "consent.ended"  // Person, Brand, Purpose, Until: the yes was good until then
	NotOnThis    Code = "consent.class"  // Person, Brand, Purpose, Class: the yes was about other devices
	OwnerUnknown Code = "consent.owner"  // the person whose screen it is does not live here
	FrozenAll    Code = "consent.frozen" // Person: has said that nothing is to be done with what is known
	// terms
	SignalDenies Code = "terms.signal" // Device, Purpose: what somebody chose in an app or a browser rules it out
	// mute
	Muted         Code = "mute.said"   // Person and what the rule selects; Until; Content
	PausedByHabit Code = "mute.learnt" // Person, Brand, Until: it was dismissed twice
	// sensitive
	SensitiveHere Code = "sensitive.others" // Category: not where others see it, or may
	// quiet
	QuietNow       Code = "quiet.time"      // Person, Until
	MomentNow      Code = "quiet.moment"    // Moment, Device
	ZoneUnknown    Code = "quiet.zone"      // a quiet time or cap cannot be told, because the time zone is not known
	QuietSenseless Code = "quiet.senseless" //
	// frequency and spacing
	CapFull  Code = "frequency.full" // Person, what the cap selects, Have, Max, Hours, Minutes, Until
	CapNone  Code = "frequency.none" // Person, what the cap selects: none are wanted
	TooClose Code = "spacing.close"  // Person, Minutes, Until
	// dedupe
	ShownBefore  Code = "dedupe.shown" //
	OnAnother    Code = "dedupe.open"  // it is on another screen, or on its way there
	WaitsItsTurn Code = "dedupe.turn"  // it may be shown, and waits until the screen is free
	// context: the message's own condition
	WaitsFor Code = "context.waits" // Class (0: this screen), Attribute, Op, Value
	NoSense  Code = "context.senseless"
	Happened Code = "context.true" // Class, Attribute, Op, Value: for it
	// validity
	NotWhole  Code = "validity.whole" // it does not say what it is, from whom or for what
	NoTime    Code = "validity.clock" // the time is not known
	Over      Code = "validity.over"  // Until
	NotYet    Code = "validity.early" // Until
	TakenBack Code = "validity.back"  // its brand has taken it back
	// capability
	NotForClass    Code = "capability.class"   // Class
	CannotShow     Code = "capability.form"    // Class
	NoWayToAnswer  Code = "capability.answer"  // Class
	TooManyButtons Code = "capability.buttons" // Class, Have, Max
	NoWords        Code = "capability.words"
	Away           Code = "capability.away" // Device: it is not connected
	// for it
	SaidYes    Code = "consent.yes" // Person, Brand, Purpose, At, Device
	NothingYet Code = "none"        // nothing has been decided yet
)

package policy

import "porchlight/device"

// Cause is one thing that speaks for or against showing a message, as facts: whoever tells it to
// somebody finds the words. Which fields are set is said with each Code.
type Cause struct {
	Rule      Rule             `json:"rule,omitempty"`
	Code      Code             `json:"code,omitempty"`
	ID        string           `json:"id,omitempty"`      // of an operator's rule
	Verdict   Verdict          `json:"verdict,omitempty"` // what this alone would come to: Refuse, Hold, or for what speaks for it Show
	Until     device.Instant   `json:"until,omitempty"`   // 0: the clock alone does not end it
	Late      bool             `json:"late,omitempty"`    // the message ends at Until or before, so that waiting alone does not help
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
	Duty      Duty             `json:"duty,omitempty"`
	Attribute device.Attribute `json:"attribute,omitempty"`
	Op        Op               `json:"op,omitempty"`
	Value     device.Value     `json:"value,omitzero"`
	At        device.Instant   `json:"at,omitempty"`    // when it was said
	Have      int              `json:"have,omitempty"`  // characters, buttons, messages, minutes
	Max       int              `json:"max,omitempty"`   // characters, buttons, messages, minutes
	Hours     int              `json:"hours,omitempty"` // of a cap's window; with no window at all it is a day
	Minutes   int              `json:"minutes,omitempty"`
	Week      bool             `json:"week,omitempty"` // of a cap: a week, from Monday on
	Trip      bool             `json:"trip,omitempty"` // of a cap: the car's trip
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
	TripFull     Code = "safety.trip"    // Class, Have, Max: what may be shown on one trip was shown
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
	CapFull  Code = "frequency.full" // Person, what the cap selects, Have, Max, its window, Until; a trip's has none
	CapNone  Code = "frequency.none" // Person, what the cap selects: none are wanted
	TooClose Code = "spacing.close"  // Person, Minutes, Until
	// dedupe
	ShownBefore  Code = "dedupe.shown" //
	OnAnother    Code = "dedupe.open"  // it is on another screen, or on its way there
	WaitsItsTurn Code = "dedupe.turn"  // it may be shown, and waits until the screen is free
	// sequence
	StepWaits     Code = "sequence.step"   // it waits for what comes before it
	StepOver      Code = "sequence.ended"  // Device, At: what comes before it ended otherwise, or this was answered already
	GotAlready    Code = "sequence.bought" // At, Until: somebody here has just got what it offers
	OpenComplaint Code = "sequence.care"   // Brand, At: something went wrong with the brand, and is not put right yet
	NobodyDid     Code = "sequence.echo"   // it speaks of something that nobody here did
	// context: the message's own condition
	WaitsFor      Code = "context.waits" // Class (0: this screen), Attribute, Op, Value
	NoSense       Code = "context.senseless"
	Happened      Code = "context.true"    // Class, Attribute, Op, Value: for it
	WaitsForOther Code = "context.other"   // Class, Attribute: it waits until that is something else
	WaitsLonger   Code = "context.since"   // Class, Attribute, Until: it waits for how long that has been so
	WrongTime     Code = "context.time"    // Until: it waits for a time of day, a weekday or a date
	WrongCompany  Code = "context.people"  // it waits for who is in front of the screen
	NobodyTold    Code = "context.untold"  // it waits for who is in front of the screen, and nothing has told that
	ToldLongAgo   Code = "context.old"     // likewise, and what was told is too old
	StrangerThere Code = "context.unknown" // likewise, and somebody is there whom nobody knows, or may be
	NotItsConcern Code = "context.leave"   // Brand, Class, Attribute; NoAttribute: who is there. Nobody has given the brand leave to know
	// operator
	OperatorSays Code = "operator.rule" // ID: a rule of whoever runs the gateway
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
	NoDuty         Code = "capability.duty" // Class, Duty, Until: the device cannot show it as it must be shown
	Away           Code = "capability.away" // Device: it is not connected
	// why here: on this of the screens on which it may be shown
	OnlyHere      Code = "here.only"      // it could be shown on no other
	LookedAt      Code = "here.attention" // somebody is in front of it, or has just used it
	LikedThere    Code = "here.channel"   // Class: messages are liked there
	PeopleThere   Code = "here.room"      // more people are there
	ShowsItBest   Code = "here.fit"       // it can do what the message asks for
	DisturbsLeast Code = "here.calm"      // it intrudes the least
	AnyScreen     Code = "here.any"       // another would have been as good
	// why this: of the messages that may be shown
	Only        Code = "this.only"    // there was no other
	AskedFor    Code = "this.asked"   // somebody asked for this service
	HasHappened Code = "this.moment"  // what it waited for has just happened
	EndsSoon    Code = "this.soon"    // it has the least time left
	RarelyHeard Code = "this.fresh"   // Brand: less was shown of it lately
	NewsHere    Code = "this.news"    // less was shown about the same lately
	Welcome     Code = "this.welcome" // Brand: its messages are welcome to those who are there
	Answered    Code = "this.chance"  // messages like it are answered more often here
	TriedOut    Code = "this.tried"   // to find out whether messages like it are welcome
	MattersMore Code = "this.value"   // Brand: it matters more to it than its other messages
	CameFirst   Code = "this.first"   // others would have been as good
	SilenceWon  Code = "this.silence" // messages like it are let go by or dismissed here, so nothing is shown
	// how it is shown
	Darker  Code = "duty.dim"     // somebody wants it dark at this hour
	Briefly Code = "duty.limit"   // Class, Have seconds
	NoMore  Code = "duty.minimal" // who it is from, and the rest when asked for: nobody has said who is there
	// for it
	SaidYes    Code = "consent.yes" // Person, Brand, Purpose, At, Device
	NothingYet Code = "none"        // nothing has been decided yet
)

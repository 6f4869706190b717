package policy

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"porchlight/device"
)

// The arbiter says which of the messages that may be shown comes next, and on which screen. It orders
// and never permits: it is handed nothing but what Decide has shown, and Decide reads nothing of what
// it knows.

// Part is a quarter of a day, by the clocks of a home.
type Part uint8

// The parts of a day.
const (
	Night     Part = iota + 1 // from midnight
	Morning                   // from 6
	Afternoon                 // from noon
	Evening                   // from 18
	dayParts
)

var partNames = [dayParts]string{"", "night", "morning", "afternoon", "evening"}

// String names the part.
func (p Part) String() string { return partNames[min(p, Evening)] }

// MarshalText is String; JSON uses it.
func (p Part) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (p *Part) UnmarshalText(b []byte) error {
	i := slices.Index(partNames[:], string(b))
	if *p = Part(max(i, 0)); i < 0 {
		return fmt.Errorf("part of the day %.40q is unknown: use one of %s", b, strings.Join(partNames[1:], ", "))
	}
	return nil
}

// PartOf is the part of the day of an instant; a nil zone is UTC.
func PartOf(t device.Instant, zone *time.Location) Part {
	if zone == nil {
		zone = time.UTC
	}
	return Part(t.Time().In(zone).Hour()/6) + Night
}

// Occasion is what is learnt by: messages of a kind, on a kind of screen, at a time of day.
type Occasion struct {
	Category string
	Class    device.Class
	Part     Part
}

// Trial is one message that was shown, and what somebody did with it.
type Trial struct {
	Occasion
	Kind Reaction
	At   device.Instant
}

// Tally is what trials of one occasion come to: what is long ago counts less.
type Tally struct {
	Acted float64
	Not   float64 // a message that was closed counts for three that were let go by
}

const (
	fades     = 30 * dayLong // after so long a trial counts half
	dismissal = 3.0          // what a message that was closed counts
)

// TallyUp adds up trials as of an instant. What came since counts in full.
func TallyUp(trials []Trial, at device.Instant) map[Occasion]Tally {
	all := map[Occasion]Tally{}
	tallyUp(all, trials, at)
	return all
}

func tallyUp(all map[Occasion]Tally, trials []Trial, at device.Instant) {
	for _, t := range trials {
		w := faded(at, t.At, fades)
		sum := all[t.Occasion]
		switch t.Kind {
		case Acted:
			sum.Acted += w
		case Ignored:
			sum.Not += w
		case Dismissed, LessOfThis:
			sum.Not += dismissal * w
		default:
			continue
		}
		all[t.Occasion] = sum
	}
}

// faded is what is left at an instant of what happened then.
func faded(at, then device.Instant, half time.Duration) float64 {
	return math.Exp2(-float64(max(0, at-then)) / float64(half.Milliseconds()))
}

// Taste is what was learnt of the people of a home. The zero Taste knows nothing.
type Taste struct {
	Habits  []Habit // for the levers
	Tallies map[Occasion]Tally
	Off     bool // every occasion is as good as one that nobody knows, and silence never wins
}

// Add has t know what came after all that it knows: it is as if it had been made of everything, as of the same instant.
func (t *Taste) Add(habits []Habit, trials []Trial, at device.Instant) {
	t.Habits = append(t.Habits, habits...)
	if t.Tallies == nil {
		t.Tallies = map[Occasion]Tally{}
	}
	tallyUp(t.Tallies, trials, at)
}

// Candidate is a message that may be shown on a screen: Decide has shown it.
type Candidate struct {
	Message *Message
	Screen  *Screen
	Form    device.Form
	There   *Presence // who is in front of Screen
}

// Score is what showing a message is worth. Total is Value x Chance x Lever x Moment x Fresh x Urgent - Fatigue.
type Score struct {
	Asked   bool    `json:"asked,omitempty"` // a service that somebody asked for: before all that nobody did
	Value   float64 `json:"value"`           // to its brand, beside the brand's other messages; 0.5 is its middle
	Chance  float64 `json:"chance"`          // that somebody acts
	Off     bool    `json:"off,omitempty"`   // the learner was off
	Drawn   bool    `json:"drawn,omitempty"` // Chance was drawn from what was learnt; else it is what is to be expected
	Lever   float64 `json:"lever"`           // how welcome its brand is to those who are there: the least of theirs
	Moment  float64 `json:"moment"`          // more for each thing that has just happened and that it waited for, 1 to 1.5
	Fresh   float64 `json:"fresh"`           // less for each message of its brand in the last 7 days
	Urgent  float64 `json:"urgent"`          // 1 to 2: the less time it has left
	Fatigue float64 `json:"fatigue"`         // of messages about the same that those who are there were shown
	Total   float64 `json:"total"`
	Usual   float64 `json:"usual"`   // the Total that is to be expected, with no luck of a draw
	Silence float64 `json:"silence"` // what showing nothing is worth: below it a message is not shown; 0 for a service, and with the learner off
}

// Silent reports whether showing nothing is worth more. It is judged by what is to be expected, so that
// a bad draw puts a message behind others and never silences it.
func (s *Score) Silent() bool { return s.Usual < s.Silence }

// Pick is why a message comes next, and why on its screen.
type Pick struct {
	Seed  uint64  `json:"seed"` // what was drawn was drawn from it
	Score Score   `json:"score"`
	Place Place   `json:"place"`
	Of    int     `json:"of"`             // how many messages it was chosen from
	Next  float64 `json:"next,omitempty"` // the Total of the one that came next; 0: there was none
	Here  Code    `json:"here,omitempty"` // why on this screen
	This  Code    `json:"this,omitempty"` // why this message
}

// Arbiter chooses for one home at one instant. All that fades is taken as of the hour's beginning, so
// that the same question has the same answer until the hour is over or a fact changes.
type Arbiter struct {
	Home  *Home
	Taste *Taste
	Now   device.Instant

	// What was worked out once.
	brands  map[device.BrandID]brandPast
	levers  map[leverKey]float64
	fatigue map[fatigueKey]float64

	// Of one Choose.
	places []Place
	top    map[*Message]int // the best screen of each message
}

// Reset makes a as if it were new, and keeps the memory that it has.
func (a *Arbiter) Reset(h *Home, taste *Taste, now device.Instant) {
	a.Home, a.Taste, a.Now = h, taste, now
	clear(a.brands)
	clear(a.levers)
	clear(a.fatigue)
	clear(a.top)
}

type brandPast struct {
	shown float64        // messages in the last 7 days
	last  device.Instant // 0: never, as far as is remembered
}

type leverKey struct {
	screen *Screen
	brand  device.BrandID
}

type fatigueKey struct {
	screen   *Screen
	category string
}

const (
	priorActed = 0.5 // of ten messages that nobody knows anything about, half a one is acted on
	priorNot   = 9.5
	priorMean  = priorActed / (priorActed + priorNot)

	silence  = 0.2            // below this part of what a message would be worth where nothing was learnt, nothing is shown
	tire     = 0.0005         // what one message about the same takes, when it was just shown; at most half of the rest
	rests    = 24 * time.Hour // after so long it takes half
	freshFor = 7 * dayLong
	pressing = 24 * time.Hour // with so long left a message is half as urgent as it can become
	hourLong = 60 * 60 * 1000 // ms

	byMoment    = 0.25 // what one thing adds that a message waited for
	mostMoments = 2    // several attributes may tell of one thing, and it costs nothing to name them

	leastValue = 0.05
)

// Hour is the beginning of the hour that an instant is in, by UTC. What is learnt is taken as of then.
func Hour(t device.Instant) device.Instant { return t - t%hourLong }

// NextHour is the beginning of the hour after it.
func NextHour(t device.Instant) device.Instant { return Hour(t) + hourLong }

// atRest are the attributes that tell what happens just now, and soon does not any more; with each what
// it tells while nothing happens. Null is told by those that have nothing to tell then.
var atRest = restValues(map[device.Attribute][]any{
	device.DoorOpen: {false}, device.PlayerState: {"off", "standby", "idle"}, device.OperationalState: {"Stopped"}, device.CurrentPhase: {""},
	device.CountdownTime: {0.0}, device.Completion: {}, device.RoomOccupancy: {false}, device.PresenceCount: {0.0}, device.Driving: {"parked", "unknown"},
	device.VehicleMoving: {false}, device.SelectedGear: {0.0, 126.0}, device.LowVoltage: {"UNDEFINED", "LOCK", "OFF"},
})

func restValues(of map[device.Attribute][]any) map[device.Attribute][]device.Value {
	all := make(map[device.Attribute][]device.Value, len(of))
	for a, list := range of {
		all[a] = []device.Value{}
		for _, plain := range list {
			v, err := a.ValueOf(plain)
			if err != nil {
				panic(err)
			}
			all[a] = append(all[a], v)
		}
	}
	return all
}

// Choose returns the place in list of what comes next, and why; -1 if nothing is to be shown. Each
// message stands for itself once, on the screen that suits it best. The order of list does not matter.
func (a *Arbiter) Choose(list []Candidate) (best int, c Pick) {
	if clear(a.top); a.top == nil {
		a.top = make(map[*Message]int, len(list))
	}
	a.places = slices.Grow(a.places[:0], len(list))[:len(list)]
	top, places := a.top, a.places
	for i := range list {
		o := &list[i]
		places[i] = PlaceOf(a.Home, o.Message, o.Screen, o.Form, o.There, a.Now)
		if j, ok := top[o.Message]; !ok || better(o, &places[i], &list[j], &places[j]) {
			top[o.Message] = i
		}
	}
	best, next := -1, -1
	var won, second Score
	for i := range list {
		if top[list[i].Message] != i {
			continue
		}
		s := a.score(&list[i])
		if s.Silent() {
			continue
		}
		switch {
		case best < 0 || a.before(&list[i], &s, &list[best], &won):
			next, second = best, won
			best, won = i, s
		case next < 0 || a.before(&list[i], &s, &list[next], &second):
			next, second = i, s
		}
		c.Of++
	}
	if best < 0 {
		return -1, Pick{}
	}
	c.Seed, c.Score, c.Place = a.seed(&list[best]), won, places[best]
	c.This = Only
	if next >= 0 {
		c.Next = second.Total
		c.This = a.because(&list[best], &won, &list[next], &second)
	}
	other := -1
	for i := range list {
		if i != best && list[i].Message == list[best].Message && (other < 0 || better(&list[i], &places[i], &list[other], &places[other])) {
			other = i
		}
	}
	c.Here = OnlyHere
	if other >= 0 {
		c.Here = suitsBetter(&places[best], &places[other])
	}
	return best, c
}

// Weigh is a Pick of o as if it had been alone.
func (a *Arbiter) Weigh(o Candidate) Pick {
	return Pick{Seed: a.seed(&o), Score: a.score(&o), Place: PlaceOf(a.Home, o.Message, o.Screen, o.Form, o.There, a.Now), Of: 1, Here: OnlyHere, This: Only}
}

// better reports whether a message suits o's screen better than other's.
func better(o *Candidate, p *Place, other *Candidate, q *Place) bool {
	return cmp.Or(cmp.Compare(q.Total, p.Total), cmp.Compare(o.Screen.Class, other.Screen.Class), cmp.Compare(o.Screen.ID, other.Screen.ID)) < 0
}

// before reports whether o, worth s, comes before other, worth t. What is worth the same goes by the
// earliest end, then by the brand that was shown least recently, then by age, then by lot.
func (a *Arbiter) before(o *Candidate, s *Score, other *Candidate, t *Score) bool {
	m, n := o.Message, other.Message
	switch {
	case s.Asked != t.Asked:
		return s.Asked
	case s.Total > t.Total:
		return true
	case s.Total < t.Total:
		return false
	}
	return cmp.Or(cmp.Compare(m.NotAfter, n.NotAfter), cmp.Compare(a.past(m.Brand).last, a.past(n.Brand).last), cmp.Compare(m.Seq, n.Seq),
		cmp.Compare(a.seed(o), a.seed(other)), cmp.Compare(m.ID.String(), n.ID.String())) < 0
}

// score is what showing o is worth.
func (a *Arbiter) score(o *Candidate) Score {
	m, at := o.Message, Hour(a.Now)
	past := a.past(m.Brand)
	s := Score{Asked: m.Purpose == Service, Off: a.Taste.Off, Value: m.Value, Moment: moment(m), Fresh: 1 / (1 + past.shown), Lever: a.lever(o)}
	if s.Value = min(max(leastValue, s.Value), 1); s.Value != s.Value { // no number
		s.Value = 0.5
	}
	s.Urgent = 1 + math.Exp2(-float64(max(0, m.NotAfter-at))/float64(pressing.Milliseconds()))
	acted, not := priorActed, priorNot
	if !s.Off && len(a.Taste.Tallies) > 0 { // before anything was learnt a draw would order by nothing
		t := a.Taste.Tallies[Occasion{m.Category, o.Screen.Class, PartOf(a.Now, a.Home.Zone)}]
		acted, not, s.Drawn = acted+positive(t.Acted), not+positive(t.Not), true
	}
	mean := acted / (acted + not)
	if s.Chance = mean; s.Drawn {
		s.Chance = newDice(a.seed(o)).beta(acted, not)
	}
	rest := s.Value * s.Lever * s.Moment * s.Fresh * s.Urgent
	s.Fatigue = min(a.tired(o), float64(rest*mean)/2)
	s.Total = float64(rest*s.Chance) - s.Fatigue
	s.Usual = float64(rest*mean) - s.Fatigue
	if !s.Asked && !s.Off {
		s.Silence = silence * (s.Value * s.Moment * s.Fresh * s.Urgent * priorMean)
	}
	return s
}

// positive is x, or what is nearest to it of what can be counted.
func positive(x float64) float64 {
	if !(x > 0) {
		return 0
	}
	return min(x, 1e6)
}

// moment is more for each thing that has to happen before m is shown, for two at most. All of it has
// happened and may be known to m's brand: Decide has shown m, so that each of its predicates, and each
// part of its condition that stands between &&, is known to be true. What stands in a ||, ?: or ! need
// not be so, and counts nothing; nor does what is true while nothing happens.
func moment(m *Message) float64 {
	var waits device.AttributeSet
	for i := range m.When {
		if p := &m.When[i]; happens(p.Attribute, p.true) {
			waits = waits.With(p.Attribute)
		}
	}
	if c := m.Condition; c != nil && len(c.nodes) > 0 {
		waits |= c.awaits(len(c.nodes) - 1)
	}
	return 1 + byMoment*float64(min(bits.OnesCount64(uint64(waits)), mostMoments))
}

// awaits are the attributes that must tell that something happens, for node i of c to be true.
func (c *Expression) awaits(i int) (all device.AttributeSet) {
	switch p := &c.nodes[i]; p.op {
	case allOf:
		return c.awaits(int(p.a)) | c.awaits(int(p.b))
	case compare:
		l := &c.leaves[p.leaf]
		a := l.v.attribute
		if l.v.domain == ofPeople && l.v.aspect == asCount {
			a = device.PresenceCount
		} else if l.v.domain != ofReading {
			return 0
		}
		if happens(a, func(v device.Value) bool { return l.holds(v.Num, v.Text) }) {
			all = all.With(a)
		}
	}
	return all
}

// happens reports whether something happens where a tells what a test is true of.
func happens(a device.Attribute, test func(device.Value) bool) bool {
	rest, ok := atRest[a]
	return ok && !slices.ContainsFunc(rest, test)
}

// past is what a brand has shown here.
func (a *Arbiter) past(brand device.BrandID) brandPast {
	if p, ok := a.brands[brand]; ok {
		return p
	}
	var p brandPast
	week := Hour(a.Now).Add(-freshFor)
	for i := range a.Home.Shown {
		if e := &a.Home.Shown[i]; e.Brand == brand {
			if p.last = max(p.last, e.At); e.At > week {
				p.shown++
			}
		}
	}
	if a.brands == nil {
		a.brands = map[device.BrandID]brandPast{}
	}
	a.brands[brand] = p
	return p
}

// lever is the least of the levers of those who are there; where nobody is known to be, or somebody
// else may be, what nobody in particular did counts too.
func (a *Arbiter) lever(o *Candidate) float64 {
	key := leverKey{o.Screen, o.Message.Brand}
	if l, ok := a.levers[key]; ok {
		return l
	}
	least := mostLever
	of := func(who device.PersonID) {
		sum := 1.0
		for i := range a.Taste.Habits {
			if t := &a.Taste.Habits[i]; t.Person == who && t.Brand == o.Message.Brand {
				sum += t.moves(Hour(a.Now))
			}
		}
		least = min(least, max(sum, leastLever))
	}
	if o.There.Known == 0 || o.There.Unknown > 0 {
		of(device.Household)
	}
	for i := range a.Home.People {
		if o.There.Known&(1<<i) != 0 {
			of(a.Home.People[i].ID)
		}
	}
	if a.levers == nil {
		a.levers = map[leverKey]float64{}
	}
	a.levers[key] = least
	return least
}

// tired is what messages about the same have taken from those who are in front of o's screen.
func (a *Arbiter) tired(o *Candidate) float64 {
	key := fatigueKey{o.Screen, o.Message.Category}
	if f, ok := a.fatigue[key]; ok {
		return f
	}
	sum := 0.0
	for i := range a.Home.Shown {
		e := &a.Home.Shown[i]
		if e.Purpose != Service && e.Category == o.Message.Category && e.Reaction != Acted && a.Home.saw(e, o) {
			sum += faded(Hour(a.Now), e.At, rests)
		}
	}
	if a.fatigue == nil {
		a.fatigue = map[fatigueKey]float64{}
	}
	a.fatigue[key] = tire * sum
	return tire * sum
}

// saw reports whether e was on o's screen, or before the eyes of somebody who is there now.
func (h *Home) saw(e *Exposure, o *Candidate) bool {
	if e.Device == o.Screen.ID {
		return true
	}
	for _, who := range e.Who {
		if i := h.place(who); i >= 0 && o.There.Known&(1<<i) != 0 {
			return true
		}
	}
	return false
}

// because is what put o before other the most.
func (a *Arbiter) because(o *Candidate, s *Score, other *Candidate, t *Score) Code {
	if s.Asked != t.Asked {
		return AskedFor
	}
	if s.Total == t.Total {
		switch {
		case o.Message.NotAfter != other.Message.NotAfter:
			return EndsSoon
		case a.past(o.Message.Brand).last != a.past(other.Message.Brand).last:
			return RarelyHeard
		}
		return CameFirst
	}
	chance := TriedOut // by the luck of a draw
	if s.expected() > t.expected()*(1+1e-9) {
		chance = Answered
	}
	code, most := CameFirst, 1.0
	for _, part := range [...]struct {
		code Code
		x, y float64
	}{
		{HasHappened, s.Moment, t.Moment}, {EndsSoon, s.Urgent, t.Urgent}, {RarelyHeard, s.Fresh, t.Fresh}, {Welcome, s.Lever, t.Lever},
		{chance, s.Chance, t.Chance}, {MattersMore, s.Value, t.Value}, {NewsHere, 1 + t.Fatigue/tire, 1 + s.Fatigue/tire},
	} {
		if ratio := part.x / max(part.y, 1e-12); ratio > most {
			code, most = part.code, ratio
		}
	}
	return code
}

// expected is the chance that s would have without a draw.
func (s *Score) expected() float64 {
	return (s.Usual + s.Fatigue) / max(s.Value*s.Lever*s.Moment*s.Fresh*s.Urgent, 1e-12)
}

// suitsBetter is what speaks the most for p before q.
func suitsBetter(p, q *Place) Code {
	code, most := AnyScreen, 0.0
	for _, part := range [...]struct {
		code Code
		lead float64
	}{
		{LookedAt, byAttention * (p.Attention - q.Attention)}, {LikedThere, byChannel * (p.Channel - q.Channel)}, {PeopleThere, byRoom * (p.Room - q.Room)},
		{ShowsItBest, byCapability * (p.Capability - q.Capability)}, {DisturbsLeast, byCalm * (p.Calm - q.Calm)},
	} {
		if part.lead > most {
			code, most = part.code, part.lead
		}
	}
	return code
}

// seed is what a home, a message, a screen and an hour are drawn from. It is the same whenever it is
// asked for.
func (a *Arbiter) seed(o *Candidate) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211 // FNV-1a
	h := uint64(offset)
	number := func(n uint64) {
		for range 8 {
			h = (h ^ n&0xff) * prime
			n >>= 8
		}
	}
	number(uint64(a.Home.ID))
	for _, b := range o.Message.ID {
		h = (h ^ uint64(b)) * prime
	}
	for i := range len(o.Screen.ID) {
		h = (h ^ uint64(o.Screen.ID[i])) * prime
	}
	number(uint64(Hour(a.Now) / hourLong))
	// FNV leaves like inputs alike.
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// dice draw numbers that are the same for the same seed.
type dice struct{ pcg rand.PCG }

func newDice(seed uint64) *dice {
	var d dice
	d.pcg.Seed(seed, 0x9e3779b97f4a7c15)
	return &d
}

// uniform is above 0 and below 1.
func (d *dice) uniform() float64 { return (float64(d.pcg.Uint64()>>12) + 0.5) / (1 << 52) }

// normal is of mean 0 and variance 1, by the polar method.
func (d *dice) normal() float64 {
	for {
		u, v := 2*d.uniform()-1, 2*d.uniform()-1
		if r := u*u + v*v; r > 0 && r < 1 {
			return u * math.Sqrt(-2*math.Log(r)/r)
		}
	}
}

// gamma is of shape k > 0 and scale 1, by the method of Marsaglia and Tsang.
func (d *dice) gamma(k float64) float64 {
	boost := 1.0
	if k < 1 {
		boost = math.Pow(d.uniform(), 1/k)
		k++
	}
	e := k - 1.0/3
	c := 1 / math.Sqrt(9*e)
	for {
		x := d.normal()
		v := 1 + c*x
		if v <= 0 {
			continue
		}
		v = v * v * v
		if math.Log(d.uniform()) < 0.5*x*x+e-e*v+e*math.Log(v) {
			return boost * e * v
		}
	}
}

// beta is of a distribution on 0 to 1 with mean a/(a+b).
func (d *dice) beta(a, b float64) float64 {
	x, y := d.gamma(a), d.gamma(b)
	if x+y == 0 {
		return 0
	}
	return x / (x + y)
}

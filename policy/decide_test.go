package policy

import (
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"porchlight/device"
)

func zone(name string) *time.Location {
	z, err := time.LoadLocation(name)
	if err != nil {
		panic(err)
	}
	return z
}

func at(s string) device.Instant {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return device.At(t)
}

// noon is a Wednesday's, in Zurich.
var noon = at("2026-06-10T12:00:00+02:00")

const (
	grocer device.BrandID = "grocer"
	baker  device.BrandID = "baker"

	ada device.PersonID = 1
	ben device.PersonID = 2
)

func val(a device.Attribute, v any) device.Value {
	got, err := a.ValueOf(v)
	if err != nil {
		panic(err)
	}
	return got
}

func id(n byte) device.MessageID { return device.MessageID{15: n} }

func hours(n float64) time.Duration { return time.Duration(n * float64(time.Hour)) }

// calm is what a device of a class tells when all is well.
var calm = map[device.Class]map[device.Attribute]any{
	device.TV:         {device.PlayerState: "paused"},
	device.Speaker:    {device.CallActive: false},
	device.Console:    {device.GameState: "none"},
	device.Car:        {device.Driving: "parked"},
	device.Fridge:     {device.DoorOpen: true},
	device.Washer:     {device.OperationalState: "Stopped"},
	device.Dryer:      {device.OperationalState: "Stopped"},
	device.Dishwasher: {device.OperationalState: "Paused"},
	device.Oven:       {device.OperationalState: "Stopped", device.Alarm: false, device.Temperature: 21.0},
	device.Display:    {device.PowerState: "on"},
	device.Companion:  {device.CallActive: false},
}

// good is a request that shows: a grocer's offer, consented to, on a screen of class c.
func good(c device.Class) *Request {
	screen := func(id device.ID, c device.Class) *Screen {
		s := &Screen{ID: id, Class: c, Context: &device.Context{Class: c}}
		s.Can = device.Capabilities{Duties: device.CanDim | device.CanMinimal, Inputs: device.Remote, MaxButtons: 3, Languages: []string{"de-CH", "en"}, Forms: []device.Form{
			device.Badge, device.List, device.Toast, device.Panel, device.Voice, device.FullScreen}}
		for a, v := range calm[c] {
			for _, at := range []device.Instant{noon - 60_000, noon} { // and has been well for a while
				s.Context.Set(a, val(a, v), at)
			}
		}
		return s
	}
	h := &Home{
		ID:       1,
		Zone:     zone("Europe/Zurich"),
		People:   []Person{{ID: ada, Age: device.Adult}, {ID: ben, Age: device.Adult}},
		Consents: map[ConsentKey]Stance{{device.Household, grocer, Marketing}: {Choice: Given}},
		Screens:  []*Screen{screen("screen-1", c), screen("fridge-1", device.Fridge)},
	}
	m := &Message{
		ID: id(1), Brand: grocer, Sender: "The Grocer", Purpose: Marketing, Category: "dairy",
		Forms:    []device.Form{device.Toast, device.List},
		Texts:    []MessageText{{"en", "Milk", "Milk is low."}, {"de", "Milch", "Die Milch geht aus."}},
		NotAfter: noon.Add(hours(30 * 24)),
	}
	return &Request{Home: h, Screen: h.Screens[0], Message: m, Now: noon}
}

func (q *Request) tell(a device.Attribute, v any, ago time.Duration) {
	q.Screen.Context.Set(a, val(a, v), q.Now.Add(-ago))
}

// seen tells who is in front of the screen.
func (q *Request) seen(who string) { q.tell(device.PresenceWho, who, 0) }

func (q *Request) choose(p device.PersonID, c Choice) {
	q.Home.Consents[ConsentKey{p, grocer, Marketing}] = Stance{Choice: c}
}

// say is choose with all that goes with a choice.
func (q *Request) say(p device.PersonID, s Stance) {
	q.Home.Consents[ConsentKey{p, grocer, Marketing}] = s
}

// own gives the screen to one person, who is for it, and the fridge to another.
func (q *Request) own(screen, fridge device.PersonID) {
	q.Screen.Owner, q.Home.Screens[1].Owner = screen, fridge
	q.choose(screen, Given)
}

func (q *Request) shown(brand device.BrandID, n byte, ago time.Duration, open bool) {
	q.Home.Shown = append(q.Home.Shown, Exposure{At: q.Now.Add(-ago), Brand: brand, Message: id(n), Purpose: Marketing, Open: open})
}

// trip says when the car set out, and that something was shown in it a while ago.
func (q *Request) trip(began device.Instant, ago time.Duration) {
	q.Screen.Trip = began
	q.shown(grocer, 2, ago, false)
	q.Home.Shown[0].Device = q.Screen.ID
}

func TestDecide(t *testing.T) {
	tests := map[string]struct {
		class device.Class // a TV unless named
		edit  func(*Request)
		want  Verdict
		rules string // the reasons, all of them
		until device.Instant
	}{
		"the good case": {edit: func(q *Request) {}, want: Show, until: noon.Add(time.Minute)},

		// Safety.
		"tv playing in full screen":   {edit: func(q *Request) { q.tell(device.PlayerState, "playing", 0); q.tell(device.Fullscreen, true, 0) }, want: Hold, rules: "safety"},
		"tv playing in a window":      {edit: func(q *Request) { q.tell(device.PlayerState, "playing", 0); q.tell(device.Fullscreen, false, 0) }, want: Show, until: noon.Add(time.Minute)},
		"tv playing, window not told": {edit: func(q *Request) { q.tell(device.PlayerState, "playing", 0) }, want: Hold, rules: "safety"},
		"tv playing, window told long ago": {edit: func(q *Request) {
			q.tell(device.PlayerState, "playing", 0)
			q.tell(device.Fullscreen, false, time.Minute)
		}, want: Hold, rules: "safety"},
		"tv off":                            {edit: func(q *Request) { q.tell(device.PlayerState, "off", 0) }, want: Hold, rules: "safety"},
		"tv told a minute ago":              {edit: func(q *Request) { q.Now += 60000 }, want: Hold, rules: "safety"},
		"tv told a minute less 1 ms ago":    {edit: func(q *Request) { q.Now += 59999 }, want: Show, until: noon.Add(time.Minute)},
		"tv told in the far future":         {edit: func(q *Request) { q.Now -= 90000 }, want: Hold, rules: "safety", until: noon.Add(-time.Minute)},
		"tv has told nothing":               {edit: func(q *Request) { *q.Screen.Context = device.Context{} }, want: Hold, rules: "safety"},
		"tv without context":                {edit: func(q *Request) { q.Screen.Context = nil }, want: Hold, rules: "safety"},
		"not to be disturbed":               {edit: func(q *Request) { q.tell(device.DND, true, 0) }, want: Hold, rules: "safety"},
		"not to be disturbed, an hour ago":  {edit: func(q *Request) { q.tell(device.DND, true, time.Hour) }, want: Hold, rules: "safety"},
		"may be disturbed":                  {edit: func(q *Request) { q.tell(device.DND, false, 0) }, want: Show, until: noon.Add(time.Minute)},
		"alarm in the home":                 {edit: func(q *Request) { q.Home.Alarm = true }, want: Hold, rules: "safety"},
		"alarm on this screen":              {edit: func(q *Request) { q.tell(device.Alarm, true, 0) }, want: Hold, rules: "safety"},
		"alarm elsewhere, an hour ago":      {edit: func(q *Request) { q.Home.Screens[1].Context.Set(device.Alarm, val(device.Alarm, true), noon-3600000) }, want: Hold, rules: "safety"},
		"alarm on a screen not of the home": {edit: func(q *Request) { q.Home.Screens = nil; q.tell(device.Alarm, true, 0) }, want: Hold, rules: "safety"},
		"only spoken":                       {edit: func(q *Request) { q.Message.Forms = []device.Form{device.Voice} }, want: Refuse, rules: "safety,capability"},
		"class other":                       {device.Other, func(q *Request) {}, Refuse, "safety,capability", 0},
		"class unknown":                     {77, func(q *Request) {}, Refuse, "safety,capability", 0},
		"class none":                        {0, func(q *Request) {}, Refuse, "safety,capability", 0},

		"car parked":                     {device.Car, func(q *Request) {}, Show, "", noon.Add(5 * time.Second)},
		"car parked 5 s ago":             {device.Car, func(q *Request) { q.Now += 5000 }, Hold, "safety", 0},
		"car idling":                     {device.Car, func(q *Request) { q.tell(device.Driving, "idling", 0) }, Hold, "safety", 0},
		"car moving":                     {device.Car, func(q *Request) { q.tell(device.Driving, "moving", 0) }, Hold, "safety", 0},
		"car says unknown":               {device.Car, func(q *Request) { q.tell(device.Driving, "unknown", 0) }, Hold, "safety", 0},
		"car says parked, has speed":     {device.Car, func(q *Request) { q.tell(device.VehicleSpeed, 3.0, 0) }, Hold, "safety", 0},
		"car says parked, is moving":     {device.Car, func(q *Request) { q.tell(device.VehicleMoving, true, time.Hour) }, Hold, "safety", 0},
		"car says parked, gear in drive": {device.Car, func(q *Request) { q.tell(device.SelectedGear, 127.0, 0) }, Hold, "safety", 0},
		"car says parked, in neutral":    {device.Car, func(q *Request) { q.tell(device.SelectedGear, 0.0, 0) }, Show, "", noon.Add(5 * time.Second)},
		"car says moving, gear in park":  {device.Car, func(q *Request) { q.tell(device.Driving, "moving", 0); q.tell(device.SelectedGear, 126.0, 0) }, Hold, "safety", 0},
		"car stale, gear in park": {device.Car, func(q *Request) {
			q.Now += 5000
			q.tell(device.SelectedGear, 126.0, 0)
		}, Hold, "safety", 0},
		"car tells gear alone": {device.Car, func(q *Request) {
			*q.Screen.Context = device.Context{}
			q.tell(device.SelectedGear, 126.0, time.Second)
		}, Show, "", noon.Add(4 * time.Second)},
		"car tells speed and brake alone": {device.Car, func(q *Request) {
			*q.Screen.Context = device.Context{}
			q.tell(device.VehicleSpeed, 0.0, time.Second)
			q.tell(device.ParkingBrake, true, 2*time.Second)
		}, Show, "", noon.Add(3 * time.Second)},
		"car tells speed alone": {device.Car, func(q *Request) { *q.Screen.Context = device.Context{}; q.tell(device.VehicleSpeed, 0.0, 0) }, Hold, "safety", 0},
		"car tells gear, stale": {device.Car, func(q *Request) {
			*q.Screen.Context = device.Context{}
			q.tell(device.SelectedGear, 126.0, 5*time.Second)
		}, Hold, "safety", 0},
		"car tells gear, reverse":     {device.Car, func(q *Request) { *q.Screen.Context = device.Context{}; q.tell(device.SelectedGear, -1.0, 0) }, Hold, "safety", 0},
		"car, 80 characters":          {device.Car, func(q *Request) { q.Message.Texts[1] = MessageText{"de", "", strings.Repeat("ü", 80)} }, Show, "", noon.Add(5 * time.Second)},
		"car, 81 characters":          {device.Car, func(q *Request) { q.Message.Texts[1] = MessageText{"de", "x", strings.Repeat("ü", 80)} }, Refuse, "safety", 0},
		"car, long in other language": {device.Car, func(q *Request) { q.Message.Texts[0].Body = strings.Repeat("ü", 81) }, Show, "", noon.Add(5 * time.Second)},
		"car, toast only":             {device.Car, func(q *Request) { q.Message.Forms = []device.Form{device.Toast} }, Refuse, "safety,capability", 0},

		"oven stopped":              {device.Oven, func(q *Request) {}, Show, "", noon.Add(time.Minute)},
		"oven running":              {device.Oven, func(q *Request) { q.tell(device.OperationalState, "Running", 0) }, Hold, "safety", 0},
		"oven paused":               {device.Oven, func(q *Request) { q.tell(device.OperationalState, "Paused", 0) }, Hold, "safety", 0},
		"oven alarm":                {device.Oven, func(q *Request) { q.tell(device.Alarm, true, 0) }, Hold, "safety", 0},
		"oven alarm not told":       {device.Oven, func(q *Request) { q.tell(device.Alarm, nil, 0) }, Hold, "safety", 0},
		"oven state stale":          {device.Oven, func(q *Request) { q.Now += 60000 }, Hold, "safety", 0},
		"console in the menu":       {device.Console, func(q *Request) {}, Show, "", noon.Add(time.Minute)},
		"console in a game":         {device.Console, func(q *Request) { q.tell(device.GameState, "gameplay_uninterruptible", 0) }, Hold, "safety", 0},
		"console, interruptible":    {device.Console, func(q *Request) { q.tell(device.GameState, "gameplay_interruptible", 0) }, Hold, "safety", 0},
		"console, content":          {device.Console, func(q *Request) { q.tell(device.GameState, "content", 0) }, Hold, "safety", 0},
		"console, unknown":          {device.Console, func(q *Request) { q.tell(device.GameState, "unknown", 0) }, Hold, "safety", 0},
		"speaker":                   {device.Speaker, func(q *Request) {}, Show, "", noon.Add(time.Minute)},
		"speaker in a call":         {device.Speaker, func(q *Request) { q.tell(device.CallActive, true, 0) }, Hold, "safety", 0},
		"speaker, call not told":    {device.Speaker, func(q *Request) { q.tell(device.CallActive, nil, 0) }, Hold, "safety", 0},
		"speaker muted":             {device.Speaker, func(q *Request) { q.tell(device.VolumeMuted, true, 0) }, Hold, "safety", 0},
		"speaker asked to speak":    {device.Speaker, func(q *Request) { q.Message.Forms = []device.Form{device.Voice} }, Refuse, "safety,capability", 0},
		"washer stopped":            {device.Washer, func(q *Request) {}, Show, "", noon.Add(10 * time.Minute)},
		"washer running":            {device.Washer, func(q *Request) { q.tell(device.OperationalState, "Running", 0) }, Hold, "safety", 0},
		"dryer in trouble":          {device.Dryer, func(q *Request) { q.tell(device.OperationalState, "Error", 0) }, Hold, "safety", 0},
		"dishwasher has not told":   {device.Dishwasher, func(q *Request) { *q.Screen.Context = device.Context{} }, Hold, "safety", 0},
		"fridge":                    {device.Fridge, func(q *Request) {}, Show, "", noon.Add(hours(720))},
		"fridge off":                {device.Fridge, func(q *Request) { q.tell(device.PowerState, "off", 0) }, Hold, "safety", 0},
		"fridge off, an hour ago":   {device.Fridge, func(q *Request) { q.tell(device.PowerState, "off", time.Hour) }, Hold, "safety", 0},
		"fridge without context":    {device.Fridge, func(q *Request) { q.Screen.Context = nil }, Hold, "safety", 0},
		"display in standby":        {device.Display, func(q *Request) { q.tell(device.PowerState, "standby", 0) }, Hold, "safety", 0},
		"phone in a call":           {device.Companion, func(q *Request) { q.tell(device.CallActive, true, 0) }, Hold, "safety", 0},
		"phone, call a while ago":   {device.Companion, func(q *Request) { q.tell(device.CallActive, true, 0); q.Now += 3600000 }, Hold, "safety", 0},
		"phone":                     {device.Companion, func(q *Request) {}, Show, "", noon.Add(hours(720))},
		"appliance in full screen":  {device.Washer, func(q *Request) { q.Message.Forms = []device.Form{device.FullScreen} }, Refuse, "safety,capability", 0},
		"television in full screen": {edit: func(q *Request) { q.Message.Forms = []device.Form{device.FullScreen} }, want: Show, until: noon.Add(time.Minute)},

		// Consent.
		"silence":                            {edit: func(q *Request) { q.choose(0, Silent) }, want: Refuse, rules: "consent"},
		"no consents at all":                 {edit: func(q *Request) { q.Home.Consents = nil }, want: Refuse, rules: "consent"},
		"the home refused":                   {edit: func(q *Request) { q.choose(0, Refused) }, want: Refuse, rules: "consent"},
		"the home withdrew":                  {edit: func(q *Request) { q.choose(0, Withdrawn) }, want: Refuse, rules: "consent"},
		"a choice of no known kind":          {edit: func(q *Request) { q.choose(ben, 9) }, want: Refuse, rules: "consent"},
		"one person refused":                 {edit: func(q *Request) { q.choose(ben, Refused) }, want: Refuse, rules: "consent"},
		"one person withdrew":                {edit: func(q *Request) { q.choose(ben, Withdrawn) }, want: Refuse, rules: "consent"},
		"a stranger refused":                 {edit: func(q *Request) { q.choose(99, Refused) }, want: Show, until: noon.Add(time.Minute)},
		"one person's yes is not enough":     {edit: func(q *Request) { q.choose(0, Silent); q.choose(ada, Given) }, want: Refuse, rules: "consent"},
		"another brand's yes":                {edit: func(q *Request) { q.Message.Brand = baker }, want: Refuse, rules: "consent"},
		"another purpose's yes":              {edit: func(q *Request) { q.Message.Purpose = Service }, want: Refuse, rules: "consent"},
		"own screen, own yes":                {edit: func(q *Request) { q.Screen.Owner = ada; q.choose(0, Silent); q.choose(ada, Given) }, want: Show, until: noon.Add(time.Minute)},
		"own screen, only the home":          {edit: func(q *Request) { q.Screen.Owner = ada }, want: Refuse, rules: "consent"},
		"own screen, home refused":           {edit: func(q *Request) { q.Screen.Owner = ada; q.choose(0, Refused); q.choose(ada, Given) }, want: Refuse, rules: "consent"},
		"own screen, other refused":          {edit: func(q *Request) { q.Screen.Owner = ada; q.choose(ben, Refused); q.choose(ada, Given) }, want: Show, until: noon.Add(time.Minute)},
		"screen of somebody who left":        {edit: func(q *Request) { q.Screen.Owner = 9; q.choose(9, Given) }, want: Refuse, rules: "consent"},
		"a yes that has ended":               {edit: func(q *Request) { q.say(0, Stance{Choice: Given, Until: noon}) }, want: Refuse, rules: "consent"},
		"a yes that ends soon":               {edit: func(q *Request) { q.say(0, Stance{Choice: Given, Until: noon + 9}) }, want: Show, until: noon + 9},
		"a yes for other classes":            {edit: func(q *Request) { q.say(0, Stance{Choice: Given, Classes: ClassSet(0).With(device.Car)}) }, want: Refuse, rules: "consent"},
		"a yes for this class":               {edit: func(q *Request) { q.say(0, Stance{Choice: Given, Classes: ClassSet(0).With(device.TV)}) }, want: Show, until: noon.Add(time.Minute)},
		"a no does not end":                  {edit: func(q *Request) { q.say(ben, Stance{Choice: Refused, Until: 1, Classes: ClassSet(0).With(device.Car)}) }, want: Refuse, rules: "consent"},
		"own screen, own yes has ended":      {edit: func(q *Request) { q.Screen.Owner = ada; q.say(ada, Stance{Choice: Given, Until: noon}) }, want: Refuse, rules: "consent"},
		"the home is frozen":                 {edit: func(q *Request) { q.Home.Frozen = true }, want: Refuse, rules: "consent"},
		"somebody is frozen":                 {edit: func(q *Request) { q.Home.People[1].Frozen = true }, want: Refuse, rules: "consent"},
		"own screen, owner is frozen":        {edit: func(q *Request) { q.Screen.Owner = ada; q.choose(ada, Given); q.Home.People[0].Frozen = true }, want: Refuse, rules: "consent"},
		"own screen, other is frozen":        {edit: func(q *Request) { q.Screen.Owner = ada; q.choose(ada, Given); q.Home.People[1].Frozen = true }, want: Show, until: noon.Add(time.Minute)},
		"known to be there, and silent":      {edit: func(q *Request) { q.seen("1") }, want: Hold, rules: "consent"},
		"known to be there, and for it":      {edit: func(q *Request) { q.choose(ada, Given); q.seen("1") }, want: Show, until: noon.Add(time.Minute)},
		"another is there, and silent":       {edit: func(q *Request) { q.choose(ada, Given); q.seen("1 2") }, want: Hold, rules: "consent"},
		"not there, and against it":          {edit: func(q *Request) { q.choose(ada, Given); q.choose(ben, Refused); q.seen("1") }, want: Show, until: noon.Add(time.Minute)},
		"perhaps there, and against it":      {edit: func(q *Request) { q.choose(ada, Given); q.choose(ben, Refused); q.seen("1 2@0.79") }, want: Hold, rules: "consent"},
		"there, and the yes ends soon":       {edit: func(q *Request) { q.say(ada, Stance{Choice: Given, Until: noon + 7}); q.seen("1") }, want: Show, until: noon + 7},
		"there, and frozen":                  {edit: func(q *Request) { q.choose(ada, Given); q.Home.People[0].Frozen = true; q.seen("1") }, want: Hold, rules: "consent"},
		"not there, and frozen":              {edit: func(q *Request) { q.choose(ada, Given); q.Home.People[1].Frozen = true; q.seen("1") }, want: Show, until: noon.Add(time.Minute)},
		"was there, and silent":              {edit: func(q *Request) { q.tell(device.PresenceWho, "1", hours(5)) }, want: Hold, rules: "consent"},
		"own screen, other there against it": {edit: func(q *Request) { q.Screen.Owner = ada; q.choose(ada, Given); q.choose(ben, Refused); q.seen("2") }, want: Hold, rules: "consent"},
		"own screen, other there silent":     {edit: func(q *Request) { q.Screen.Owner = ada; q.choose(ada, Given); q.seen("2") }, want: Show, until: noon.Add(time.Minute)},

		// Terms.
		"ruled out on this screen":    {edit: func(q *Request) { q.Home.Signals = []Signal{{"screen-1", 1 << Marketing}} }, want: Refuse, rules: "terms"},
		"another purpose ruled out":   {edit: func(q *Request) { q.Home.Signals = []Signal{{"screen-1", 1 << Service}} }, want: Show, until: noon.Add(time.Minute)},
		"ruled out elsewhere":         {edit: func(q *Request) { q.Home.Signals = []Signal{{"fridge-1", 1 << Marketing}} }, want: Show, until: noon.Add(time.Minute)},
		"ruled out on her other one":  {edit: func(q *Request) { q.own(ada, ada); q.Home.Signals = []Signal{{"fridge-1", 1 << Marketing}} }, want: Refuse, rules: "terms"},
		"ruled out on his":            {edit: func(q *Request) { q.own(ada, ben); q.Home.Signals = []Signal{{"fridge-1", 1 << Marketing}} }, want: Show, until: noon.Add(time.Minute)},
		"ruled out on what was taken": {edit: func(q *Request) { q.own(ada, ada); q.Home.Signals = []Signal{{"gone-1", 1 << Marketing}} }, want: Show, until: noon.Add(time.Minute)},

		// Mute.
		"muted for good":        {edit: func(q *Request) { q.Home.Mutes = []MuteRule{{}} }, want: Refuse, rules: "mute"},
		"muted for an hour":     {edit: func(q *Request) { q.Home.Mutes = []MuteRule{{Until: noon.Add(time.Hour)}} }, want: Hold, rules: "mute", until: noon.Add(time.Hour)},
		"muted twice":           {edit: func(q *Request) { q.Home.Mutes = []MuteRule{{Until: noon + 2}, {Until: noon + 1}} }, want: Hold, rules: "mute", until: noon + 2},
		"muted until now":       {edit: func(q *Request) { q.Home.Mutes = []MuteRule{{Until: noon}} }, want: Show, until: noon.Add(time.Minute)},
		"brand muted":           {edit: func(q *Request) { q.Home.Mutes = []MuteRule{{Selector: Selector{Brand: grocer}}} }, want: Refuse, rules: "mute"},
		"other brand muted":     {edit: func(q *Request) { q.Home.Mutes = []MuteRule{{Selector: Selector{Brand: baker}}} }, want: Show, until: noon.Add(time.Minute)},
		"purpose muted":         {edit: func(q *Request) { q.Home.Mutes = []MuteRule{{Selector: Selector{Purpose: Marketing}}} }, want: Refuse, rules: "mute"},
		"other purpose muted":   {edit: func(q *Request) { q.Home.Mutes = []MuteRule{{Selector: Selector{Purpose: Service}}} }, want: Show, until: noon.Add(time.Minute)},
		"category muted":        {edit: func(q *Request) { q.Home.Mutes = []MuteRule{{Selector: Selector{Category: "dairy"}}} }, want: Refuse, rules: "mute"},
		"other category muted":  {edit: func(q *Request) { q.Home.Mutes = []MuteRule{{Selector: Selector{Category: "meat"}}} }, want: Show, until: noon.Add(time.Minute)},
		"television muted":      {edit: func(q *Request) { q.Home.Mutes = []MuteRule{{Selector: Selector{Class: device.TV}}} }, want: Refuse, rules: "mute"},
		"other class muted":     {edit: func(q *Request) { q.Home.Mutes = []MuteRule{{Selector: Selector{Class: device.Car}}} }, want: Show, until: noon.Add(time.Minute)},
		"device muted":          {edit: func(q *Request) { q.Home.Mutes = []MuteRule{{Selector: Selector{Device: "screen-1"}}} }, want: Refuse, rules: "mute"},
		"other device muted":    {edit: func(q *Request) { q.Home.Mutes = []MuteRule{{Selector: Selector{Device: "fridge-1"}}} }, want: Show, until: noon.Add(time.Minute)},
		"brand here, elsewhere": {edit: func(q *Request) { q.Home.Mutes = []MuteRule{{Selector: Selector{Brand: grocer, Device: "fridge-1"}}} }, want: Show, until: noon.Add(time.Minute)},
		"muted in another room": {edit: func(q *Request) { q.Home.Mutes = []MuteRule{{Selector: Selector{Room: 1}}} }, want: Show, until: noon.Add(time.Minute)},
		"muted in this room":    {edit: func(q *Request) { q.Screen.Room = 1; q.Home.Mutes = []MuteRule{{Selector: Selector{Room: 1}}} }, want: Refuse, rules: "mute"},
		"muted by somebody":     {edit: func(q *Request) { q.Home.Mutes = []MuteRule{{Owner: ben}} }, want: Refuse, rules: "mute"},
		"muted by who is there": {edit: func(q *Request) { q.choose(ben, Given); q.seen("2"); q.Home.Mutes = []MuteRule{{Owner: ben}} }, want: Hold, rules: "mute"},
		"muted by who is not":   {edit: func(q *Request) { q.choose(ada, Given); q.seen("1"); q.Home.Mutes = []MuteRule{{Owner: ben}} }, want: Show, until: noon.Add(time.Minute)},
		"muted by who was": {edit: func(q *Request) {
			q.choose(ben, Given)
			q.tell(device.PresenceWho, "2", hours(1))
			q.Home.Mutes = []MuteRule{{Owner: ben}}
		}, want: Hold, rules: "mute"},
		"muted by the owner":     {edit: func(q *Request) { q.own(ada, ada); q.Home.Mutes = []MuteRule{{Owner: ada}} }, want: Refuse, rules: "mute"},
		"muted by not the owner": {edit: func(q *Request) { q.own(ada, ada); q.Home.Mutes = []MuteRule{{Owner: ben}} }, want: Show, until: noon.Add(time.Minute)},
		"no words, nothing left": {edit: func(q *Request) { q.Home.Mutes = []MuteRule{{Content: Words | Sound}} }, want: Refuse, rules: "mute"},
		"no words for a while":   {edit: func(q *Request) { q.Home.Mutes = []MuteRule{{Content: Words, Until: noon + 9}} }, want: Hold, rules: "mute", until: noon + 9},
		"no words, a picture":    {edit: func(q *Request) { q.Message.Picture = new(Pixels); q.Home.Mutes = []MuteRule{{Content: Words}} }, want: Show, until: noon.Add(time.Minute)},
		"no picture": {edit: func(q *Request) {
			q.Message.Picture = new(Pixels)
			q.Home.Mutes = []MuteRule{{Content: Picture, Until: noon + 5}}
		}, want: Show, until: noon + 5},
		"neither": {edit: func(q *Request) {
			q.Message.Picture = new(Pixels)
			q.Home.Mutes = []MuteRule{{Content: Words, Until: noon + 5}, {Content: Picture, Until: noon + 9}, {Content: Words, Until: noon + 7}}
		}, want: Hold, rules: "mute", until: noon + 7},
		"no words for good, no picture for a while": {edit: func(q *Request) {
			q.Message.Picture = new(Pixels)
			q.Home.Mutes = []MuteRule{{Content: Words}, {Content: Picture, Until: noon + 9}}
		}, want: Hold, rules: "mute", until: noon + 9},

		// Quiet.
		"quiet at noon":          {edit: func(q *Request) { q.Home.Quiet = []Quiet{{Start: 720, End: 780}} }, want: Hold, rules: "quiet", until: noon.Add(time.Hour)},
		"quiet until noon":       {edit: func(q *Request) { q.Home.Quiet = []Quiet{{Start: 660, End: 720}} }, want: Show, until: noon.Add(time.Minute)},
		"quiet in 30 s":          {edit: func(q *Request) { q.Now -= 30000; q.Home.Quiet = []Quiet{{Start: 720, End: 780}} }, want: Show, until: noon},
		"quiet, then quiet":      {edit: func(q *Request) { q.Home.Quiet = []Quiet{{Start: 780, End: 840}, {Start: 700, End: 790}} }, want: Hold, rules: "quiet", until: noon.Add(2 * time.Hour)},
		"quiet on Wednesdays":    {edit: func(q *Request) { q.Home.Quiet = []Quiet{{Days: 1 << 3, Start: 720, End: 780}} }, want: Hold, rules: "quiet", until: noon.Add(time.Hour)},
		"quiet on Tuesdays":      {edit: func(q *Request) { q.Home.Quiet = []Quiet{{Days: 1 << 2, Start: 720, End: 780}} }, want: Show, until: noon.Add(time.Minute)},
		"quiet since Tuesday":    {edit: func(q *Request) { q.Home.Quiet = []Quiet{{Days: 1 << 2, Start: 1320, End: 780}} }, want: Hold, rules: "quiet", until: noon.Add(time.Hour)},
		"quiet all Wednesday":    {edit: func(q *Request) { q.Home.Quiet = []Quiet{{Days: 1 << 3, Start: 0, End: 0}} }, want: Hold, rules: "quiet", until: noon.Add(12 * time.Hour)},
		"quiet in no zone":       {edit: func(q *Request) { q.Home.Zone = nil; q.Home.Quiet = []Quiet{{Start: 0, End: 1}} }, want: Hold, rules: "quiet"},
		"no quiet, no zone":      {edit: func(q *Request) { q.Home.Zone = nil }, want: Show, until: noon.Add(time.Minute)},
		"quiet at minute 1440":   {edit: func(q *Request) { q.Home.Quiet = []Quiet{{Start: 1440, End: 1}} }, want: Hold, rules: "quiet"},
		"quiet on an eighth day": {edit: func(q *Request) { q.Home.Quiet = []Quiet{{Days: 1 << 7, Start: 0, End: 1}} }, want: Hold, rules: "quiet"},
		"quiet beyond the end":   {edit: func(q *Request) { q.Message.NotAfter = noon + 5; q.Home.Quiet = []Quiet{{Start: 720, End: 780}} }, want: Hold, rules: "quiet", until: noon + 5},
		"quiet for ever":         {edit: func(q *Request) { q.Home.Quiet = []Quiet{{Start: 0, End: 0}} }, want: Hold, rules: "quiet", until: at("2026-06-19T00:00:00+02:00")},
		"quiet in another zone": {edit: func(q *Request) {
			q.Home.Quiet = []Quiet{{Start: 945, End: 960, Zone: "Asia/Kathmandu", Clock: zone("Asia/Kathmandu")}}
		}, want: Hold, rules: "quiet", until: noon.Add(15 * time.Minute)},
		"awake in another zone": {edit: func(q *Request) {
			q.Home.Quiet = []Quiet{{Start: 720, End: 945, Zone: "Asia/Kathmandu", Clock: zone("Asia/Kathmandu")}}
		}, want: Show, until: noon.Add(time.Minute)},
		"quiet in zone unknown": {edit: func(q *Request) { q.Home.Quiet = []Quiet{{Start: 0, End: 1, Zone: "Mars/Olympus"}} }, want: Hold, rules: "quiet"},
		"two zones, one after the other": {edit: func(q *Request) {
			q.Home.Quiet = []Quiet{{Start: 1005, End: 1065, Zone: "Asia/Kathmandu", Clock: zone("Asia/Kathmandu")}, {Start: 720, End: 780}}
		}, want: Hold, rules: "quiet", until: noon.Add(2 * time.Hour)},
		"quiet for who may be there": {edit: func(q *Request) { q.Home.Quiet = []Quiet{{Start: 720, End: 780, Owner: ben}} }, want: Hold, rules: "quiet", until: noon.Add(time.Hour)},
		"quiet for who is not there": {edit: func(q *Request) {
			q.choose(ada, Given)
			q.seen("1")
			q.Home.Quiet = []Quiet{{Start: 720, End: 780, Owner: ben}, {Start: 9999, Owner: ben}}
		}, want: Show, until: noon.Add(time.Minute)},
		"quiet for another's screen":   {edit: func(q *Request) { q.own(ada, ada); q.Home.Quiet = []Quiet{{Start: 720, End: 780, Owner: ben}} }, want: Show, until: noon.Add(time.Minute)},
		"quiet for the screen's owner": {edit: func(q *Request) { q.own(ada, ada); q.Home.Quiet = []Quiet{{Start: 720, End: 780, Owner: ada}} }, want: Hold, rules: "quiet", until: noon.Add(time.Hour)},

		// Frequency.
		"one an hour, had one":     {edit: func(q *Request) { q.shown(grocer, 2, 20*time.Minute, false); q.Home.Caps = []Cap{{Max: 1, Hours: 1}} }, want: Hold, rules: "frequency", until: noon.Add(40 * time.Minute)},
		"one an hour, an hour ago": {edit: func(q *Request) { q.shown(grocer, 2, time.Hour, false); q.Home.Caps = []Cap{{Max: 1, Hours: 1}} }, want: Show, until: noon.Add(time.Minute)},
		"two an hour, had one":     {edit: func(q *Request) { q.shown(grocer, 2, 20*time.Minute, false); q.Home.Caps = []Cap{{Max: 2, Hours: 1}} }, want: Show, until: noon.Add(time.Minute)},
		"two an hour, had three": {edit: func(q *Request) {
			for i := range byte(3) {
				q.shown(baker, 2+i, time.Duration(30-i)*time.Minute, false)
			}
			q.Home.Caps = []Cap{{Max: 2, Hours: 1}}
		}, want: Hold, rules: "frequency", until: noon.Add(31 * time.Minute)},
		"each brand one, other's": {edit: func(q *Request) { q.shown(baker, 2, 0, false); q.Home.Caps = []Cap{{Each: true, Max: 1, Hours: 1}} }, want: Show, until: noon.Add(time.Minute)},
		"each brand one, own":     {edit: func(q *Request) { q.shown(grocer, 2, 0, false); q.Home.Caps = []Cap{{Each: true, Max: 1, Hours: 1}} }, want: Hold, rules: "frequency", until: noon.Add(time.Hour)},
		"this brand one, other's": {edit: func(q *Request) {
			q.shown(baker, 2, 0, false)
			q.Home.Caps = []Cap{{Selector: Selector{Brand: grocer}, Max: 1, Hours: 1}}
		}, want: Show, until: noon.Add(time.Minute)},
		"this brand one": {edit: func(q *Request) {
			q.shown(grocer, 2, 0, false)
			q.Home.Caps = []Cap{{Selector: Selector{Brand: grocer}, Max: 1, Hours: 1}}
		}, want: Hold, rules: "frequency", until: noon.Add(time.Hour)},
		"other brand none":           {edit: func(q *Request) { q.Home.Caps = []Cap{{Selector: Selector{Brand: baker}, Max: 0, Hours: 1}} }, want: Show, until: noon.Add(time.Minute)},
		"none ever":                  {edit: func(q *Request) { q.Home.Caps = []Cap{{Max: 0}} }, want: Refuse, rules: "frequency"},
		"less than none":             {edit: func(q *Request) { q.Home.Caps = []Cap{{Max: -1, Hours: 1}} }, want: Refuse, rules: "frequency"},
		"a window beyond the record": {edit: func(q *Request) { q.Home.Caps = []Cap{{Max: 5, Hours: 169}} }, want: Refuse, rules: "frequency"},
		"one a day, had one":         {edit: func(q *Request) { q.shown(grocer, 2, hours(12), false); q.Home.Caps = []Cap{{Max: 1}} }, want: Hold, rules: "frequency", until: noon.Add(hours(12))},
		"one a day, had it yesterday": {edit: func(q *Request) {
			q.shown(grocer, 2, hours(12)+time.Millisecond, false)
			q.Home.Caps = []Cap{{Max: 1}}
		}, want: Show, until: noon.Add(time.Minute)},
		"one a day, had one tomorrow": {edit: func(q *Request) { q.shown(grocer, 2, -hours(14), false); q.Home.Caps = []Cap{{Max: 1}} }, want: Hold, rules: "frequency", until: noon.Add(hours(12))},
		"one a day in no zone":        {edit: func(q *Request) { q.Home.Zone = nil; q.Home.Caps = []Cap{{Max: 1}} }, want: Hold, rules: "frequency"},
		"one an hour in no zone":      {edit: func(q *Request) { q.Home.Zone = nil; q.Home.Caps = []Cap{{Max: 1, Hours: 1}} }, want: Show, until: noon.Add(time.Minute)},
		"own reservation": {edit: func(q *Request) {
			q.Own = true
			q.shown(grocer, 1, 0, true)
			q.Home.Caps = []Cap{{Max: 1, Hours: 1}, {Max: 1}}
		}, want: Show, until: noon.Add(time.Minute)},
		"own, and one before": {edit: func(q *Request) {
			q.Own = true
			q.shown(baker, 2, 1, true)
			q.shown(grocer, 1, 0, true)
			q.Home.Caps = []Cap{{Max: 1, Hours: 1}}
		}, want: Hold, rules: "frequency", until: noon.Add(time.Hour)},
		"own, and one after": {edit: func(q *Request) {
			q.Own = true
			q.shown(grocer, 1, 1, true)
			q.shown(baker, 2, 0, true)
			q.Home.Caps = []Cap{{Max: 1, Hours: 1}}
		}, want: Show, until: noon.Add(time.Minute)},
		"own, and none ever":       {edit: func(q *Request) { q.Own = true; q.shown(grocer, 1, 0, true); q.Home.Caps = []Cap{{Max: 0, Hours: 1}} }, want: Refuse, rules: "frequency"},
		"reservation of the other": {edit: func(q *Request) { q.shown(baker, 2, 0, true); q.Home.Caps = []Cap{{Max: 1, Hours: 1}} }, want: Hold, rules: "frequency", until: noon.Add(time.Hour)},
		"two in 45 minutes, had two": {edit: func(q *Request) {
			q.shown(grocer, 2, 30*time.Minute, false)
			q.shown(grocer, 3, 20*time.Minute, false)
			q.Home.Caps = []Cap{{Max: 2, Minutes: 45}}
		}, want: Hold, rules: "frequency", until: noon.Add(15 * time.Minute)},
		"one a week, had it on Monday": {edit: func(q *Request) {
			q.shown(grocer, 2, hours(60), false)
			q.Home.Caps = []Cap{{Max: 1, Week: true}}
		}, want: Hold, rules: "frequency", until: noon.Add(hours(108))},
		"one a week, had it on Sunday": {edit: func(q *Request) {
			q.shown(grocer, 2, hours(60)+time.Millisecond, false)
			q.Home.Caps = []Cap{{Max: 1, Week: true}}
		}, want: Show, until: noon.Add(time.Minute)},
		"one a week in no zone": {edit: func(q *Request) { q.Home.Zone = nil; q.Home.Caps = []Cap{{Max: 1, Week: true}} }, want: Hold, rules: "frequency"},
		"a week of hours":       {edit: func(q *Request) { q.Home.Caps = []Cap{{Max: 1, Week: true, Hours: 1}} }, want: Refuse, rules: "frequency"},
		"a week of trips":       {device.Car, func(q *Request) { q.Home.Caps = []Cap{{Max: 1, Week: true, Trip: true}} }, Refuse, "frequency", 0},
		"one a trip, on a TV":   {edit: func(q *Request) { q.trip(noon, 0); q.Home.Caps = []Cap{{Max: 0, Trip: true}} }, want: Show, until: noon.Add(time.Minute)},
		"one a trip, had it":    {device.Car, func(q *Request) { q.trip(noon.Add(-time.Hour), time.Hour); q.Home.Caps = []Cap{{Max: 1, Trip: true}} }, Hold, "safety,frequency", 0},
		"one a trip, had it before": {device.Car, func(q *Request) {
			q.trip(noon.Add(-time.Hour), time.Hour+1e6)
			q.Home.Caps = []Cap{{Max: 1, Trip: true}}
		}, Show, "", noon.Add(5 * time.Second)},
		"one a trip, nobody knows": {device.Car, func(q *Request) { q.trip(0, hours(23)); q.Home.Caps = []Cap{{Max: 1, Trip: true}} }, Hold, "safety,frequency", noon.Add(time.Hour)},
		"one a trip, a day ago":    {device.Car, func(q *Request) { q.trip(0, hours(24)); q.Home.Caps = []Cap{{Max: 1, Trip: true}} }, Show, "", noon.Add(5 * time.Second)},
		"one a trip, it begins in a minute": {device.Car, func(q *Request) {
			q.trip(noon.Add(time.Minute), hours(1))
			q.Home.Caps = []Cap{{Max: 1, Trip: true}}
		}, Hold, "safety,frequency", noon.Add(time.Minute)},
		"one a trip, on another car": {device.Car, func(q *Request) {
			q.trip(noon.Add(-time.Hour), time.Minute)
			q.Home.Shown[0].Device = "fridge-1"
			q.Home.Caps = []Cap{{Max: 1, Trip: true}}
		}, Show, "", noon.Add(5 * time.Second)},
		"each category one, had it": {edit: func(q *Request) {
			q.shown(baker, 2, 0, false)
			q.Home.Shown[0].Category = "dairy"
			q.Home.Caps = []Cap{{EachCategory: true, Max: 1, Hours: 1}}
		}, want: Hold, rules: "frequency", until: noon.Add(time.Hour)},
		"each category one, had another": {edit: func(q *Request) {
			q.shown(baker, 2, 0, false)
			q.Home.Shown[0].Category = "meat"
			q.Home.Caps = []Cap{{EachCategory: true, Max: 1, Hours: 1}}
		}, want: Show, until: noon.Add(time.Minute)},
		"each category one, has none": {edit: func(q *Request) {
			q.Message.Category = ""
			q.shown(baker, 2, 0, false)
			q.Home.Caps = []Cap{{EachCategory: true, Max: 1, Hours: 1}}
		}, want: Show, until: noon.Add(time.Minute)},
		"45 minutes apart, 30 ago":  {edit: func(q *Request) { q.shown(baker, 2, 30*time.Minute, false); q.Home.Caps = []Cap{{Max: 1, Minutes: 45}} }, want: Hold, rules: "spacing", until: noon.Add(15 * time.Minute)},
		"45 minutes apart, 45 ago":  {edit: func(q *Request) { q.shown(baker, 2, 45*time.Minute, false); q.Home.Caps = []Cap{{Max: 1, Minutes: 45}} }, want: Show, until: noon.Add(time.Minute)},
		"each 45 minutes apart":     {edit: func(q *Request) { q.shown(baker, 2, 0, false); q.Home.Caps = []Cap{{Each: true, Max: 1, Minutes: 45}} }, want: Show, until: noon.Add(time.Minute)},
		"two windows at once":       {edit: func(q *Request) { q.Home.Caps = []Cap{{Max: 1, Hours: 1, Minutes: 45}} }, want: Refuse, rules: "spacing"},
		"a rest of more than a day": {edit: func(q *Request) { q.Home.Caps = []Cap{{Max: 2, Minutes: 1441}} }, want: Refuse, rules: "frequency"},
		"none in these minutes":     {edit: func(q *Request) { q.Home.Caps = []Cap{{Max: 0, Minutes: 45}} }, want: Refuse, rules: "frequency"},
		"of a purpose, had it": {edit: func(q *Request) {
			q.shown(baker, 2, 0, false)
			q.Home.Caps = []Cap{{Selector: Selector{Purpose: Marketing}, Max: 1, Hours: 1}}
		}, want: Hold, rules: "frequency", until: noon.Add(time.Hour)},
		"of a purpose, had another": {edit: func(q *Request) {
			q.shown(baker, 2, 0, false)
			q.Home.Shown[0].Purpose = Service
			q.Home.Caps = []Cap{{Selector: Selector{Purpose: Marketing}, Max: 1, Hours: 1}}
		}, want: Show, until: noon.Add(time.Minute)},
		"of another purpose": {edit: func(q *Request) { q.Home.Caps = []Cap{{Selector: Selector{Purpose: Service}, Max: 0, Hours: 1}} }, want: Show, until: noon.Add(time.Minute)},
		"of a category, had it": {edit: func(q *Request) {
			q.shown(baker, 2, 0, false)
			q.Home.Shown[0].Category = "dairy"
			q.Home.Caps = []Cap{{Selector: Selector{Category: "dairy"}, Max: 1, Hours: 1}}
		}, want: Hold, rules: "frequency", until: noon.Add(time.Hour)},
		"of a category, had another": {edit: func(q *Request) {
			q.shown(baker, 2, 0, false)
			q.Home.Caps = []Cap{{Selector: Selector{Category: "dairy"}, Max: 1, Hours: 1}}
		}, want: Show, until: noon.Add(time.Minute)},
		"on a device, had it": {edit: func(q *Request) {
			q.shown(baker, 2, 0, false)
			q.Home.Shown[0].Device = "screen-1"
			q.Home.Caps = []Cap{{Selector: Selector{Device: "screen-1"}, Max: 1, Hours: 1}}
		}, want: Hold, rules: "frequency", until: noon.Add(time.Hour)},
		"on a device, had elsewhere": {edit: func(q *Request) {
			q.shown(baker, 2, 0, false)
			q.Home.Shown[0].Device = "fridge-1"
			q.Home.Caps = []Cap{{Selector: Selector{Device: "screen-1"}, Max: 1, Hours: 1}}
		}, want: Show, until: noon.Add(time.Minute)},
		"on televisions, on fridge": {edit: func(q *Request) {
			q.shown(baker, 2, 0, false)
			q.Home.Shown[0].Device = "fridge-1"
			q.Home.Caps = []Cap{{Selector: Selector{Class: device.TV}, Max: 1, Hours: 1}}
		}, want: Show, until: noon.Add(time.Minute)},
		"on televisions, on one": {edit: func(q *Request) {
			q.shown(baker, 2, 0, false)
			q.Home.Shown[0].Device = "screen-1"
			q.Home.Caps = []Cap{{Selector: Selector{Class: device.TV}, Max: 1, Hours: 1}}
		}, want: Hold, rules: "frequency", until: noon.Add(time.Hour)},
		"on televisions, on what is gone": {edit: func(q *Request) {
			q.shown(baker, 2, 0, false)
			q.Home.Shown[0].Device = "gone-1"
			q.Home.Caps = []Cap{{Selector: Selector{Class: device.TV}, Max: 1, Hours: 1}}
		}, want: Hold, rules: "frequency", until: noon.Add(time.Hour)},
		"in a room, had in another": {edit: func(q *Request) {
			q.Screen.Room, q.Home.Screens[1].Room = 1, 2
			q.shown(baker, 2, 0, false)
			q.Home.Shown[0].Device = "fridge-1"
			q.Home.Caps = []Cap{{Selector: Selector{Room: 1}, Max: 1, Hours: 1}}
		}, want: Show, until: noon.Add(time.Minute)},
		"in a room, had there": {edit: func(q *Request) {
			q.Screen.Room, q.Home.Screens[1].Room = 1, 1
			q.shown(baker, 2, 0, false)
			q.Home.Shown[0].Device = "fridge-1"
			q.Home.Caps = []Cap{{Selector: Selector{Room: 1}, Max: 1, Hours: 1}}
		}, want: Hold, rules: "frequency", until: noon.Add(time.Hour)},
		"somebody's, who saw it": {edit: func(q *Request) {
			q.shown(baker, 2, 0, false)
			q.Home.Shown[0].Who = []device.PersonID{ben}
			q.Home.Caps = []Cap{{Owner: ben, Max: 1, Hours: 1}}
		}, want: Hold, rules: "frequency", until: noon.Add(time.Hour)},
		"somebody's, who did not": {edit: func(q *Request) {
			q.shown(baker, 2, 0, false)
			q.Home.Shown[0].Who = []device.PersonID{ada}
			q.Home.Caps = []Cap{{Owner: ben, Max: 1, Hours: 1}}
		}, want: Show, until: noon.Add(time.Minute)},
		"somebody's, who may have": {edit: func(q *Request) {
			q.shown(baker, 2, 0, false)
			q.Home.Shown[0].Unknown = true
			q.Home.Caps = []Cap{{Owner: ben, Max: 1, Hours: 1}}
		}, want: Hold, rules: "frequency", until: noon.Add(time.Hour)},
		"somebody's, who is not there": {edit: func(q *Request) {
			q.choose(ada, Given)
			q.seen("1")
			q.shown(baker, 2, 0, false)
			q.Home.Shown[0].Unknown = true
			q.Home.Caps = []Cap{{Owner: ben, Max: 1, Hours: 1}, {Owner: ben, Max: 0}}
		}, want: Show, until: noon.Add(time.Minute)},
		"none, for who is there": {edit: func(q *Request) {
			q.choose(ben, Given)
			q.seen("2")
			q.Home.Caps = []Cap{{Owner: ben, Max: 0}}
		}, want: Hold, rules: "frequency"},

		// Dedupe.
		"open elsewhere":         {edit: func(q *Request) { q.shown(grocer, 1, 0, true) }, want: Hold, rules: "dedupe"},
		"shown before":           {edit: func(q *Request) { q.shown(grocer, 1, hours(100), false) }, want: Refuse, rules: "dedupe"},
		"open here":              {edit: func(q *Request) { q.Own = true; q.shown(grocer, 1, 0, true) }, want: Show, until: noon.Add(time.Minute)},
		"another message before": {edit: func(q *Request) { q.shown(grocer, 2, 0, false) }, want: Show, until: noon.Add(time.Minute)},

		// The message's own condition.
		"wants a fridge open, it is": {edit: func(q *Request) {
			q.Message.When = []Predicate{{device.Fridge, device.DoorOpen, EQ, val(device.DoorOpen, true)}}
		}, want: Show, until: noon.Add(time.Minute)},
		"wants it, nobody knows": {edit: func(q *Request) {
			*q.Home.Screens[1].Context = device.Context{}
			q.Message.When = []Predicate{{device.Fridge, device.DoorOpen, EQ, val(device.DoorOpen, true)}}
		}, want: Hold, rules: "context"},
		"wants it not, nobody knows": {edit: func(q *Request) {
			*q.Home.Screens[1].Context = device.Context{}
			q.Message.When = []Predicate{{device.Fridge, device.DoorOpen, NE, val(device.DoorOpen, true)}}
		}, want: Hold, rules: "context"},
		"wants it shut": {edit: func(q *Request) {
			q.Message.When = []Predicate{{device.Fridge, device.DoorOpen, EQ, val(device.DoorOpen, false)}}
		}, want: Hold, rules: "context"},
		"one of two fridges": {edit: func(q *Request) {
			s := *q.Home.Screens[1]
			s.Context = nil
			q.Home.Screens = append(q.Home.Screens, &s)
			q.Message.When = []Predicate{{device.Fridge, device.DoorOpen, EQ, val(device.DoorOpen, true)}}
		}, want: Show, until: noon.Add(time.Minute)},
		"this screen is paused": {edit: func(q *Request) {
			q.Message.When = []Predicate{{0, device.PlayerState, EQ, val(device.PlayerState, "paused")}}
		}, want: Show, until: noon.Add(time.Minute)},
		"this screen is not idle": {edit: func(q *Request) {
			q.Message.When = []Predicate{{0, device.PlayerState, NE, val(device.PlayerState, "idle")}}
		}, want: Show, until: noon.Add(time.Minute)},
		"this screen has no door": {edit: func(q *Request) { q.Message.When = []Predicate{{0, device.DoorOpen, NE, val(device.DoorOpen, true)}} }, want: Hold, rules: "context"},
		"a volume below a half": {edit: func(q *Request) {
			q.tell(device.VolumeLevel, 0.4, 0)
			q.Message.When = []Predicate{{0, device.VolumeLevel, LT, val(device.VolumeLevel, 0.5)}}
		}, want: Show, until: noon.Add(time.Minute)},
		"a volume of a half": {edit: func(q *Request) {
			q.tell(device.VolumeLevel, 0.5, 0)
			q.Message.When = []Predicate{{0, device.VolumeLevel, LT, val(device.VolumeLevel, 0.5)}}
		}, want: Hold, rules: "context"},
		"a source by name": {edit: func(q *Request) {
			q.tell(device.Source, "HDMI 1", 0)
			q.Home.Consents[ConsentKey{device.Household, grocer, Context}] = Stance{Choice: Given}
			q.Message.When = []Predicate{{0, device.Source, EQ, val(device.Source, "HDMI 1")}}
		}, want: Show, until: noon.Add(time.Minute)},
		"not a source by name": {edit: func(q *Request) {
			q.tell(device.Source, "HDMI 1", 0)
			q.Home.Consents[ConsentKey{device.Household, grocer, Context}] = Stance{Choice: Given}
			q.Message.When = []Predicate{{0, device.Source, NE, val(device.Source, "HDMI 2")}}
		}, want: Show, until: noon.Add(time.Minute)},
		"a source by another name": {edit: func(q *Request) {
			q.tell(device.Source, "HDMI 1", 0)
			q.Home.Consents[ConsentKey{device.Household, grocer, Context}] = Stance{Choice: Given}
			q.Message.When = []Predicate{{0, device.Source, EQ, val(device.Source, "HDMI 2")}}
		}, want: Hold, rules: "context"},
		"a predicate of nothing": {edit: func(q *Request) { q.Message.When = []Predicate{{}} }, want: Refuse, rules: "context"},
		"an op of no meaning": {edit: func(q *Request) {
			q.Message.When = []Predicate{{0, device.PlayerState, GT, val(device.PlayerState, "off")}}
		}, want: Refuse, rules: "context"},

		// Validity.
		"too early":         {edit: func(q *Request) { q.Message.NotBefore = noon + 1 }, want: Hold, rules: "validity", until: noon + 1},
		"just in time":      {edit: func(q *Request) { q.Message.NotBefore = noon }, want: Show, until: noon.Add(time.Minute)},
		"over":              {edit: func(q *Request) { q.Message.NotAfter = noon }, want: Refuse, rules: "validity"},
		"nearly over":       {edit: func(q *Request) { q.Message.NotAfter = noon + 1 }, want: Show, until: noon + 1},
		"without an end":    {edit: func(q *Request) { q.Message.NotAfter = 0 }, want: Refuse, rules: "validity"},
		"ends as it begins": {edit: func(q *Request) { q.Message.NotBefore, q.Message.NotAfter = noon+9, noon+9 }, want: Refuse, rules: "validity"},
		"without a purpose": {edit: func(q *Request) {
			q.Message.Purpose = NoPurpose
			q.Home.Consents[ConsentKey{0, grocer, NoPurpose}] = Stance{Choice: Given}
		}, want: Refuse, rules: "validity"},
		"purpose unknown": {edit: func(q *Request) {
			q.Message.Purpose = 99
			q.Home.Consents[ConsentKey{0, grocer, 99}] = Stance{Choice: Given}
		}, want: Refuse, rules: "validity"},
		"without a brand": {edit: func(q *Request) {
			q.Message.Brand = ""
			q.Home.Consents[ConsentKey{0, "", Marketing}] = Stance{Choice: Given}
		}, want: Refuse, rules: "validity"},
		"without an ID":   {edit: func(q *Request) { q.Message.ID = device.MessageID{} }, want: Refuse, rules: "validity"},
		"without a clock": {device.Fridge, func(q *Request) { q.Now = 0 }, Refuse, "validity", 0},
		"beyond all time": {device.Fridge, func(q *Request) { q.Now, q.Message.NotAfter = 1<<62, 1<<63-1 }, Refuse, "validity", 0},

		// Capability.
		"for cars only":     {edit: func(q *Request) { q.Message.Classes = []device.Class{device.Car} }, want: Refuse, rules: "capability"},
		"for cars and TVs":  {edit: func(q *Request) { q.Message.Classes = []device.Class{device.Car, device.TV} }, want: Show, until: noon.Add(time.Minute)},
		"no form in common": {edit: func(q *Request) { q.Screen.Can.Forms = []device.Form{device.Badge} }, want: Refuse, rules: "capability"},
		"a form common to two of three": {device.Car, func(q *Request) {
			q.Message.Forms = []device.Form{device.Toast, device.List}
			q.Screen.Can.Forms = []device.Form{device.Toast}
		}, Refuse, "capability", 0},
		"can do nothing":    {edit: func(q *Request) { q.Screen.Can = device.Capabilities{} }, want: Refuse, rules: "capability"},
		"no text":           {edit: func(q *Request) { q.Message.Texts = nil }, want: Refuse, rules: "capability"},
		"three buttons":     {edit: func(q *Request) { q.Message.Buttons = make([]Button, 3) }, want: Show, until: noon.Add(time.Minute)},
		"four buttons":      {edit: func(q *Request) { q.Message.Buttons = make([]Button, 4) }, want: Refuse, rules: "capability"},
		"five buttons ever": {edit: func(q *Request) { q.Screen.Can.MaxButtons = 9; q.Message.Buttons = make([]Button, 5) }, want: Refuse, rules: "capability"},
		"buttons, no input": {edit: func(q *Request) { q.Screen.Can.Inputs = 0; q.Message.Buttons = make([]Button, 1) }, want: Refuse, rules: "capability"},
		"no input, no need": {edit: func(q *Request) { q.Screen.Can.Inputs = 0 }, want: Show, until: noon.Add(time.Minute)},
		"everything at once": {edit: func(q *Request) {
			q.Home.Consents = nil
			q.Screen.Context = nil
			q.Message.NotBefore = noon + 1
			q.Home.Mutes = []MuteRule{{}}
		}, want: Refuse, rules: "safety,consent,mute,validity"},
		"muted and too early": {edit: func(q *Request) { q.Message.NotBefore = noon + 1; q.Home.Mutes = []MuteRule{{}} }, want: Refuse, rules: "mute,validity"},
		"two that wait":       {edit: func(q *Request) { q.Message.NotBefore = noon + 5; q.Home.Quiet = []Quiet{{Start: 720, End: 780}} }, want: Hold, rules: "quiet,validity", until: noon.Add(time.Hour)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := tt.class
			if c == 0 && !strings.HasPrefix(name, "class") {
				c = device.TV
			}
			q := good(c)
			tt.edit(q)
			d := Decide(*q)
			if d.Verdict != tt.want || d.Reasons.String() != tt.rules {
				t.Fatalf("got %s for %q, want %s for %q\n%s", d.Verdict, d.Reasons, tt.want, tt.rules, describe(*q))
			}
			until := tt.until
			if d.Verdict == Hold && until == 0 { // waits for a fact
				until = q.Message.NotAfter
			}
			if d.Until != until {
				t.Errorf("%s until %s, want %s\n%s", d.Verdict, d.Until, until, describe(*q))
			}
			if d.Verdict != Hold && d.Watch != 0 {
				t.Errorf("%s, and watches %s", d.Verdict, d.Watch)
			}
			if d.Verdict == Hold && !d.Reasons.Has(d.Watch) {
				t.Errorf("watches %s, which is not among the reasons %q", d.Watch, d.Reasons)
			}
			if causes := Causes(*q, d); len(causes) < len(d.Reasons.Rules()) {
				t.Errorf("%q is explained by %+v only", d.Reasons, causes)
			}
		})
	}
}

func TestDecideWatches(t *testing.T) {
	q := good(device.TV)
	q.Message.NotBefore = noon + 5
	q.Home.Quiet = []Quiet{{Start: 720, End: 780}}
	if d := Decide(*q); d.Watch != QuietTime {
		t.Errorf("of quiet for an hour and 5 ms of patience it watches %s", d.Watch)
	}
	q.Message.NotBefore = noon.Add(2 * time.Hour)
	if d := Decide(*q); d.Watch != Validity {
		t.Errorf("of quiet for an hour and two hours of patience it watches %s", d.Watch)
	}
	q.Home.Alarm = true
	if d := Decide(*q); d.Watch != Safety || d.Until != q.Message.NotAfter {
		t.Errorf("of an alarm and quiet time it watches %s until %s", d.Watch, d.Until)
	}
}

func TestDecideChoosesFormAndText(t *testing.T) {
	tests := map[string]struct {
		edit func(*Request)
		form device.Form
		text int
	}{
		"the first form both like": {func(q *Request) {}, device.Toast, 1},
		"the second":               {func(q *Request) { q.Screen.Can.Forms = []device.Form{device.List} }, device.List, 1},
		"never by voice":           {func(q *Request) { q.Message.Forms = []device.Form{device.Voice, device.Panel} }, device.Panel, 1},
		"no language in common":    {func(q *Request) { q.Screen.Can.Languages = []string{"fr"} }, device.Toast, 0},
		"no language":              {func(q *Request) { q.Screen.Can.Languages = nil }, device.Toast, 0},
		"second language":          {func(q *Request) { q.Screen.Can.Languages = []string{"fr", "DE"} }, device.Toast, 1},
		"a region for the language": {func(q *Request) {
			q.Screen.Can.Languages = []string{"en"}
			q.Message.Texts[0].Language = "fr"
			q.Message.Texts[1].Language = "en-GB"
		}, device.Toast, 1},
		"not a part of a subtag":      {func(q *Request) { q.Screen.Can.Languages = []string{"d"} }, device.Toast, 0},
		"the very same before a part": {func(q *Request) { q.Message.Texts = append(q.Message.Texts, MessageText{Language: "de-ch"}) }, device.Toast, 2},
		"the longest part": {func(q *Request) {
			q.Screen.Can.Languages = []string{"de-CH-1996"}
			q.Message.Texts = append(q.Message.Texts, MessageText{Language: "de-CH"})
		}, device.Toast, 2},
		"an empty tag is no tag": {func(q *Request) { q.Screen.Can.Languages = []string{""}; q.Message.Texts[1].Language = "" }, device.Toast, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			q := good(device.TV)
			tt.edit(q)
			if d := Decide(*q); d.Verdict != Show || d.Form != tt.form || d.Text != tt.text {
				t.Errorf("got %s as %s with text %d, want %s with text %d", d.Verdict, d.Form, d.Text, tt.form, tt.text)
			}
		})
	}
}

func TestDecideIsTotal(t *testing.T) {
	tests := map[string]func(*Request){
		"nothing":    func(q *Request) { *q = Request{} },
		"no home":    func(q *Request) { q.Home = nil },
		"no screen":  func(q *Request) { q.Screen = nil },
		"no message": func(q *Request) { q.Message = nil },
		"zeros":      func(q *Request) { *q = Request{Home: &Home{}, Screen: &Screen{}, Message: &Message{}} },
	}
	for name, edit := range tests {
		t.Run(name, func(t *testing.T) {
			q := good(device.TV)
			edit(q)
			d := Decide(*q)
			if d.Verdict != Refuse || d.Reasons == 0 || len(Causes(*q, d)) == 0 {
				t.Errorf("got %+v, explained by %+v", d, Causes(*q, d))
			}
		})
	}
	t.Run("screens of the home", func(t *testing.T) {
		q := good(device.TV)
		q.Home.Screens = append(q.Home.Screens, nil)
		q.Message.When = []Predicate{{device.Fridge, device.DoorOpen, EQ, val(device.DoorOpen, true)}}
		if d := Decide(*q); d.Verdict != Show {
			t.Errorf("got %+v", d)
		}
	})
	t.Run("a rule that panics", func(t *testing.T) {
		broken := book
		broken[Mute] = func(q Request) finding { panic("a bug") }
		if d := broken.decide(*good(device.TV)); d.Verdict != Refuse || d.Reasons.String() != "mute" {
			t.Errorf("got %+v", d)
		}
	})
	t.Run("a rule beyond Show", func(t *testing.T) {
		broken := book
		broken[Mute] = func(q Request) finding { return finding{verdict: 7} }
		if d := broken.decide(*good(device.TV)); d.Verdict != Refuse {
			t.Errorf("got %+v", d)
		}
	})
}

func TestDecideAllocatesNothing(t *testing.T) {
	for c := range calm {
		q := good(c)
		q.shown(grocer, 2, time.Hour, false)
		q.Home.Caps = []Cap{{Max: 9}, {Each: true, Max: 9, Hours: 24}}
		q.Home.Quiet = []Quiet{{Start: 1320, End: 420}}
		q.Home.Mutes = []MuteRule{{Selector: Selector{Brand: baker}}}
		q.Message.When = []Predicate{{device.Fridge, device.DoorOpen, NE, val(device.DoorOpen, false)}}
		q.seen("1 2@0.9 x 9@0.5")
		q.next("2")
		q.tell(device.PresenceCount, 3.0, 0)
		q.Home.Caps = append(q.Home.Caps, Cap{Max: 1, Minutes: 45, Owner: ben}, Cap{Selector: Selector{Class: c, Room: 1}, Max: 9, Hours: 24})
		q.Home.Mutes = append(q.Home.Mutes, MuteRule{Content: Sound}, MuteRule{Content: Picture, Until: noon + 5, Owner: ben})
		q.Home.Quiet = append(q.Home.Quiet, Quiet{Start: 1320, End: 420, Zone: "Asia/Kathmandu", Clock: zone("Asia/Kathmandu"), Owner: ada})
		q.Home.Moments = []Moment{Film, Call, Sleep}
		q.Home.Signals = []Signal{{"fridge-1", 1 << Service}}
		q.Home.Languages = []string{"fr", "de"}
		q.choose(ada, Given)
		q.choose(ben, Given)
		q.Message.Category = "health-insurance"
		for name, now := range map[string]device.Instant{"show": noon, "hold": noon.Add(hours(12)), "refuse": q.Message.NotAfter} {
			q.Now = now
			if n := testing.AllocsPerRun(100, func() { Decide(*q) }); n != 0 {
				t.Errorf("%s, to %s: %v allocations", c, name, n)
			}
		}
	}
}

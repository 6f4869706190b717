package policy

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"porchlight/device"
)

// J1 to J10, as far as the judge knows them: each case changes one thing in a message that would be shown.
func TestJoined(t *testing.T) {
	const day = 24 * time.Hour
	// other is one of the same brand that was shown on the fridge an hour ago, and let go by.
	other := func(q *Request, edit func(e *Exposure)) {
		e := Exposure{At: q.Now.Add(-time.Hour), Brand: grocer, Message: id(2), Purpose: Marketing, Device: "fridge-1", Ended: q.Now.Add(-time.Hour + time.Minute), Reaction: Ignored}
		edit(&e)
		q.Home.Shown = append(q.Home.Shown, e)
	}
	key := func(q *Request, edit func(e *Exposure)) {
		q.Message.Dedupe = "milk"
		other(q, func(e *Exposure) { e.Dedupe = "milk"; edit(e) })
	}
	// second is the second step, after a first that was let go by.
	second := func(q *Request, edit func(e *Exposure)) {
		q.Message.Journey, q.Message.Step = "run", 2
		other(q, func(e *Exposure) { e.Journey, e.Step = "run", 1; edit(e) })
	}
	same := func(*Exposure) {}
	echo := func(q *Request, edit func(e *Exposure)) {
		q.Message.Echo = Remind
		other(q, func(e *Exposure) { e.Reaction, e.Act = Acted, Remind; edit(e) })
	}
	end := noon.Add(30 * day) // of the good message
	tests := map[string]struct {
		edit  func(q *Request)
		want  Verdict
		rules string
		until device.Instant // of a Hold
		code  Code
	}{
		// J1
		"another with its key was shown": {func(q *Request) { key(q, same) }, Refuse, "dedupe", 0, ShownBefore},
		"of another brand":               {func(q *Request) { key(q, func(e *Exposure) { e.Brand = baker }) }, Show, "", 0, ""},
		"with another key":               {func(q *Request) { key(q, func(e *Exposure) { e.Dedupe = "bread" }) }, Show, "", 0, ""},
		"neither has a key":              {func(q *Request) { key(q, func(e *Exposure) { e.Dedupe = "" }); q.Message.Dedupe = "" }, Show, "", 0, ""},
		"31 days ago":                    {func(q *Request) { key(q, func(e *Exposure) { e.At = q.Now.Add(-31 * day) }) }, Show, "", 0, ""},
		"31 days ago tomorrow":           {func(q *Request) { key(q, func(e *Exposure) { e.At = q.Now.Add(-30 * day) }) }, Hold, "dedupe", noon.Add(day), ShownBefore},
		"31 days ago when it is over":    {func(q *Request) { key(q, func(e *Exposure) { e.At = q.Now.Add(-day) }) }, Refuse, "dedupe", 0, ShownBefore},
		"another with its key is open":   {func(q *Request) { key(q, func(e *Exposure) { e.Open = true }) }, Hold, "dedupe", end, OnAnother},
		"it is a later step":             {func(q *Request) { second(q, func(e *Exposure) { e.Dedupe = "milk" }); q.Message.Dedupe = "milk" }, Show, "", 0, ""},
		"it is an earlier step": {func(q *Request) {
			key(q, func(e *Exposure) { e.Journey, e.Step = "run", 2 })
			q.Message.Journey, q.Message.Step = "run", 1
		}, Refuse, "dedupe", 0, ShownBefore},
		"it is a later step of another": {func(q *Request) {
			key(q, func(e *Exposure) { e.Journey, e.Step = "run-2", 1 })
			q.Message.Journey, q.Message.Step = "run", 2
		}, Refuse, "dedupe,sequence", 0, ShownBefore},
		"it is open here, another was let go": {func(q *Request) { key(q, same); q.Own = true }, Show, "", 0, ""},
		"steps of nothing":                    {func(q *Request) { key(q, func(e *Exposure) { e.Step = 1 }); q.Message.Step = 2 }, Refuse, "dedupe", 0, ShownBefore},
		"another message of the same step": {func(q *Request) {
			key(q, func(e *Exposure) { e.Journey, e.Step = "run", 1 })
			q.Message.Journey, q.Message.Step = "run", 1
		}, Refuse, "dedupe", 0, ShownBefore},
		// J4
		"it is open here, another was answered":  {func(q *Request) { key(q, func(e *Exposure) { e.Reaction = Acted }); q.Own = true }, Refuse, "dedupe", 0, ShownBefore},
		"it is open here, another was dismissed": {func(q *Request) { key(q, func(e *Exposure) { e.Reaction = Dismissed }); q.Own = true }, Refuse, "dedupe", 0, ShownBefore},
		"it is open here, the step before was answered": {func(q *Request) {
			second(q, func(e *Exposure) { e.Reaction = Acted; e.Dedupe = "milk" })
			q.Message.Dedupe = "milk"
			q.Own = true
		}, Show, "", 0, ""},
		"it is open here, and was answered there": {func(q *Request) {
			other(q, func(e *Exposure) { e.Message, e.Reaction = q.Message.ID, Acted })
			q.Own = true
		}, Refuse, "dedupe", 0, ShownBefore},
		"it is open here again, and was answered here": {func(q *Request) {
			other(q, func(e *Exposure) { e.Message, e.Device, e.Reaction = q.Message.ID, "screen-1", Acted })
			q.Own = true
		}, Show, "", 0, ""},
		"its step was answered elsewhere": {func(q *Request) {
			second(q, func(e *Exposure) { e.Step, e.Reaction = 1, Acted })
			q.Message.Step = 1
			q.Own = true
		}, Refuse, "sequence", 0, StepOver},
		"its step was let go by elsewhere": {func(q *Request) { second(q, same); q.Message.Step = 1 }, Show, "", 0, ""},
		// J5
		"the step before was let go by":       {func(q *Request) { second(q, same) }, Show, "", 0, ""},
		"the step before is another brand's":  {func(q *Request) { second(q, func(e *Exposure) { e.Brand = baker }) }, Hold, "sequence", end, StepWaits},
		"the step before is another run's":    {func(q *Request) { second(q, func(e *Exposure) { e.Journey = "run-2" }) }, Hold, "sequence", end, StepWaits},
		"only a step before that was there":   {func(q *Request) { second(q, same); q.Message.Step = 3 }, Hold, "sequence", end, StepWaits},
		"the step before is open":             {func(q *Request) { second(q, func(e *Exposure) { e.Open = true }) }, Hold, "sequence", end, StepWaits},
		"it was to be acted on":               {func(q *Request) { second(q, same); q.Message.After = Acted }, Refuse, "sequence", 0, StepOver},
		"it was to be let go by":              {func(q *Request) { second(q, same); q.Message.After = Ignored }, Show, "", 0, ""},
		"it was to be dismissed":              {func(q *Request) { second(q, same); q.Message.After = Dismissed }, Refuse, "sequence", 0, StepOver},
		"it was to be seen":                   {func(q *Request) { second(q, same); q.Message.After = Seen }, Show, "", 0, ""},
		"it was to be seen, and nobody knows": {func(q *Request) { second(q, func(e *Exposure) { e.Reaction = NoReaction }); q.Message.After = Seen }, Refuse, "sequence", 0, StepOver},
		"nobody knows, and any end will do":   {func(q *Request) { second(q, func(e *Exposure) { e.Reaction = NoReaction }) }, Show, "", 0, ""},
		"it ended otherwise, and is open anew": {func(q *Request) {
			second(q, same)
			q.Message.After = Acted
			second(q, func(e *Exposure) { e.Message, e.Open = id(3), true })
		}, Hold, "sequence", end, StepWaits},
		"it ended so 31 days ago": {func(q *Request) { second(q, func(e *Exposure) { e.At = q.Now.Add(-31 * day) }) }, Refuse, "sequence", 0, StepOver},
		// J6
		"its item was got":               {func(q *Request) { q.Message.Item = "g"; q.Home.Got = []Got{{"g", q.Now}} }, Hold, "sequence", noon.Add(14 * day), GotAlready},
		"another item was got":           {func(q *Request) { q.Message.Item = "g"; q.Home.Got = []Got{{"h", q.Now}} }, Show, "", 0, ""},
		"nothing in particular, was got": {func(q *Request) { q.Home.Got = []Got{{"", q.Now}} }, Show, "", 0, ""},
		"its item was got 14 days ago":   {func(q *Request) { q.Message.Item = "g"; q.Home.Got = []Got{{"g", q.Now.Add(-14 * day)}} }, Show, "", 0, ""},
		"its item was got twice":         {func(q *Request) { q.Message.Item = "g"; q.Home.Got = []Got{{"g", q.Now}, {"g", q.Now.Add(-day)}} }, Hold, "sequence", noon.Add(14 * day), GotAlready},
		"it is over before that": {func(q *Request) {
			q.Message.Item, q.Message.NotAfter = "g", noon.Add(13*day)
			q.Home.Got = []Got{{"g", q.Now}}
		}, Refuse, "sequence", 0, GotAlready},
		"its item was got, it is open":    {func(q *Request) { q.Message.Item = "g"; q.Home.Got = []Got{{"g", q.Now}}; q.Own = true }, Hold, "sequence", noon.Add(14 * day), GotAlready},
		"its item was got, it is service": {func(q *Request) { q.Message.Item = "g"; q.Home.Got = []Got{{"g", q.Now}}; serve(q) }, Show, "", 0, ""},
		// J7
		"something is wrong with its brand":            {func(q *Request) { q.Home.Complaints = []Complaint{{grocer, q.Now.Add(-day)}} }, Hold, "sequence", end, OpenComplaint},
		"something is wrong with another":              {func(q *Request) { q.Home.Complaints = []Complaint{{baker, q.Now}} }, Show, "", 0, ""},
		"something is wrong, and this is service":      {func(q *Request) { q.Home.Complaints = []Complaint{{grocer, q.Now}}; serve(q) }, Show, "", 0, ""},
		"something is wrong, and it is on this screen": {func(q *Request) { q.Home.Complaints = []Complaint{{grocer, q.Now}}; q.Own = true }, Hold, "sequence", end, OpenComplaint},
		// J10
		"it speaks of what somebody did":    {func(q *Request) { echo(q, same) }, Show, "", 0, ""},
		"nobody did anything":               {func(q *Request) { echo(q, same); q.Home.Shown = nil }, Hold, "sequence", noon.Add(30 * day), NobodyDid},
		"somebody did something else":       {func(q *Request) { echo(q, func(e *Exposure) { e.Act = Add }) }, Hold, "sequence", noon.Add(30 * day), NobodyDid},
		"somebody did it for another brand": {func(q *Request) { echo(q, func(e *Exposure) { e.Brand = baker }) }, Hold, "sequence", noon.Add(30 * day), NobodyDid},
		"somebody did it 31 days ago":       {func(q *Request) { echo(q, func(e *Exposure) { e.At = q.Now.Add(-31 * day) }) }, Hold, "sequence", noon.Add(30 * day), NobodyDid},
		"somebody did it with another item": {func(q *Request) { echo(q, func(e *Exposure) { e.Item = "h" }); q.Message.Item = "g" }, Hold, "sequence", noon.Add(30 * day), NobodyDid},
		"service that speaks of nothing":    {func(q *Request) { echo(q, same); q.Home.Shown = nil; serve(q) }, Hold, "sequence", noon.Add(30 * day), NobodyDid},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			q := good(device.TV)
			test.edit(q)
			d := Decide(*q)
			if d.Verdict != test.want || d.Reasons.String() != test.rules || test.want == Hold && d.Until != test.until {
				t.Fatalf("got %s for %q until %s, want %s for %q until %s\n%s", d.Verdict, d.Reasons, d.Until, test.want, test.rules, test.until, describe(*q))
			}
			if test.want == Show {
				return
			}
			if all := Causes(*q, d); len(all) == 0 || all[0].Code != test.code {
				t.Errorf("the causes are %+v, want %s first", all, test.code)
			}
		})
	}
}

// serve makes the message one that somebody asked for.
func serve(q *Request) {
	q.Message.Purpose = Service
	q.Home.Consents[ConsentKey{device.Household, grocer, Service}] = Stance{Choice: Given}
}

// A Show that rests on what somebody did ends when that is long ago.
func TestJoinedShowEnds(t *testing.T) {
	q := good(device.Fridge) // whose answer rests on nothing that ends soon
	q.Message.Echo, q.Message.Journey, q.Message.Step = Remind, "run", 2
	e := Exposure{Brand: grocer, Message: id(2), Device: "fridge-1", Reaction: Acted, Act: Remind, Thread: Thread{Journey: "run", Step: 1}}
	for i, days := range []float64{30, 29} {
		e.At, e.Message = q.Now.Add(-hours(24*days)), id(byte(2+i))
		q.Home.Shown = append(q.Home.Shown, e)
	}
	for name, edit := range map[string]func(*Message){"echo": func(m *Message) { m.Journey = "" }, "step": func(m *Message) { m.Echo = NoAct }} {
		m := *q.Message
		edit(&m)
		one := *q
		one.Message = &m
		if f := sequence(&one); f != showTo(q.Now.Add(hours(48))) {
			t.Errorf("%s: %+v, want a Show for two days", name, f)
		}
	}
}

func TestParseAfter(t *testing.T) {
	for _, name := range append(AfterNames(), "") {
		if _, err := ParseAfter(name); err != nil {
			t.Error(err)
		}
	}
	if k, err := ParseAfter("clicked"); err == nil || k != NoReaction {
		t.Errorf("clicked is %v, %v", k, err)
	}
	if k, _ := ParseAfter("seen"); k != Seen || k.weight0() {
		t.Errorf("seen is %v", k)
	}
}

// weight0 reports whether k moves any lever: what was merely seen must not.
func (k Reaction) weight0() bool { w, _ := k.weight(); return w != 0 }

// The rules of this file agree with the reference where messages have much to do with each other, and the samples
// notice what is left out of them.
func TestJoinedAgreesWithReference(t *testing.T) {
	samples := rapid.Custom(func(t *rapid.T) Request {
		q := fewRequests.Draw(t, "request")
		q = clone(q)
		addThread(t, &q)
		if some(t, 30, "more") {
			addActs(t, &q)
		}
		if some(t, 30, "open here") {
			q.Own = true
		}
		if some(t, 20, "answered") {
			answerElsewhere(t, &q)
		}
		return q
	})
	with := func(rule Rule, edit func(q *Request)) func(*rulebook) {
		return func(b *rulebook) {
			b[rule] = func(q Request) finding {
				q = clone(q)
				edit(&q)
				return ask(rule, &q)
			}
		}
	}
	shown := func(edit func(m *Message, e *Exposure)) func(q *Request) {
		return func(q *Request) {
			for i := range q.Home.Shown {
				edit(q.Message, &q.Home.Shown[i])
			}
		}
	}
	promise(t, samples, disagreement, map[string]func(*rulebook){
		"keys of all brands":             with(Dedupe, shown(func(m *Message, e *Exposure) { e.Brand = m.Brand })),
		"keys that do not matter":        with(Dedupe, func(q *Request) { q.Message.Dedupe = "" }),
		"steps that do not matter":       with(Dedupe, func(q *Request) { q.Message.Journey = "" }),
		"answers that recall nothing":    with(Dedupe, shown(func(_ *Message, e *Exposure) { e.Reaction = NoReaction })),
		"what is open taken for over":    with(Dedupe, shown(func(_ *Message, e *Exposure) { e.Open = false })),
		"a key for ever":                 with(Dedupe, shown(func(_ *Message, e *Exposure) { e.At += 5 * refDay })),
		"any end of a step will do":      with(Sequence, func(q *Request) { q.Message.After = NoReaction }),
		"a step that is open will do":    with(Sequence, shown(func(_ *Message, e *Exposure) { e.Open = false })),
		"a step of another brand":        with(Sequence, shown(func(m *Message, e *Exposure) { e.Brand = m.Brand })),
		"a step of another run":          with(Sequence, shown(func(m *Message, e *Exposure) { e.Journey = m.Journey })),
		"any item":                       with(Sequence, func(q *Request) { q.Message.Item = "" }),
		"whatever was got":               with(Sequence, func(q *Request) { q.Home.Got = nil }),
		"what was got is got for ever":   with(Sequence, func(q *Request) { q.Now -= 2 }),
		"whatever went wrong":            with(Sequence, func(q *Request) { q.Home.Complaints = nil }),
		"a complaint stops every brand":  with(Sequence, func(q *Request) { q.Home.Complaints = append(q.Home.Complaints, Complaint{Brand: q.Message.Brand}) }),
		"a complaint stops service, too": with(Sequence, func(q *Request) { q.Message.Purpose = Marketing }),
		"an echo of nothing":             with(Sequence, func(q *Request) { q.Message.Echo = NoAct }),
		"an echo of anything":            with(Sequence, shown(func(m *Message, e *Exposure) { e.Act = m.Echo })),
	})
}

package policy

import (
	"testing"
	"time"

	"porchlight/device"
)

// other adds a device to the home that tells one thing.
func (q *Request) other(c device.Class, room device.RoomID, owner device.PersonID, a device.Attribute, v any) *Screen {
	s := &Screen{ID: "other-1", Class: c, Room: room, Owner: owner, Context: new(device.Context)}
	s.Context.Set(a, val(a, v), q.Now)
	q.Home.Screens = append(q.Home.Screens, s)
	return s
}

func TestMoments(t *testing.T) {
	minute, ten := noon.Add(time.Minute), noon.Add(10*time.Minute)
	film := func(q *Request, c device.Class, room device.RoomID) *Screen {
		s := q.other(c, room, 0, device.PlayerState, "playing")
		s.Context.Set(device.Fullscreen, val(device.Fullscreen, true), q.Now)
		return s
	}
	tests := map[string]struct {
		edit  func(*Request)
		until device.Instant // of the Hold; 0: it is shown
	}{
		"none":                   {func(q *Request) {}, 0},
		"a film in the room":     {func(q *Request) { film(q, device.TV, 1) }, minute},
		"a film on the console":  {func(q *Request) { film(q, device.Console, 1) }, minute},
		"a film on a speaker":    {func(q *Request) { film(q, device.Speaker, 1) }, 0},
		"a film in another room": {func(q *Request) { film(q, device.TV, 2) }, 0},
		"a film in no room":      {func(q *Request) { film(q, device.TV, 0); q.Screen.Room = 0 }, 0},
		"a film that is paused": {func(q *Request) {
			film(q, device.TV, 1).Context.Set(device.PlayerState, val(device.PlayerState, "paused"), q.Now)
		}, 0},
		"a film in a window": {func(q *Request) {
			film(q, device.TV, 1).Context.Set(device.Fullscreen, val(device.Fullscreen, false), q.Now)
		}, 0},
		"a film, nobody minds":       {func(q *Request) { film(q, device.TV, 1); q.Home.Moments = []Moment{Call, Sleep} }, 0},
		"a film, told a minute ago":  {func(q *Request) { film(q, device.TV, 1); q.Now += 60_000 }, 0},
		"a call in the room":         {func(q *Request) { q.other(device.Speaker, 1, 0, device.CallActive, true) }, minute},
		"a call in another room":     {func(q *Request) { q.other(device.Speaker, 2, 0, device.CallActive, true) }, 0},
		"a call on a phone":          {func(q *Request) { q.other(device.Companion, 0, ada, device.CallActive, true) }, 0},
		"no call":                    {func(q *Request) { q.other(device.Speaker, 1, 0, device.CallActive, false) }, 0},
		"sleep in the room":          {func(q *Request) { q.other(device.Speaker, 1, 0, device.Sleeping, true) }, ten},
		"sleep in another room":      {func(q *Request) { q.other(device.Speaker, 2, 0, device.Sleeping, true) }, 0},
		"sleep in no room":           {func(q *Request) { q.other(device.Speaker, 0, 0, device.Sleeping, true) }, 0},
		"sleep by a phone":           {func(q *Request) { q.other(device.Companion, 0, ada, device.Sleeping, true) }, ten},
		"sleep by a phone elsewhere": {func(q *Request) { q.other(device.Companion, 2, ada, device.Sleeping, true) }, 0},
		"sleep of who is here": {func(q *Request) {
			q.other(device.Companion, 2, ada, device.Sleeping, true)
			q.choose(ada, Given)
			q.seen("1")
		}, ten},
		"sleep of who is not here": {func(q *Request) {
			q.other(device.Companion, 2, ben, device.Sleeping, true)
			q.choose(ada, Given)
			q.seen("1")
		}, 0},
		"sleep by this screen": {func(q *Request) { q.tell(device.Sleeping, true, 0) }, ten},
		"nobody sleeps":        {func(q *Request) { q.other(device.Companion, 0, ada, device.Sleeping, false) }, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			q := good(device.Fridge)
			q.Screen.Room = 1
			q.Home.Moments = []Moment{Film, Call, Sleep}
			tt.edit(q)
			d := Decide(*q)
			if tt.until == 0 {
				if d.Verdict != Show {
					t.Errorf("%s for %q, want show\n%s", d.Verdict, d.Reasons, describe(*q))
				}
				return
			}
			if d.Verdict != Hold || d.Reasons.String() != "quiet" || d.Until != tt.until {
				t.Errorf("%s for %q until %s, want hold for quiet until %s\n%s", d.Verdict, d.Reasons, d.Until, tt.until, describe(*q))
			}
			if c := Causes(*q, d); len(c) != 1 || c[0].Code != MomentNow || c[0].Moment == NoMoment || c[0].Device == "" {
				t.Errorf("explained by %+v", c)
			}
		})
	}
}

func TestContent(t *testing.T) {
	all := Words | Picture | Sound
	tests := map[string]struct {
		edit func(*Request)
		want Content
	}{
		"nobody told":         {func(q *Request) {}, Words | Picture},
		"somebody known":      {func(q *Request) { q.seen("1") }, all},
		"two who are known":   {func(q *Request) { q.seen("1 2") }, all},
		"nobody there":        {func(q *Request) { q.seen("") }, Words | Picture},
		"a stranger, too":     {func(q *Request) { q.seen("1 99") }, Words | Picture},
		"who was there":       {func(q *Request) { q.tell(device.PresenceWho, "1", time.Hour) }, Words | Picture},
		"own":                 {func(q *Request) { q.Screen.Owner = ada }, all},
		"own, and a stranger": {func(q *Request) { q.Screen.Owner = ada; q.seen("99") }, Words | Picture},
		"not meant to sound":  {func(q *Request) { q.seen("1"); q.Message.Sound = false }, Words | Picture},
		"cannot sound":        {func(q *Request) { q.seen("1"); q.Screen.Can.Sound = 0 }, Words | Picture},
		"sound muted":         {func(q *Request) { q.seen("1"); q.Home.Mutes = []MuteRule{{Content: Sound}} }, Words | Picture},
		"picture muted":       {func(q *Request) { q.seen("1"); q.Home.Mutes = []MuteRule{{Content: Picture}} }, Words | Sound},
		"another's wish":      {func(q *Request) { q.seen("1"); q.Home.Mutes = []MuteRule{{Content: Sound, Owner: ben}} }, all},
		"a wish of long ago":  {func(q *Request) { q.seen("1"); q.Home.Mutes = []MuteRule{{Content: Sound, Until: noon}} }, all},
		"words muted, picture": {func(q *Request) {
			q.seen("1")
			q.Message.Picture = new(Pixels)
			q.Home.Mutes = []MuteRule{{Content: Words}}
		}, Picture | Sound},
	}
	for name, tt := range tests {
		q := good(device.Display)
		q.choose(ada, Given)
		q.choose(ben, Given)
		q.Message.Sound, q.Screen.Can.Sound = true, 1
		tt.edit(q)
		if d := Decide(*q); d.Verdict != Show || d.Content != tt.want {
			t.Errorf("%s: %s for %q with %03b, want %03b", name, d.Verdict, d.Reasons, d.Content, tt.want)
		}
	}
}

func TestLanguage(t *testing.T) {
	tests := map[string]struct {
		edit func(*Request)
		want string
	}{
		"the device's":               {func(q *Request) {}, "de"},
		"the home's":                 {func(q *Request) { q.Home.Languages = []string{"fr-CH"} }, "fr"},
		"the home's, the first text": {func(q *Request) { q.Home.Languages = []string{"en"} }, "en"},
		"none of the home's":         {func(q *Request) { q.Home.Languages = []string{"it"} }, "de"},
		"the only reader's":          {func(q *Request) { q.Home.Languages = []string{"fr"}; q.seen("1") }, "en"},
		"the only reader's second":   {func(q *Request) { q.Home.People[0].Languages = []string{"it", "fr"}; q.seen("1") }, "fr"},
		"none of the only reader's": {func(q *Request) {
			q.Home.People[0].Languages = []string{"it"}
			q.Home.Languages = []string{"fr"}
			q.seen("1")
		}, "fr"},
		"two readers":             {func(q *Request) { q.seen("1 2") }, "de"},
		"a reader and a stranger": {func(q *Request) { q.seen("1 99") }, "de"},
		"a reader who was there":  {func(q *Request) { q.tell(device.PresenceWho, "1", time.Hour) }, "de"},
		"the owner's":             {func(q *Request) { q.Screen.Owner = ada }, "en"},
		"the owner's, in company": {func(q *Request) { q.Screen.Owner = ada; q.seen("2") }, "de"},
		"nobody's":                {func(q *Request) { q.Screen.Can.Languages = nil }, "en"},
	}
	for name, tt := range tests {
		q := good(device.TV)
		q.choose(ada, Given)
		q.choose(ben, Given)
		q.Home.People[0].Languages = []string{"en"}
		q.Message.Texts = append(q.Message.Texts, MessageText{Language: "fr", Body: "Il reste peu de lait."})
		tt.edit(q)
		if d := Decide(*q); d.Verdict != Show || q.Message.Texts[d.Text].Language != tt.want {
			t.Errorf("%s: %s for %q in %s, want %s", name, d.Verdict, d.Reasons, q.Message.Texts[d.Text].Language, tt.want)
		}
	}
	t.Run("too long for a car in the reader's", func(t *testing.T) {
		q := good(device.Car)
		q.choose(ada, Given)
		q.Home.People[0].Languages = []string{"en"}
		q.Message.Texts[0].Body = string(make([]byte, 81))
		q.seen("1")
		if d := Decide(*q); d.Verdict != Show || d.Text != 1 {
			t.Errorf("%s for %q in text %d", d.Verdict, d.Reasons, d.Text)
		}
	})
}

// What waited for the end of a quiet time does not come all at once.
func TestNoBurstAfterQuietTime(t *testing.T) {
	q := inZone("Europe/Zurich", "2026-03-28T23:00:00+01:00")
	q.Home.Quiet = []Quiet{{Start: 22 * 60, End: 7 * 60}}
	q.Home.Caps = []Cap{{Max: 1, Minutes: 45}}
	waiting := make([]Message, 5)
	for i := range waiting {
		waiting[i] = *q.Message
		waiting[i].ID = id(byte(10 + i))
	}
	var shown []string
	for len(waiting) > 0 && len(shown) < 10 {
		next := device.Instant(0)
		for i := 0; i < len(waiting); {
			q.Message = &waiting[i]
			d := Decide(q)
			if d.Verdict != Show {
				next = sooner(next, d.Until)
				i++
				continue
			}
			shown = append(shown, q.Now.Time().In(q.Home.Zone).Format("15:04"))
			q.Home.Shown = append(q.Home.Shown, Exposure{At: q.Now, Brand: grocer, Message: q.Message.ID, Device: q.Screen.ID})
			waiting = append(waiting[:i:i], waiting[i+1:]...)
		}
		if len(waiting) > 0 && next <= q.Now {
			t.Fatalf("waits until %s at %s", next, q.Now)
		}
		q.Now = next
	}
	want := []string{"07:00", "07:45", "08:30", "09:15", "10:00"}
	for i := range want {
		if len(shown) != len(want) || shown[i] != want[i] {
			t.Fatalf("shown at %v, want %v", shown, want)
		}
	}
}

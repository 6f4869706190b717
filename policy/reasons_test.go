package policy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/device"
)

func TestExplain(t *testing.T) {
	tests := map[string]struct {
		class device.Class
		edit  func(*Request)
		want  []string
	}{
		"shown":          {device.TV, func(q *Request) {}, nil},
		"car moves":      {device.Car, func(q *Request) { q.tell(device.Driving, "moving", 0) }, []string{"the car is moving, or has not said that it is parked"}},
		"car, too long":  {device.Car, func(q *Request) { q.Message.Texts[1].Body = strings.Repeat("x", 90) }, []string{"a car shows at most 80 characters, and it has 95"}},
		"oven":           {device.Oven, func(q *Request) { q.tell(device.OperationalState, "Running", 0) }, []string{"the oven is on, or has not said that it is off and that all is well"}},
		"alarm":          {device.TV, func(q *Request) { q.Home.Alarm = true }, []string{"an alarm is on in the home"}},
		"disturb":        {device.TV, func(q *Request) { q.tell(device.DND, true, 0) }, []string{"the television is not to be disturbed"}},
		"nothing told":   {device.Fridge, func(q *Request) { q.Screen.Context = nil }, []string{"the fridge has not said anything yet"}},
		"no class":       {device.Other, func(q *Request) {}, []string{"nothing is ever shown on a device of this kind", "this device cannot show it in the form it comes in (toast, list)"}},
		"voice":          {device.Speaker, func(q *Request) { q.Message.Forms = []device.Form{device.Voice} }, []string{"a speaker never shows a message in the form it comes in (voice)", "this speaker cannot show it in the form it comes in (voice)"}},
		"silence":        {device.TV, func(q *Request) { q.choose(0, Silent) }, []string{"nobody here has said yes to offers from The Grocer"}},
		"the home's no":  {device.TV, func(q *Request) { q.choose(0, Withdrawn) }, []string{"this home has said no to offers from The Grocer"}},
		"somebody's no":  {device.TV, func(q *Request) { q.choose(ben, Refused) }, []string{"somebody here has said no to offers from The Grocer"}},
		"own, silent":    {device.TV, func(q *Request) { q.Screen.Owner = ada }, []string{"the person whose screen this is has not said yes to offers from The Grocer"}},
		"own, no":        {device.TV, func(q *Request) { q.Screen.Owner = ada; q.choose(ada, Refused) }, []string{"the person whose screen this is has said no to offers from The Grocer"}},
		"own, home's no": {device.TV, func(q *Request) { q.Screen.Owner = ada; q.choose(ada, Given); q.choose(0, Refused) }, []string{"this home has said no to offers from The Grocer"}},
		"own, nobody's":  {device.TV, func(q *Request) { q.Screen.Owner = 9 }, []string{"the person whose screen this is is not known here"}},
		"muted": {device.TV, func(q *Request) {
			q.Home.Mutes = []MuteRule{{Selector: Selector{Brand: grocer, Class: device.TV}, Until: noon.Add(time.Hour)}}
		}, []string{"everything from The Grocer on the television is muted until 13:00"}},
		"muted for good": {device.TV, func(q *Request) {
			q.Home.Mutes = []MuteRule{{}, {Selector: Selector{Purpose: Marketing, Category: "dairy", Device: "screen-1"}}}
		}, []string{"everything is muted here", "everything of the kind offers about dairy on this screen is muted here"}},
		"quiet":              {device.TV, func(q *Request) { q.Home.Quiet = []Quiet{{Start: 660, End: 420}} }, []string{"quiet time until 07:00"}},
		"quiet, no zone":     {device.TV, func(q *Request) { q.Home.Quiet = []Quiet{{Start: 660, End: 420}}; q.Home.Zone = nil }, []string{"this home has a quiet time, but its time zone is not known"}},
		"quiet nonsense":     {device.TV, func(q *Request) { q.Home.Quiet = []Quiet{{Start: 9999, End: 420}} }, []string{"this home has a quiet time that makes no sense"}},
		"one a day":          {device.TV, func(q *Request) { q.shown(grocer, 2, 0, true); q.Home.Caps = []Cap{{Each: true, Max: 1}} }, []string{"this home wants at most 1 from The Grocer in a day: the next may come at 00:00"}},
		"one a day, no zone": {device.TV, func(q *Request) { q.Home.Zone = nil; q.Home.Caps = []Cap{{Each: true, Max: 1}} }, []string{"this home wants at most 1 from The Grocer in a day, but its time zone is not known"}},
		"two in ten days":    {device.TV, func(q *Request) { q.shown(baker, 2, 0, true); q.Home.Caps = []Cap{{Max: 1, Hours: 168}} }, []string{"this home wants at most 1 from all brands together in 168 hours: the next may come at Wednesday 17 June 2026 12:00"}},
		"none":               {device.TV, func(q *Request) { q.Home.Caps = []Cap{{Max: 0, Hours: 1}} }, []string{"this home wants no messages from all brands together"}},
		"open elsewhere":     {device.TV, func(q *Request) { q.shown(grocer, 1, 0, true) }, []string{"it is on another screen, or on its way there"}},
		"shown before":       {device.TV, func(q *Request) { q.shown(grocer, 1, 0, false) }, []string{"it has been shown here already"}},
		"waits": {device.TV, func(q *Request) {
			q.Message.When = []Predicate{{device.Fridge, device.DoorOpen, EQ, val(device.DoorOpen, false)}, {0, device.PlayerState, NE, val(device.PlayerState, "paused")}}
		}, []string{"it waits until the fridge says that door.open is false", "it waits until this screen says that state is not paused"}},
		"nonsense":          {device.TV, func(q *Request) { q.Message.When = []Predicate{{}} }, []string{"it asks for a moment that cannot be understood"}},
		"early":             {device.TV, func(q *Request) { q.Message.NotBefore = noon.Add(hours(5)) }, []string{"it is for later: from 17:00"}},
		"over":              {device.TV, func(q *Request) { q.Message.NotAfter = noon }, []string{"it was good until Wednesday 10 June 2026 12:00"}},
		"no end":            {device.TV, func(q *Request) { q.Message.NotAfter = 0 }, []string{"it does not say until when it is good"}},
		"no purpose":        {device.TV, func(q *Request) { q.Message.Purpose = 0 }, []string{"nobody here has said yes to messages from The Grocer", "it does not say what it is for"}},
		"for cars":          {device.TV, func(q *Request) { q.Message.Classes = []device.Class{device.Car} }, []string{"it is not meant for a television"}},
		"form":              {device.TV, func(q *Request) { q.Screen.Can.Forms = nil }, []string{"this television cannot show it in the form it comes in (toast, list)"}},
		"buttons":           {device.TV, func(q *Request) { q.Message.Buttons = make([]Button, 4) }, []string{"it has 4 buttons, and this television has room for 3"}},
		"buttons, no input": {device.TV, func(q *Request) { q.Message.Buttons = make([]Button, 4); q.Screen.Can.Inputs = 0 }, []string{"it asks for an answer, and this television has no way to give one"}},
		"no words":          {device.TV, func(q *Request) { q.Message.Texts = nil }, []string{"it has no words"}},
		"no home":           {device.TV, func(q *Request) { q.Home = nil }, []string{"it could not be judged: the home, the screen or the message is not known"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			q := good(tt.class)
			tt.edit(q)
			if got := Explain(*q, Decide(*q)); !slices.Equal(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
	if got := Explain(*good(device.TV), Decision{}); len(got) != 1 || got[0] != "nothing has been decided yet" {
		t.Errorf("the zero Decision is explained by %q", got)
	}
	if got := Explain(*good(device.TV), Decision{Reasons: Reasons(0).With(Holdout).With(Mute)}); len(got) != 2 {
		t.Errorf("reasons that do not hold any more are explained by %q", got)
	}
}

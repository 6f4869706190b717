package delivery

// Two models of what follows when somebody takes a yes back. Each is searched to the end: every
// order in which anything can happen, for one device and two messages. What must be true in every
// state: after the word stopped nothing of it is on the screen, then or later; and the word can be
// said within a lease and the allowance, though the device is unplugged.
//
// The first, protocol, is the design with its parts, each of which can be left out. Its network
// is worse than ours: what is on its way comes at any time, in any order, more than once, after a
// restart of the device too, or never. A lease ends at an instant, on a clock that may lag by the
// allowance.
//
// The second, wired, is how we build it. Where it meets the code:
//
//	next, delivery.lapses          the code itself
//	settle, withdraw, away, claim  settleAll, record, Desk.away, claimAll: one open delivery on a screen, missing ones apart
//	beacon, launch                 pump, launch: the beacon first, one frame with QoS 1 at a time
//	learns                         Desk.Birth, Desk.Acked, Desk.Event
//	restart                        read: what was claimed is HaveUnsure, and is kept for one lease from then
//	hears, takeOff, owes           sections 5 and 6 of the device contract; fence, ledger and outbox outlive a power cut
//
// Its connections keep the order, lose nothing but their end, end for both sides at different
// times, and have at most two frames on their way in each direction. A lease is counted from
// receipt. Three of its parts are more than the code has today, and what comes of that stands
// beside each in wiring: prompt, doubt, crossing.

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// move is one step of a model: what happens, and to which message; -1: to none in particular.
type move struct {
	what string
	m    int8
}

func (v move) String() string {
	if v.m < 0 {
		return v.what
	}
	return fmt.Sprintf("%s m%d", v.what, v.m)
}

// found is what a search came to.
type found struct {
	states int    // visited
	wrong  string // "": nothing is, and every state was visited
	trace  []move // how to get there, by as few steps as possible
}

func (f found) String() string {
	if f.wrong == "" {
		return fmt.Sprintf("holds in all %d states", f.states)
	}
	steps := make([]string, len(f.trace))
	for i, v := range f.trace {
		steps[i] = v.String()
	}
	return fmt.Sprintf("%s (%d states): %s", f.wrong, f.states, strings.Join(steps, " -> "))
}

// explore visits what can be reached from start, the nearest first, until wrong says something.
func explore[S comparable](start S, steps func(S, func(move, S)), wrong func(S) string) found {
	type visit struct {
		state S
		from  int32
		by    move
	}
	seen := map[S]struct{}{start: {}}
	all := []visit{{start, -1, move{}}}
	for i := 0; i < len(all); i++ {
		if why := wrong(all[i].state); why != "" {
			f := found{states: len(all), wrong: why}
			for at := int32(i); all[at].from >= 0; at = all[at].from {
				f.trace = append(f.trace, all[at].by)
			}
			slices.Reverse(f.trace)
			return f
		}
		steps(all[i].state, func(by move, s S) {
			if _, ok := seen[s]; !ok {
				seen[s] = struct{}{}
				all = append(all, visit{s, int32(i), by})
			}
		})
	}
	return found{states: len(all)}
}

// What can be wrong with a state.
const (
	afterTheWord = "SHOWN AFTER STOPPED"
	unbounded    = "STOPPED MAY NEVER COME, IF THE NO COMES AFTER"
)

// place is where a message is on the device.
type place uint8

const (
	notHere place = iota
	isWaiting
	isShown
)

// ---- the protocol

// Time goes by ticks.
const (
	protocolLease = 2
	protocolLag   = 1 // the most by which a device's clock lags
	protocolTerm  = protocolLease + protocolLag
)

// afterRestart is what a gateway does that was killed.
type afterRestart uint8

const (
	remembers afterRestart = iota // knows what was claimed, and takes it for renewed just now
	noGrace                       // knows what was claimed, and takes its lease for over
	waits                         // knows nothing, and does not say stopped before a lease and the allowance are over
	forgets                       // knows nothing
)

// protocolParts are what the protocol is made of.
type protocolParts struct {
	recheck   bool         // what is handed over is judged then, not only when it was claimed
	atomic    bool         // ... and nobody can say no in between
	recall    bool         // the device is told of a no at once
	confirm   bool         // stopped is said when nothing is open any more; without: at once
	lease     bool         // a device takes off what is not renewed, and the gateway counts on that
	allowance bool         // the gateway waits a little longer
	restart   afterRestart //
	fence     bool         // a device shows nothing that was decided before the newest no that it knows of
	beacon    bool         // a device that has started again shows nothing before the first beacon
	survives  bool         // a device knows the fence after a power cut
}

// protocol is a state.
type protocol struct {
	m                  [2]protocolMessage
	withdrawn, stopped bool
	grace              uint8 // ticks before stopped may be said
	fence              bool  // the device knows of the no
	beaconed           bool  // the device has heard a beacon since it started
	early              bool  // a beacon from before the no is on its way
	confirmed          bool  // the device has obeyed the recall, and its word is on its way
}

type protocolMessage struct {
	open   bool // the gateway holds a claim
	have   Have // of that
	out    outgoing
	kept   uint8 // ticks until its lease is over, as the gateway counts
	frame  uint8 // a present is on its way: ticks until no device takes it any more
	renews uint8 // a beacon that names it is on its way: as frame
	there  place
	left   uint8 // ticks until the device takes it off
}

// outgoing is how far a claim is on the way to the network.
type outgoing uint8

const (
	notOut outgoing = iota
	isClaimed
	isJudged
)

// term is how long the gateway waits for a lease to be over.
func (p *protocolParts) term() uint8 {
	if p.allowance {
		return protocolLease + protocolLag
	}
	return protocolLease
}

// settle closes what is over.
func (p *protocolParts) settle(s *protocol) {
	for i := range s.m {
		m := &s.m[i]
		if !s.withdrawn || !m.open {
			continue
		}
		dl := delivery{want: WantGone, have: m.have}
		if next(dl.want, dl.have) == Settle || p.lease && m.kept == 0 && dl.lapses() {
			m.open, m.have, m.kept = false, HaveNone, 0
		}
	}
}

// may reports whether stopped may be said.
func (p *protocolParts) may(s *protocol) bool {
	return s.withdrawn && !s.stopped && (!p.confirm || !s.m[0].open && !s.m[1].open && s.grace == 0)
}

// tick lets time pass.
func (p *protocolParts) tick(s *protocol) {
	s.grace -= min(s.grace, 1)
	if !p.lease {
		return
	}
	for i := range s.m {
		m := &s.m[i]
		m.kept -= min(m.kept, 1)
		m.frame -= min(m.frame, 1)
		m.renews -= min(m.renews, 1)
		if m.left -= min(m.left, 1); m.left == 0 {
			m.there = notHere
		}
	}
	p.settle(s)
}

// good is for how many ticks a device takes something to be good whose frame counts so many, if its clock
// lags by lag.
func (p *protocolParts) good(frame, lag uint8) uint8 {
	if !p.lease {
		return frame
	}
	return frame - min(frame, protocolLag-lag)
}

// steps are all that can happen next.
func (p *protocolParts) steps(s protocol, emit func(move, protocol)) {
	do := func(what string, i int, f func(s *protocol)) {
		t := s
		f(&t)
		p.settle(&t)
		emit(move{what, int8(i)}, t)
	}
	may := !(p.fence && s.fence) // the device may take and show what was decided before the no, as all here was
	for i := range s.m {
		m := &s.m[i]
		owed := m.open && !s.withdrawn && next(WantShown, m.have) == Present
		if !s.withdrawn && !m.open && m.out == notOut {
			do("claim", i, func(s *protocol) { s.m[i].open, s.m[i].have, s.m[i].out = true, HaveNone, isClaimed })
		}
		if p.recheck && !p.atomic && m.out == isClaimed && owed {
			do("judge", i, func(s *protocol) { s.m[i].out = isJudged })
		}
		if m.out == isJudged || m.out == isClaimed && (!p.recheck || p.atomic && owed) {
			do("send", i, func(s *protocol) {
				m := &s.m[i]
				m.out, m.frame = notOut, protocolTerm
				if m.open {
					m.have, m.kept = HaveSent, p.term()
				}
			})
		}
		for lag := range uint8(protocolLag + 1) {
			if good := p.good(m.frame, lag); good > 0 && m.there == notHere && may {
				do("device receives", i, func(s *protocol) { s.m[i].there, s.m[i].left = isWaiting, good })
			}
		}
		if m.there == isWaiting && s.m[1-i].there != isShown && may && (s.beaconed || !p.beacon) {
			do("device SHOWS", i, func(s *protocol) { s.m[i].there = isShown })
		}
		if m.there == isShown {
			do("person dismisses", i, func(s *protocol) { s.m[i].there, s.m[i].left = notHere, 0 })
		}
	}
	if !s.withdrawn {
		do("beacon leaves", -1, func(s *protocol) {
			s.early = true
			for i := range s.m {
				if m := &s.m[i]; p.lease && m.open && m.have != HaveNone {
					m.renews, m.kept = protocolTerm, p.term()
				}
			}
		})
		do("person WITHDRAWS", -1, func(s *protocol) { s.withdrawn = true })
	}
	if s.early {
		for lag := range uint8(protocolLag + 1) {
			do("device hears beacon", -1, func(s *protocol) {
				s.beaconed = true
				for i := range s.m {
					if m := &s.m[i]; m.there != notHere {
						m.left = max(m.left, p.good(m.renews, lag))
					}
				}
			})
		}
	}
	if s.withdrawn && p.recall {
		do("device obeys recall", -1, func(s *protocol) {
			s.fence, s.beaconed, s.confirmed = true, true, true
			for i := range s.m {
				s.m[i].there, s.m[i].left = notHere, 0
			}
		})
	}
	if s.confirmed {
		do("confirmation arrives", -1, func(s *protocol) {
			s.confirmed = false
			for i := range s.m {
				if m := &s.m[i]; m.open && m.have != HaveNone {
					m.have = HaveGone
				}
			}
		})
	}
	if p.may(&s) {
		do("gateway says STOPPED", -1, func(s *protocol) { s.stopped = true })
	}
	do("gateway restarts", -1, func(s *protocol) {
		for i := range s.m {
			m := &s.m[i]
			m.out = notOut
			switch {
			case !m.open:
			case p.restart == remembers:
				m.have, m.kept = HaveUnsure, p.term()
			case p.restart == noGrace:
				m.have, m.kept = HaveUnsure, 0
			default:
				m.open, m.have, m.kept = false, HaveNone, 0
			}
		}
		if p.restart == waits && !s.stopped {
			s.grace = p.term()
		}
	})
	do("device restarts", -1, func(s *protocol) {
		s.beaconed, s.early = false, false // a beacon ends with the connection that it was sent on
		s.fence = s.fence && p.survives
		for i := range s.m {
			s.m[i].there, s.m[i].left, s.m[i].renews = notHere, 0, 0
		}
	})
	do("tick", -1, p.tick)
}

func (p *protocolParts) unsafe(s protocol) string {
	if s.stopped && (s.m[0].there == isShown || s.m[1].there == isShown) {
		return afterTheWord
	}
	return ""
}

// late asks of a state that a no in it is followed by the word in time if nothing but time happens.
func (p *protocolParts) late(s protocol) string {
	s.withdrawn = true
	p.settle(&s)
	for range protocolTerm {
		p.tick(&s)
	}
	if !s.stopped && !p.may(&s) {
		return unbounded
	}
	return ""
}

// The protocol keeps its word. Without any one part it does not, but for two: recall makes it
// faster only, and a device that waits for a beacon needs no fence that survives, nor the reverse.
func TestWithdrawalProtocol(t *testing.T) {
	full := protocolParts{recheck: true, atomic: true, recall: true, confirm: true, lease: true, allowance: true, fence: true, beacon: true}
	with := func(edit func(p *protocolParts)) protocolParts { p := full; edit(&p); return p }
	tests := []struct {
		name  string
		parts protocolParts
		want  string
	}{
		{"check at decision only", protocolParts{restart: forgets}, afterTheWord},
		{"+ check at delivery", protocolParts{recheck: true, atomic: true, restart: forgets}, afterTheWord},
		{"+ recall, and the word at once", protocolParts{recheck: true, atomic: true, recall: true, fence: true, beacon: true, restart: forgets}, afterTheWord},
		{"+ the word waits for confirmation, no lease", protocolParts{recheck: true, atomic: true, recall: true, confirm: true, fence: true, beacon: true, restart: remembers}, unbounded},
		{"FULL", full, ""},
		{"full but check and send not atomic", with(func(p *protocolParts) { p.atomic = false }), afterTheWord},
		{"full but no recheck at delivery", with(func(p *protocolParts) { p.recheck, p.atomic = false, false }), afterTheWord},
		{"full but no allowance", with(func(p *protocolParts) { p.allowance = false }), afterTheWord},
		{"full but claims are forgotten", with(func(p *protocolParts) { p.restart = forgets }), afterTheWord},
		{"full but claims have no grace after a restart", with(func(p *protocolParts) { p.restart = noGrace }), afterTheWord},
		{"full, claims are forgotten, grace after a restart", with(func(p *protocolParts) { p.restart = waits }), ""},
		{"full but no fence", with(func(p *protocolParts) { p.fence = false }), afterTheWord},
		{"full but shows before the first beacon", with(func(p *protocolParts) { p.beacon = false }), afterTheWord},
		{"full, shows before the first beacon, fence survives", with(func(p *protocolParts) { p.beacon, p.survives = false, true }), ""},
		{"full but no lease", with(func(p *protocolParts) { p.lease = false }), unbounded},
		{"full but no recall", with(func(p *protocolParts) { p.recall = false }), ""},
		{"MINIMAL: atomic recheck, lease, allowance, grace", protocolParts{recheck: true, atomic: true, confirm: true, lease: true, allowance: true, restart: waits}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := &test.parts
			f := explore(protocol{}, p.steps, func(s protocol) string { return cmp.Or(p.unsafe(s), p.late(s)) })
			t.Logf("%s", f)
			if test.want == unbounded { // but safe
				if safe := explore(protocol{}, p.steps, p.unsafe); safe.wrong != "" {
					t.Errorf("not even safe: %s", safe)
				}
			}
			if f.wrong != test.want {
				t.Errorf("got %q, want %q", f.wrong, test.want)
			}
		})
	}
}

// ---- as it is built

// wiring is what the second model is made of.
type wiring struct {
	// prompt: a frame arrives within the allowance, or its connection ends first. This is about the
	// world, and nothing sees to it: a lease is counted from receipt, and AckWait is longer.
	prompt bool
	// doubt: an end that leaves a message to be shown if it comes again may be an old one, from before
	// it was sent anew; it makes the gateway cancel, and only the answer to that closes the delivery.
	// Desk.Event takes every end for an end of the newest present.
	doubt bool
	// crossing: a birth that comes again on a connection says nothing of a present that is on its way.
	// Desk.Birth takes such a message for missing.
	crossing bool
	// claims: what is claimed is on disk before it is sent. grace, allowance: as in the protocol.
	grace, claims, allowance bool
}

const (
	wiredLease = 1
	wiredLag   = 1
	wiredTerm  = wiredLease + wiredLag
)

// wired is a state.
type wired struct {
	g                  [2]wiredDelivery
	d                  [2]wiredHeld
	down, up           wiredQueue
	withdrawn, stopped bool
	link               wiredLink
	born               bool // the gateway has the birth of this connection
	first              bool // ... and has sent a beacon since
	recalled           bool // a beacon has gone out since something is to go
	flight             wiredFrame
	beaconed, fence    bool // the device's
}

// wiredDelivery is what the gateway knows of a message.
type wiredDelivery struct {
	open  bool
	have  Have
	doubt bool // an end came that may be an old one
	kept  uint8
}

// wiredHeld is what the device knows of a message.
type wiredHeld struct {
	there  place
	left   uint8
	ledger bool
	owes   wiredKind // an end that the gateway has not acknowledged
}

type wiredKind uint8

const (
	noFrame      wiredKind = iota
	presentFrame           // down
	cancelFrame
	beaconFrame
	birthFrame // up
	ackFrame
	openEnd  // declined, expired, cancelled before it was shown: it may be shown if it comes again
	finalEnd // it is in the ledger, and is never shown again
)

// wiredFrame is a frame on its way.
type wiredFrame struct {
	kind  wiredKind
	m     uint8 // its message; of a beacon and a birth, a bit for each
	old   uint8 // ticks on its way
	fence bool
}

// wiredQueue is one direction of a connection.
type wiredQueue [2]wiredFrame

func (q *wiredQueue) room() bool { return q[1].kind == noFrame }

func (q *wiredQueue) push(f wiredFrame) {
	if q[0].kind == noFrame {
		q[0] = f
	} else {
		q[1] = f
	}
}

func (q *wiredQueue) pop() wiredFrame {
	f := q[0]
	*q = wiredQueue{q[1]}
	return f
}

type wiredLink uint8

const (
	apart  wiredLink = iota
	joined           //
	torn             // over for the gateway; the device may still read what it has received
)

func (s *wired) want(i int) Want {
	if s.withdrawn || s.g[i].doubt {
		return WantGone
	}
	return WantShown
}

func (w *wiring) term() uint8 {
	if w.allowance {
		return wiredTerm
	}
	return wiredLease
}

func (s *wired) settle() {
	for i := range s.g {
		g := &s.g[i]
		dl := delivery{want: s.want(i), have: g.have}
		if g.open && (next(dl.want, dl.have) == Settle || dl.lapses() && g.kept == 0) {
			*g = wiredDelivery{}
		}
	}
}

func (s *wired) away() {
	if s.link != joined {
		return
	}
	s.link, s.born, s.first, s.recalled, s.flight, s.up = torn, false, false, false, wiredFrame{}, wiredQueue{}
	for i := range s.g {
		if g := &s.g[i]; g.open && g.have != HaveNone && g.have != HaveGone {
			g.have = HaveUnsure
		}
	}
}

// owed says which messages a beacon names, whether something is to go, and whether a cancel is to go first.
func (s *wired) owed() (keep uint8, recall, cancel bool) {
	for i := range s.g {
		switch g := &s.g[i]; {
		case !g.open:
		case s.want(i) == WantShown:
			if g.have != HaveNone {
				keep |= 1 << i
			}
		default:
			recall = recall || g.have != HaveRecalled
			cancel = cancel || next(WantGone, g.have) == Cancel
		}
	}
	return keep, recall, cancel
}

// beacon sends one, if one is due.
func (w *wiring) beacon(s *wired, only bool) {
	keep, recall, _ := s.owed()
	due := recall && !s.recalled || !only && (keep != 0 || !s.first)
	if !due || !s.born || s.link != joined || !s.down.room() {
		return
	}
	s.down.push(wiredFrame{kind: beaconFrame, m: keep, fence: s.withdrawn})
	for i := range s.g {
		if keep&(1<<i) != 0 {
			s.g[i].kept = w.term()
		}
	}
	s.first, s.recalled = true, recall
}

// learns is the gateway reading the frame that came first.
func (w *wiring) learns(s *wired) {
	f := s.up.pop()
	switch f.kind {
	case birthFrame:
		for i := range s.g {
			g, held := &s.g[i], f.m&(1<<i) != 0
			switch {
			case !g.open:
			case w.crossing && s.born && g.have == HaveSent:
			case held:
				g.have = HaveQueued
			case g.have != HaveNone:
				g.have = HaveMissing
			}
		}
		s.born, s.first = true, false
	case ackFrame:
		g, flight := &s.g[s.flight.m], s.flight.kind
		s.flight = wiredFrame{}
		switch {
		case !g.open:
		case flight == cancelFrame && (g.have == HaveQueued || g.have == HavePresented):
			g.have = HaveRecalled
		case flight == presentFrame && g.have == HaveSent:
			g.have = HaveQueued
		}
	default:
		if d := &s.d[f.m]; d.owes == f.kind {
			d.owes = noFrame // it has our acknowledgement
		}
		switch g := &s.g[f.m]; {
		case !g.open:
		case w.doubt && f.kind == openEnd && g.have != HaveRecalled:
			g.doubt = true
		default:
			*g = wiredDelivery{}
		}
	}
}

// hears is the device reading the frame that came first. It may have reasons of its own to decline.
func (s *wired) hears(declines bool) {
	f := s.down.pop()
	if f.kind != beaconFrame && s.link == joined {
		s.up.push(wiredFrame{kind: ackFrame})
	}
	s.fence = s.fence || f.fence
	switch f.kind {
	case presentFrame:
		switch d := &s.d[f.m]; {
		case d.there != notHere:
		case d.ledger:
			d.owes = finalEnd
		case declines || s.fence || s.d[1-f.m].there != notHere:
			d.owes = openEnd
		default:
			d.there, d.left = isWaiting, wiredLease
		}
	case cancelFrame:
		s.takeOff(int(f.m))
	case beaconFrame:
		s.beaconed = true
		for i := range s.d {
			switch d := &s.d[i]; {
			case d.there == notHere:
			case f.m&(1<<i) != 0:
				d.left = wiredLease
			default:
				s.takeOff(i)
			}
		}
	}
	for i := range s.d {
		if d := &s.d[i]; d.there == isWaiting && s.beaconed && !s.fence && s.d[1-i].there != isShown {
			d.there, d.ledger = isShown, true
		}
	}
}

// takeOff takes a message off the device, if it is there, and owes the gateway an end.
func (s *wired) takeOff(i int) {
	d := &s.d[i]
	d.there, d.left = notHere, 0
	if d.owes = openEnd; d.ledger {
		d.owes = finalEnd
	}
}

// steps are all that can happen next.
func (w *wiring) steps(s wired, emit func(move, wired)) {
	if s.stopped && s.nothingComes() {
		return // and nothing is ever sent again
	}
	do := func(what string, i int, f func(s *wired)) {
		t := s
		f(&t)
		t.settle()
		if t != s {
			emit(move{what, int8(i)}, t)
		}
	}

	// The gateway.
	_, _, cancels := s.owed()
	busy := false
	for i := range s.g {
		busy = busy || s.g[i].open && s.g[i].have != HaveMissing
	}
	do("beacon leaves", -1, func(s *wired) { w.beacon(s, false) })
	for i := range s.g {
		g := &s.g[i]
		if s.link != joined || !s.first || s.flight.kind != noFrame || !s.down.room() {
			continue
		}
		step := Wait
		if g.open {
			step = next(s.want(i), g.have)
		}
		switch {
		case step == Cancel:
			do("gateway cancels", i, func(s *wired) {
				s.flight = wiredFrame{kind: cancelFrame, m: uint8(i)}
				s.down.push(wiredFrame{kind: cancelFrame, m: uint8(i), fence: s.withdrawn})
			})
		case cancels:
		case step == Present && g.have == HaveNone:
			do("gateway sends", i, func(s *wired) {
				s.flight = wiredFrame{kind: presentFrame, m: uint8(i)}
				s.down.push(s.flight)
				s.g[i].have, s.g[i].kept = HaveSent, w.term()
			})
		case !s.withdrawn && !busy && (!g.open || step == Present):
			do("gateway claims", i, func(s *wired) { s.g[i] = wiredDelivery{open: true} })
		}
	}
	if !s.withdrawn {
		do("person WITHDRAWS", -1, func(s *wired) {
			s.withdrawn = true
			s.settle()
			w.beacon(s, true)
		})
	} else if !s.stopped && !s.g[0].open && !s.g[1].open {
		do("gateway says STOPPED", -1, func(s *wired) { s.stopped = true })
	}
	switch f := s.up[0]; f.kind {
	case noFrame:
	case birthFrame:
		do("birth arrives", -1, w.learns)
	case ackFrame:
		do("acknowledgement arrives", -1, w.learns)
	default:
		do("end arrives of", int(f.m), w.learns)
		do("end arrives, connection ends before its acknowledgement, of", int(f.m), func(s *wired) {
			w.learns(s)
			s.away()
			s.d[f.m].owes = f.kind
		})
	}
	do("connection ends", -1, (*wired).away)
	do("gateway restarts", -1, func(s *wired) {
		s.away()
		for i := range s.g {
			switch g := &s.g[i]; {
			case !g.open:
			case !w.claims:
				*g = wiredDelivery{}
			case w.grace:
				*g = wiredDelivery{open: true, have: HaveUnsure, kept: w.term()}
			default:
				*g = wiredDelivery{open: true, have: HaveUnsure}
			}
		}
	})

	// The device.
	if f := s.down[0]; f.kind != noFrame && (s.link == torn || s.up.room()) {
		hears := func(s *wired) { s.hears(false) }
		switch f.kind {
		case presentFrame:
			do("device takes", int(f.m), hears)
			do("device declines", int(f.m), func(s *wired) { s.hears(true) })
		case cancelFrame:
			do("device takes the cancel of", int(f.m), hears)
		default:
			do("device hears beacon", -1, hears)
		}
	}
	birth := wiredFrame{kind: birthFrame}
	for i := range s.d {
		if s.d[i].there != notHere {
			birth.m |= 1 << i
		}
	}
	switch s.link {
	case torn:
		do("device gives the connection up", -1, func(s *wired) { s.link, s.down = apart, wiredQueue{} })
	case apart:
		do("device connects", -1, func(s *wired) {
			s.link, s.beaconed = joined, false
			s.up.push(birth)
		})
	case joined:
		if s.up.room() && s.up[0].kind != birthFrame {
			do("device says its birth again", -1, func(s *wired) { s.up.push(birth) })
		}
	}
	for i := range s.d {
		d := &s.d[i]
		if d.there == isShown {
			do("person dismisses", i, func(s *wired) { s.takeOff(i) })
		}
		if d.owes != noFrame && s.link == joined && s.up.room() && s.up[0].kind < openEnd { // one at a time
			do("device says the end of", i, func(s *wired) { s.up.push(wiredFrame{kind: d.owes, m: uint8(i)}) })
		}
	}
	do("device restarts", -1, func(s *wired) {
		s.away()
		s.link, s.down, s.beaconed = apart, wiredQueue{}, false
		for i := range s.d {
			if s.d[i].there == isShown {
				s.takeOff(i)
			}
			s.d[i].there, s.d[i].left = notHere, 0
		}
	})

	if f := s.down[0]; !w.prompt || f.kind == noFrame || f.old < wiredLag {
		do("tick", -1, w.tick)
	}
}

// nothingComes reports whether nothing is on the device, or can come onto it, that was sent already.
func (s *wired) nothingComes() bool {
	for _, d := range s.d {
		if d.there == isShown || d.there == isWaiting && !s.fence {
			return false
		}
	}
	for _, f := range s.down {
		if f.kind == presentFrame && !s.fence {
			return false
		}
	}
	return true
}

// tick lets time pass.
func (w *wiring) tick(s *wired) {
	for i := range s.down {
		if f := &s.down[i]; w.prompt && f.kind != noFrame {
			f.old++
		}
	}
	for i := range s.d {
		if d := &s.d[i]; d.there != notHere {
			if d.left--; d.left == 0 {
				s.takeOff(i)
			}
		}
		s.g[i].kept -= min(s.g[i].kept, 1)
	}
}

func (s wired) wrong() string {
	if s.stopped && (s.d[0].there == isShown || s.d[1].there == isShown) {
		return afterTheWord
	}
	s.withdrawn = true
	s.settle()
	for range wiredTerm {
		for i := range s.g {
			s.g[i].kept -= min(s.g[i].kept, 1)
		}
		s.settle()
	}
	if s.g[0].open || s.g[1].open {
		return unbounded
	}
	return ""
}

// ordered is s with its two messages in one of their two orders, since they differ in nothing but their number.
func (s wired) ordered() wired {
	key := func(i int) (k uint32) {
		g, d := &s.g[i], &s.d[i]
		for _, is := range []bool{g.open, g.doubt, d.ledger} {
			if k <<= 1; is {
				k |= 1
			}
		}
		return k<<16 | uint32(g.have)<<12 | uint32(g.kept)<<8 | uint32(d.there)<<6 | uint32(d.left)<<4 | uint32(d.owes)
	}
	if key(0) >= key(1) {
		return s
	}
	s.g[0], s.g[1] = s.g[1], s.g[0]
	s.d[0], s.d[1] = s.d[1], s.d[0]
	for _, f := range []*wiredFrame{&s.down[0], &s.down[1], &s.up[0], &s.up[1], &s.flight} {
		switch f.kind {
		case noFrame, ackFrame:
		case beaconFrame, birthFrame:
			f.m = f.m>>1 | f.m&1<<1
		default:
			f.m = 1 - f.m
		}
	}
	return s
}

// What is built keeps the word, and would not if any of these were left out.
func TestWithdrawalWiring(t *testing.T) {
	full := wiring{prompt: true, doubt: true, crossing: true, grace: true, claims: true, allowance: true}
	with := func(edit func(w *wiring)) wiring { w := full; edit(&w); return w }
	tests := []struct {
		name   string
		wiring wiring
		want   string
	}{
		{"full", full, ""},
		{"but a frame may be on its way for longer than the allowance", with(func(w *wiring) { w.prompt = false }), afterTheWord},
		{"but every end is of the newest present", with(func(w *wiring) { w.doubt = false }), afterTheWord},
		{"but what crosses a birth is missing", with(func(w *wiring) { w.crossing = false }), afterTheWord},
		{"but no grace after a restart", with(func(w *wiring) { w.grace = false }), afterTheWord},
		{"but claims are not on disk", with(func(w *wiring) { w.claims = false }), afterTheWord},
		{"but no allowance", with(func(w *wiring) { w.allowance = false }), afterTheWord},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			steps := test.wiring.steps
			if test.want == "" {
				steps = func(s wired, emit func(move, wired)) {
					test.wiring.steps(s, func(by move, t wired) { emit(by, t.ordered()) })
				}
			}
			f := explore(wired{}, steps, wired.wrong)
			t.Logf("%s", f)
			if f.wrong != test.want {
				t.Errorf("got %q, want %q", f.wrong, test.want)
			}
		})
	}
}

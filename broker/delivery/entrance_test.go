package delivery

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/authority"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/wire"
	"porchlight/policy"
)

// inEntrance is inWorld with an authority, so that devices can be let in.
func inEntrance(t *testing.T, f func(w *world)) {
	t.Helper()
	inWorld(t, func(w *world) {
		var err error
		w.ca, err = authority.Open(filepath.Dir(w.path), nil, time.Now)
		w.must(err)
		w.restart()
		f(w)
	})
}

// stranger is a device that asks to be let in, played by hand.
type stranger struct {
	w       *world
	id      string
	apply   wire.Apply
	nonce   []byte
	binding wire.Binding
	up      *plug
}

func (w *world) stranger(way wire.Way, from string) *stranger {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.must(err)
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	w.must(err)
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	w.must(err)
	s := &stranger{w: w, nonce: make([]byte, wire.NonceSize), up: &plug{frames: make(chan Frame, 16), done: make(chan struct{}), from: from}}
	rand.Read(s.nonce)
	s.binding = wire.Binding{CA: w.ca.Key(), Device: sha256.Sum256(spki), NonceD: s.nonce}
	commit := wire.Commitment(s.nonce, s.binding.Device)
	s.id = wire.ApplicantID(s.binding.Device, commit)
	s.apply = wire.Apply{Commit: commit, CSR: csr, Model: wire.Model{Maker: "Lumen", Name: "L55"}, Class: device.TV, Way: way}
	return s
}

// ask does all that the device itself does.
func (s *stranger) ask(secret string) error {
	s.w.t.Helper()
	d := s.w.desk
	link := lasting{s.up}
	if err := d.Applied(s.id, link); err != nil {
		return err
	}
	if err := d.Apply(s.id, link, s.apply); err != nil {
		return err
	}
	e := s.heard()
	if e.Challenge == nil {
		return fmt.Errorf("turned away: %+v", e.TurnedAway)
	}
	s.binding.NonceG = e.Challenge.Nonce
	r := wire.Reveal{Nonce: s.nonce}
	if secret != "" {
		r.Proof = s.binding.Proof(secret)
	}
	return d.Reveal(s.id, link, r)
}

// lasting is a connection that is still there for a moment once it is closed, as a door's is: what
// is sent too much can be seen.
type lasting struct{ *plug }

func (lasting) Close(Reason) {}

// heard is the next frame that was sent to it.
func (s *stranger) heard() wire.Enrolment {
	s.w.t.Helper()
	s.w.wait()
	select {
	case f := <-s.up.frames:
		e, err := wire.DecodeEnrolment(f.Payload)
		s.w.must(err)
		return e
	default:
		s.w.t.Fatal("nothing was sent to the applicant")
		return wire.Enrolment{}
	}
}

func (w *world) at(home string) []ApplicantState {
	w.t.Helper()
	s, err := w.desk.Window(w.t.Context(), home)
	w.must(err)
	return s.Applicants
}

// devices lists the IDs at oak.
func (w *world) devices() (ids []device.ID) {
	w.t.Helper()
	all, err := w.desk.Devices(w.t.Context(), "oak")
	w.must(err)
	for _, d := range all {
		ids = append(ids, d.ID)
	}
	return ids
}

// A window, an application in it and what came of it end by themselves.
func TestEntranceEnds(t *testing.T) {
	inEntrance(t, func(w *world) {
		w.home()
		if err := w.stranger(wire.ByCode, "").ask(""); !errors.Is(err, ErrClosed) {
			t.Errorf("without a window: %v", err)
		}
		w.must(w.desk.OpenWindow(w.t.Context(), "oak"))
		slow := w.stranger(wire.ByCode, "")
		w.must(w.desk.Applied(slow.id, slow.up))
		s := w.stranger(wire.ByCode, "")
		w.must(s.ask(""))
		w.pass(time.Minute)
		w.at("oak")
		if e := slow.heard(); e.TurnedAway == nil || e.TurnedAway.Why != wire.Late {
			t.Errorf("one that reveals nothing: %+v", e)
		}
		if len(w.at("oak")) != 1 {
			t.Error("one that waits for its code is gone with it")
		}
		w.pass(15 * time.Minute)
		if len(w.at("oak")) != 0 {
			t.Error("an applicant outlives its window")
		}
		if e := s.heard(); e.TurnedAway == nil || e.TurnedAway.Why != wire.Late {
			t.Errorf("when the window closes: %+v", e)
		}

		// What was let in and never came is gone after ten minutes, and its ID with it.
		w.must(w.desk.OpenWindow(w.t.Context(), "oak"))
		s = w.stranger(wire.ByCode, "")
		w.must(s.ask(""))
		id, err := w.desk.LetIn(w.t.Context(), "oak", s.id, s.binding.Code(), "", Admission{})
		w.must(err)
		w.pass(9 * time.Minute)
		if !slices.Contains(w.devices(), id) {
			t.Error("it is gone before its ten minutes are over")
		}
		w.pass(2 * time.Minute)
		if slices.Contains(w.devices(), id) {
			t.Error("what never came is still there")
		}
		again := w.desk.db.View(w.t.Context(), func(tx *store.Tx) error {
			_, err := registry.Authenticate(tx, id, registry.Key(s.binding.Device))
			return err
		})
		if !errors.Is(again, registry.ErrUnknown) {
			t.Errorf("its key afterwards: %v", again)
		}
	})
}

// On a gateway of many homes nobody sees who asks from elsewhere, and no code lets in but at the
// home where it is typed.
func TestEntranceOfManyHomes(t *testing.T) {
	inEntrance(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		_, devices, err := w.desk.AddHome(w.t.Context(), HomeSpec{Name: "elm", Zone: "UTC", Devices: []DeviceSpec{{Class: device.TV, Controller: true}}})
		w.must(err)
		other := w.hand(devices[0].Device)
		other.connect()
		w.wait()
		open := func(h *hand, from string) {
			h.up.from = from
			w.must(w.desk.Join(h.id, h.up, wire.Join{Op: wire.JoinOpen}))
		}
		open(tv, "203.0.113.7")
		open(other, "198.51.100.9")
		s := w.stranger(wire.ByCode, "203.0.113.7")
		w.must(s.ask(""))
		if len(w.at("oak")) != 1 || len(w.at("elm")) != 0 {
			t.Errorf("oak sees %d, elm %d applicants, want 1 and 0", len(w.at("oak")), len(w.at("elm")))
		}
		if _, err := w.desk.LetIn(w.t.Context(), "elm", s.id, s.binding.Code(), "", Admission{}); !errors.Is(err, registry.ErrUnknown) {
			t.Errorf("the right code at the wrong home: %v", err)
		}
		lost := w.stranger(wire.ByCode, "192.0.2.1")
		if err := lost.ask(""); !errors.Is(err, ErrClosed) {
			t.Errorf("who asks from where nobody is: %v", err)
		}
		for i := range 4 {
			err := w.stranger(wire.ByCode, "203.0.113.7").ask("")
			if want := i >= 2; errors.Is(err, ErrFull) != want {
				t.Errorf("applicant %d: %v, want full %t", i+2, err, want)
			}
		}
		if err := w.stranger(wire.ByCode, "198.51.100.9").ask(""); err != nil {
			t.Errorf("a full window keeps others out of another: %v", err)
		}
	})
}

// What a person does on a trusted device is answered there; one that is not trusted may not.
func TestEntranceOnADevice(t *testing.T) {
	inEntrance(t, func(w *world) {
		hands := w.home(device.TV, device.Car)
		tv, car := hands[device.TV], hands[device.Car]
		var last wire.Window
		heard := func() wire.Window {
			w.wait()
			tv.mu.Lock()
			defer tv.mu.Unlock()
			return tv.window
		}
		if err := w.desk.Join(car.id, car.up, wire.Join{Op: wire.JoinOpen}); !errors.Is(err, ErrForbidden) {
			t.Errorf("a device that is not trusted: %v", err)
		}
		w.must(w.desk.Join(tv.id, tv.up, wire.Join{Op: wire.JoinOpen}))
		if last = heard(); last.Until == 0 || len(last.Applicants) != 0 {
			t.Errorf("opened: %+v", last)
		}
		s := w.stranger(wire.ByCode, "")
		w.must(s.ask(""))
		if last = heard(); len(last.Applicants) != 1 || last.Applicants[0].ID != s.id || last.Applicants[0].Model.Maker != "Lumen" || last.Applicants[0].Tries != 3 {
			t.Fatalf("one asks: %+v", last)
		}
		w.must(w.desk.Join(tv.id, tv.up, wire.Join{Op: wire.JoinAdmit, Applicant: s.id, Code: "wrong"}))
		if last = heard(); last.Outcome == nil || last.Outcome.Result != wire.JoinWrong || last.Applicants[0].Tries != 2 {
			t.Errorf("a wrong code: %+v", last)
		}
		code := s.binding.Code()
		w.must(w.desk.Join(tv.id, tv.up, wire.Join{Op: wire.JoinAdmit, Applicant: s.id, Code: code[:3] + " " + code[3:], Name: "TV", Room: "Den"}))
		last = heard()
		if last.Outcome == nil || last.Outcome.Result != wire.JoinAdmitted || !slices.Contains(w.devices(), last.Outcome.Device) || len(last.Applicants) != 0 {
			t.Errorf("the right code: %+v", last)
		}
		all, err := w.desk.Audit(w.t.Context(), AuditAsked{Home: "oak", About: string(last.Outcome.Device)})
		w.must(err)
		if len(all) == 0 || !strings.HasPrefix(string(all[0].Actor), "device "+string(tv.id)) || !strings.Contains(string(all[0].Fact), `"wrong":1`) || all[0].Kind != "device.added" {
			t.Errorf("the audit says %+v", all)
		}
		w.must(w.desk.Join(tv.id, tv.up, wire.Join{Op: wire.JoinAdmit, Applicant: s.id, Code: code}))
		if last = heard(); last.Outcome == nil || last.Outcome.Result != wire.JoinEnded {
			t.Errorf("once more: %+v", last)
		}
		w.must(w.desk.Join(tv.id, tv.up, wire.Join{Op: wire.JoinClose}))
		if last = heard(); last.Until != 0 {
			t.Errorf("closed: %+v", last)
		}
	})
}

// Who is known to be in front of a trusted device lets others in there as they could say yes there: no child alone,
// and nobody a device of somebody's who is not there. To turn away is anybody's.
func TestEntranceOfWhoIsThere(t *testing.T) {
	inEntrance(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		_, err := w.desk.AddPerson(w.t.Context(), "oak", PersonSpec{Name: "Carla", Age: device.Child, Guardians: []string{"Anna"}})
		w.must(err)
		for who, want := range map[any][4]bool{nil: {true, true, true, true}, "": {true, true, true, true}, "3": {}, "1": {true, true, false, true}, "2 3": {true, false, true, true}} { // for all, Anna, Ben, Carla
			tv.tell(map[string]any{"presence.who": who})
			if err := w.desk.Join(tv.id, tv.up, wire.Join{Op: wire.JoinOpen}); errors.Is(err, ErrForbidden) == want[0] {
				t.Errorf("%v is there and opens the window: %v", who, err)
			}
			for person, ok := range want {
				w.pass(20 * time.Minute) // a home sees so many challenges in a quarter of an hour
				tv.tell(map[string]any{"presence.who": who})
				w.must(w.desk.OpenWindow(w.t.Context(), "oak"))
				s := w.stranger(wire.ByCode, "")
				w.must(s.ask(""))
				err := w.desk.Join(tv.id, tv.up, wire.Join{Op: wire.JoinAdmit, Applicant: s.id, Code: s.binding.Code(), Person: uint32(person), Controller: true})
				if is := len(w.devices()) == 2; is != ok || errors.Is(err, ErrForbidden) == ok {
					t.Errorf("%v is there and lets in a device of person %d: %v, it is in: %t", who, person, err, is)
				}
				w.must(w.desk.Join(tv.id, tv.up, wire.Join{Op: wire.JoinReject, Applicant: s.id}))
				if !ok && len(w.at("oak")) > 0 {
					t.Errorf("%v is there and cannot turn a device away", who)
				}
				for _, id := range w.devices() {
					if id != tv.id {
						w.must(w.desk.RemoveDevice(w.t.Context(), id))
					}
				}
			}
			w.must(w.desk.Join(tv.id, tv.up, wire.Join{Op: wire.JoinClose}))
		}
	})
}

// Where a new device stands is a room of the home, or one that is called new: what is misspelt makes none, and costs
// no try.
func TestEntranceRoom(t *testing.T) {
	inEntrance(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		rooms := func() (names []string) {
			st, err := w.desk.Home(w.t.Context(), "oak")
			w.must(err)
			return st.Rooms
		}
		w.must(w.desk.OpenWindow(w.t.Context(), "oak"))
		ways := map[string]func(room string, made bool) error{
			"admitted": func(room string, made bool) error {
				s := w.stranger(wire.ByCode, "")
				w.must(s.ask(""))
				_, err := w.desk.LetIn(w.t.Context(), "oak", s.id, s.binding.Code(), "", Admission{Room: room, NewRoom: made})
				if err == nil {
					return nil
				}
				if left := w.at("oak"); len(left) != 1 || left[0].Tries != maxTries {
					t.Errorf("in room %q: who asks is %+v, want all tries left", room, left)
				}
				w.must(w.desk.TurnAway(w.t.Context(), "oak", s.id))
				return err
			},
			"added": func(room string, made bool) error {
				_, err := w.desk.AddDevice(w.t.Context(), "oak", DeviceSpec{Class: device.Speaker, Name: room, Room: room, NewRoom: made})
				return err
			},
			"changed": func(room string, made bool) error {
				_, err := w.desk.ChangeDevice(w.t.Context(), tv.id, DeviceChange{Room: &room, NewRoom: made})
				return err
			},
		}
		w.must(ways["changed"]("kitchen", false)) // the first is made
		for how, put := range ways {
			for room, want := range map[string]string{
				"kitchn": `room is "kitchn", and this home has no such room: did you mean "kitchen"? (--new-room makes a new one)`,
				"attic":  `room is "attic", and this home has no such room: use one of kitchen (--new-room makes a new one)`,
			} {
				var bad Invalid
				if err := put(room, false); !errors.As(err, &bad) || len(bad) != 1 || bad[0].Error() != want {
					t.Errorf("%s in room %q: %v, want %s", how, room, err, want)
				}
			}
			if got := rooms(); !slices.Equal(got, []string{"kitchen"}) {
				t.Errorf("%s: the rooms are %q, want the kitchen", how, got)
			}
		}
		want := []string{"kitchen"}
		for _, how := range slices.Sorted(maps.Keys(ways)) {
			w.must(ways[how]("kitchen", false))
			w.must(ways[how]("new "+how, true))
			want = append(want, "new "+how)
			if got := rooms(); !slices.Equal(got, want) {
				t.Errorf("%s: the rooms are %q, want %q", how, got, want)
			}
		}
	})
}

// Whoever tries one commitment after the other until the code comes out right is stopped long
// before.
func TestEntranceGrinding(t *testing.T) {
	inEntrance(t, func(w *world) {
		w.home()
		w.must(w.desk.OpenWindow(w.t.Context(), "oak"))
		got := 0
		for i := range 4 * maxChallenges {
			from := "10.0.0.1" // one address leaves some to others
			if i >= 2*maxChallenges {
				from = fmt.Sprint("10.0.0.", 2+i%3)
			}
			if i == 2*maxChallenges && got != maxChallenges/2 {
				t.Errorf("%d challenges were made to one address, want %d", got, maxChallenges/2)
			}
			s := w.stranger(wire.ByCode, from)
			w.must(w.desk.Applied(s.id, s.up))
			w.must(w.desk.Apply(s.id, s.up, s.apply))
			if e := s.heard(); e.Challenge != nil {
				got++
			} else if e.TurnedAway.Why != wire.Full {
				t.Errorf("turned away: %+v", e.TurnedAway)
			}
			w.desk.Departed(s.id, s.up)
			w.must(w.desk.CloseWindow(w.t.Context(), "oak")) // which is no way out
			w.must(w.desk.OpenWindow(w.t.Context(), "oak"))
		}
		if got != maxChallenges {
			t.Errorf("%d challenges were made at one home, want %d", got, maxChallenges)
		}
		w.pass(windowOpen)
		w.must(w.desk.OpenWindow(w.t.Context(), "oak"))
		w.must(w.stranger(wire.ByCode, "10.0.0.1").ask(""))
	})
}

// A device that lost the answer and asks again is asked the same, and nobody else is.
func TestEntranceSameChallenge(t *testing.T) {
	inEntrance(t, func(w *world) {
		w.home()
		w.must(w.desk.OpenWindow(w.t.Context(), "oak"))
		s := w.stranger(wire.ByCode, "")
		w.must(s.ask(""))
		_, err := w.desk.LetIn(w.t.Context(), "oak", s.id, s.binding.Code(), "", Admission{})
		w.must(err)
		first := s.heard().Admitted
		was := s.binding.NonceG
		s.up = &plug{frames: make(chan Frame, 16), done: make(chan struct{})}
		w.must(s.ask(""))
		if again := s.heard().Admitted; again == nil || again.ID != first.ID || string(s.binding.NonceG) != string(was) {
			t.Errorf("asked again: %+v, the same challenge %t", again, string(s.binding.NonceG) == string(was))
		}
		// Once it has been removed it is a stranger like any other, and gets another identity.
		w.must(w.desk.RemoveDevice(w.t.Context(), first.ID))
		s.up = &plug{frames: make(chan Frame, 16), done: make(chan struct{})}
		w.must(s.ask(""))
		if len(s.up.frames) != 0 || len(w.at("oak")) != 1 {
			t.Error("a device that was removed is let in again without anybody")
		}
		id, err := w.desk.LetIn(w.t.Context(), "oak", s.id, s.binding.Code(), "", Admission{})
		if w.must(err); id == first.ID {
			t.Error("an identity is given twice")
		}
	})
}

// What was let in and has not heard of it, because the gateway ended in between, is let in as the
// same; a key that another device has lets nobody in.
func TestEntranceAfterRestart(t *testing.T) {
	inEntrance(t, func(w *world) {
		w.home()
		w.must(w.desk.OpenWindow(w.t.Context(), "oak"))
		s := w.stranger(wire.ByCode, "")
		w.must(s.ask(""))
		first, err := w.desk.LetIn(w.t.Context(), "oak", s.id, s.binding.Code(), "", Admission{})
		w.must(err)
		again := func() (device.ID, error) {
			w.must(w.desk.OpenWindow(w.t.Context(), "oak"))
			s.up = &plug{frames: make(chan Frame, 16), done: make(chan struct{})}
			w.must(s.ask(""))
			return w.desk.LetIn(w.t.Context(), "oak", s.id, s.binding.Code(), "", Admission{})
		}
		w.restart()
		second, err := again()
		if w.must(err); second != first || len(w.devices()) != 1 {
			t.Errorf("let in again as %s, want %s, of %v", second, first, w.devices())
		}
		if a := s.heard().Admitted; a == nil || a.ID != first {
			t.Errorf("it is told %+v", a)
		}
		w.must(w.desk.Used(first, 1, registry.Key(s.binding.Device), ""))
		w.restart()
		if _, err = again(); !errors.Is(err, ErrKeyTaken) {
			t.Errorf("the key of a device that is at home: %v", err)
		}
		if e := s.heard(); e.TurnedAway == nil || e.TurnedAway.Why != wire.Unusable {
			t.Errorf("it is told %+v", e)
		}
	})
}

// What is let in again before it has logged in is there as it was let in last: a part, an owner and an end that were said before do not stay.
func TestEntranceAgainOnOtherTerms(t *testing.T) {
	day := func(w *world, n time.Duration) device.Instant { return w.now().Add(n * 24 * time.Hour) }
	tests := map[string]struct {
		first, second func(w *world) Admission
		taken         bool // its key is: it is turned away, to make a new one
	}{
		"no controller after all": {func(*world) Admission { return Admission{Controller: true} }, func(*world) Admission { return Admission{} }, false},
		"a controller after all":  {func(*world) Admission { return Admission{} }, func(*world) Admission { return Admission{Controller: true} }, false},
		"Anna's after all":        {func(*world) Admission { return Admission{} }, func(*world) Admission { return Admission{Owner: 1} }, false},
		"the home's after all":    {func(*world) Admission { return Admission{Owner: 1} }, func(*world) Admission { return Admission{} }, false},
		"another name and room":   {func(*world) Admission { return Admission{} }, func(*world) Admission { return Admission{Name: "Big", Room: "attic", NewRoom: true} }, false},
		"a guest's after all":     {func(*world) Admission { return Admission{} }, func(w *world) Admission { return Admission{Until: day(w, 1)} }, true},
		"a guest's no longer":     {func(w *world) Admission { return Admission{Until: day(w, 1)} }, func(*world) Admission { return Admission{} }, true},
		"a guest's for less":      {func(w *world) Admission { return Admission{Until: day(w, 2)} }, func(w *world) Admission { return Admission{Until: day(w, 1)} }, true},
		"a guest's, again":        {func(w *world) Admission { return Admission{Until: day(w, 1)} }, func(w *world) Admission { return Admission{Until: day(w, 1)} }, false},
	}
	for name, tt := range tests {
		inEntrance(t, func(w *world) {
			w.home()
			let := func(s *stranger, say Admission) (device.ID, error) {
				w.must(w.desk.OpenWindow(w.t.Context(), "oak"))
				s.up = &plug{frames: make(chan Frame, 16), done: make(chan struct{})}
				w.must(s.ask(""))
				return w.desk.LetIn(w.t.Context(), "oak", s.id, s.binding.Code(), "", say)
			}
			s := w.stranger(wire.ByCode, "")
			first, err := let(s, tt.first(w))
			w.must(err)
			w.restart()
			say := tt.second(w)
			second, err := let(s, say)
			if tt.taken {
				if !errors.Is(err, ErrKeyTaken) {
					t.Errorf("%s: %v, want ErrKeyTaken", name, err)
				}
				return
			}
			w.must(err)
			var is device.Device
			w.must(w.db.View(w.t.Context(), func(tx *store.Tx) (err error) { is, err = registry.Device(tx, second); return err }))
			if second != first || is.Controller != say.Controller || say.Until == 0 && is.Owner != say.Owner || (say.Until != 0) != (is.Until != 0) || is.Until > say.Until ||
				say.Name != "" && is.Name != say.Name || (say.Room != "") != (is.Room != 0) {
				t.Errorf("%s: it is %+v, of %s", name, is, first)
			}
		})
	}
}

// A device on which the home's code was typed, with a key that another has, is told once why it is
// turned away; the code still works for the next.
func TestEntranceFirstWithATakenKey(t *testing.T) {
	inEntrance(t, func(w *world) {
		w.home()
		code := func() string {
			c, err := w.desk.NewHomeCode(w.t.Context(), "oak")
			w.must(err)
			return c.Code
		}
		secret := code()
		s := w.stranger(wire.ByHome, "")
		w.must(s.ask(secret))
		first := s.heard().Admitted.ID
		w.must(w.desk.Used(first, 1, registry.Key(s.binding.Device), ""))
		w.restart() // what is known of answers is gone
		secret = code()
		s.up = &plug{frames: make(chan Frame, 16), done: make(chan struct{})}
		w.must(s.ask(secret))
		if e := s.heard(); e.TurnedAway == nil || e.TurnedAway.Why != wire.Unusable {
			t.Errorf("it is told %+v", e)
		}
		if n := len(s.up.frames); n != 0 {
			t.Errorf("%d frames more were sent to it", n)
		}
		next := w.stranger(wire.ByHome, "")
		w.must(next.ask(secret))
		if next.heard().Admitted == nil {
			t.Error("the code is used up by one that was turned away")
		}
	})
}

// A guest's device has nobody's consent, and is gone at its end, with the guest.
func TestGuest(t *testing.T) {
	inEntrance(t, func(w *world) {
		w.home(device.Fridge)
		w.choose(policy.Given)
		w.must(w.desk.OpenWindow(w.t.Context(), "oak"))
		s := w.stranger(wire.ByCode, "")
		w.must(s.ask(""))
		if _, err := w.desk.LetIn(w.t.Context(), "oak", s.id, s.binding.Code(), "", Admission{Until: w.now() - 1}); !errors.Is(err, registry.ErrInvalid) {
			t.Errorf("an end that has passed: %v", err)
		}
		end := w.now().Add(3 * time.Hour)
		id, err := w.desk.LetIn(w.t.Context(), "oak", s.id, s.binding.Code(), "", Admission{Until: end, Name: "Visitor"})
		w.must(err)
		w.must(w.desk.Used(id, 1, registry.Key(s.binding.Device), ""))
		guest := w.hand(device.Device{ID: id, Class: device.TV})
		guest.connect()
		w.wait()
		m := w.push(func(s *Submission) { s.Classes = []device.Class{device.TV} })
		guest.mustShow()
		if why := w.why(m, guest); !strings.Contains(why, "consent") {
			t.Errorf("a guest is judged %s, want no consent", why)
		}
		people := func() int {
			all, err := w.desk.People(w.t.Context(), "oak")
			w.must(err)
			return len(all)
		}
		if people() != 3 {
			t.Errorf("%d people, want Anna, Ben and the guest", people())
		}
		w.pass(3 * time.Hour)
		w.pass(2 * time.Second)
		if slices.Contains(w.devices(), id) || people() != 2 {
			t.Errorf("after its end: %v, %d people", w.devices(), people())
		}
		select {
		case <-guest.up.done:
		default:
			t.Error("its connection is open")
		}
	})
}

// A wipe is confirmed by the device, or is not; a reset removes it; and its ID lets nobody in again.
func TestWipe(t *testing.T) {
	inEntrance(t, func(w *world) {
		hands := w.home(device.TV, device.Fridge, device.Oven)
		tv, fridge, oven := hands[device.TV], hands[device.Fridge], hands[device.Oven]
		tv.wipes = true
		ok, err := w.desk.WipeDevice(w.t.Context(), tv.id)
		if w.must(err); !ok {
			t.Error("it said that it did, and was not believed")
		}
		start := time.Now()
		if ok, err = w.desk.WipeDevice(w.t.Context(), fridge.id); err != nil || ok || time.Since(start) < 30*time.Second {
			t.Errorf("one that says nothing: %t, %v after %s", ok, err, time.Since(start))
		}
		w.must(w.desk.Bye(oven.id, oven.up, wire.Bye{Reason: "reset"}))
		w.wait()
		if left := w.devices(); len(left) != 0 {
			t.Errorf("%v are left", left)
		}
		for _, h := range []*hand{tv, fridge, oven} {
			select {
			case <-h.up.done:
			default:
				t.Errorf("%s is still connected", h.class)
			}
			if _, err := w.desk.AddDevice(w.t.Context(), "oak", DeviceSpec{ID: h.id, Class: h.class}); !errors.Is(err, registry.ErrTaken) {
				t.Errorf("the ID of a removed %s: %v, want it to be taken for good", h.class, err)
			}
		}
		e, err := w.desk.AddDevice(w.t.Context(), "oak", DeviceSpec{Class: device.Washer})
		w.must(err)
		if ok, err = w.desk.WipeDevice(w.t.Context(), e.ID); err != nil || ok {
			t.Errorf("one that is away: %t, %v", ok, err)
		}
	})
}

// A device that describes itself anew, or whose alarm comes and goes, again and again, fills no
// disk; and the alarm errs towards being on.
func TestFactsOfADevice(t *testing.T) {
	inWorld(t, func(w *world) {
		oven := w.home(device.Oven)[device.Oven]
		facts := func() (n int) {
			w.must(w.db.View(w.t.Context(), func(tx *store.Tx) error { return tx.QueryRow(`SELECT count(*) FROM journal`).Scan(&n) }))
			return n
		}
		before := facts()
		for i := range 400 {
			oven.tell(map[string]any{"alarm": i%2 == 0})
		}
		if grew := facts() - before; grew > 2*w.desk.o.FactsAtOnce+2 {
			t.Errorf("400 changes of an alarm wrote %d facts", grew)
		}
		on := func() bool {
			var ids []device.ID
			w.must(w.db.View(w.t.Context(), func(tx *store.Tx) (err error) { ids, err = registry.Alarms(tx, 1); return err }))
			return len(ids) == 1
		}
		if !on() {
			t.Error("the alarm that came and went is off")
		}
		w.pass(time.Minute)
		oven.tell(map[string]any{"alarm": false})
		if on() {
			t.Error("the alarm stays on although it has been off for a minute")
		}
		refused := 0
		for i := range 300 {
			err := w.desk.Birth(oven.id, oven.up, wire.Birth{Class: device.Oven, Model: wire.Model{Name: fmt.Sprint("model ", i)}})
			if errors.Is(err, ErrOften) {
				refused++
			}
		}
		if refused < 100 {
			t.Errorf("of 300 new descriptions %d were refused", refused)
		}
	})
}

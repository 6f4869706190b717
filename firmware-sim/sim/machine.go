package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"porchlight/device"
	"porchlight/device/wire"
)

// machine is what a device is besides its screen: a television that plays, a car that drives, a
// door that opens. It changes by actions of a person and by time, and tells what its class
// reports as context.
type machine struct {
	class device.Class
	vals  map[device.Attribute]any // bool, float64 or string; one that is missing is unknown
	next  time.Time                // when step is due, zero: nothing moves by itself
	door  time.Time                // since when a fridge's door has been open
	phase int                      // of a washer, dryer or dishwasher; -1: no programme
	known []seen                   // who is there, by number, as far as it knows them
}

// action is one thing that a person, or the world, can do to a device.
type action struct {
	name string
	does string // for people
	do   func(m *machine, now time.Time) error
}

func newMachine(c device.Class) *machine {
	m := &machine{class: c, phase: -1, vals: map[device.Attribute]any{
		device.PowerState: "on", device.RoomOccupancy: true, device.DND: false, device.Alarm: false,
	}}
	set := func(a device.Attribute, v any) { m.vals[a] = v }
	switch c {
	case device.TV:
		set(device.PowerState, "standby")
		set(device.PlayerState, "off")
		set(device.AppName, "")
		set(device.Fullscreen, false)
		set(device.VolumeLevel, 0.3)
		set(device.VolumeMuted, false)
	case device.Speaker:
		set(device.PlayerState, "idle")
		set(device.VolumeLevel, 0.3)
		set(device.VolumeMuted, false)
		set(device.CallActive, false)
	case device.Companion:
		set(device.CallActive, false)
	case device.Console:
		set(device.PowerState, "standby")
		set(device.PlayerState, "off")
		set(device.GameState, "none")
	case device.Car:
		m.car(126, 0)
		set(device.CabinLanguage, "en")
	case device.Fridge:
		set(device.DoorOpen, false)
		set(device.Temperature, 4.0)
	case device.Oven:
		set(device.DoorOpen, false)
		set(device.Temperature, 20.0)
		m.programme("Stopped", "", 0)
	case device.Washer, device.Dryer, device.Dishwasher:
		set(device.DoorOpen, false)
		m.programme("Stopped", "", 0)
	}
	return m
}

func (m *machine) is(a device.Attribute, v any) bool { return m.vals[a] == v }

func (m *machine) number(a device.Attribute) float64 {
	n, _ := m.vals[a].(float64)
	return n
}

// car sets what the drive train says; 126 is the gear P, 127 is D.
func (m *machine) car(gear, speed float64) {
	driving := "idling"
	switch {
	case speed > 0:
		driving = "moving"
	case gear == 126:
		driving = "parked"
	}
	m.vals[device.Driving] = driving
	m.vals[device.SelectedGear] = gear
	m.vals[device.VehicleSpeed] = speed
	m.vals[device.VehicleMoving] = speed > 0
	m.vals[device.ParkingBrake] = gear == 126
	m.vals[device.LowVoltage] = "ON"
	if gear == 126 {
		m.vals[device.LowVoltage] = "ACC" // its screen stays on
	}
	restrictions := 0.0
	if driving != "parked" {
		restrictions = 255
	}
	m.vals[device.Restrictions] = restrictions
}

func (m *machine) programme(state, phase string, left float64) {
	m.vals[device.OperationalState] = state
	m.vals[device.CurrentPhase] = phase
	m.vals[device.CountdownTime] = left
}

func set(a device.Attribute, v any) func(*machine, time.Time) error {
	return func(m *machine, _ time.Time) error { m.vals[a] = v; return nil }
}

// need makes do fail with why unless ok holds.
func need(ok func(*machine) bool, why string, do func(*machine, time.Time) error) func(*machine, time.Time) error {
	return func(m *machine, now time.Time) error {
		if !ok(m) {
			return fmt.Errorf("%s", why)
		}
		return do(m, now)
	}
}

func isOn(m *machine) bool { return m.is(device.PowerState, "on") }

var common = []action{
	{"do not disturb on", "somebody wants to be left alone", set(device.DND, true)},
	{"do not disturb off", "", set(device.DND, false)},
	{"somebody comes", "somebody is in the room", func(m *machine, _ time.Time) error {
		m.vals[device.RoomOccupancy] = true
		if m.is(device.PresenceCount, 0.0) {
			m.vals[device.PresenceCount] = 1.0
		}
		return nil
	}},
	{"everybody leaves", "nobody is in the room", func(m *machine, _ time.Time) error { return m.people(0) }},
	{"somebody sleeps", "nobody is to be woken", set(device.Sleeping, true)},
	{"nobody sleeps", "", set(device.Sleeping, false)},
}

// player is what a television, a speaker and a console do with their player's state.
func player(state string) func(*machine, time.Time) error {
	return func(m *machine, _ time.Time) error {
		m.vals[device.PlayerState] = state
		if m.class == device.TV {
			m.vals[device.Fullscreen] = state == "playing"
			m.vals[device.AppName] = map[bool]string{true: "Film Club"}[state == "playing" || state == "paused"]
		}
		return nil
	}
}

func power(state, playing string) func(*machine, time.Time) error {
	return func(m *machine, now time.Time) error {
		if m.is(device.PowerState, state) {
			return nil
		}
		m.vals[device.PowerState] = state
		if m.vals[device.PlayerState] != nil {
			player(playing)(m, now)
		}
		if m.vals[device.GameState] != nil {
			m.vals[device.GameState] = "none"
		}
		return nil
	}
}

func volume(by float64) func(*machine, time.Time) error {
	return func(m *machine, _ time.Time) error {
		// In whole steps, so that up and down meet again.
		step := float64(int(m.number(device.VolumeLevel)*10+0.5)) + by
		m.vals[device.VolumeLevel] = min(max(step, 0), 10) / 10
		return nil
	}
}

func openDoor(m *machine, now time.Time) error {
	if !m.is(device.DoorOpen, true) {
		m.door = now
	}
	m.vals[device.DoorOpen] = true
	delete(m.vals, device.Completion) // it is being emptied
	m.next = now.Add(5 * time.Second)
	return nil
}

func closeDoor(m *machine, now time.Time) error {
	m.vals[device.DoorOpen] = false
	if m.class == device.Fridge {
		m.vals[device.Alarm] = false
	}
	m.next = now.Add(5 * time.Second)
	return nil
}

var (
	sound = []action{
		{"volume up", "", volume(1)},
		{"volume down", "", volume(-1)},
		{"mute sound", "", set(device.VolumeMuted, true)},
		{"unmute sound", "", set(device.VolumeMuted, false)},
	}
	calls = []action{
		{"call", "a telephone call begins", set(device.CallActive, true)},
		{"hang up", "", set(device.CallActive, false)},
	}
	washing = []action{
		{"start", "a short programme begins", start},
		{"pause", "", need(running, "no programme is running", set(device.OperationalState, "Paused"))},
		{"resume", "", resume},
		{"skip", "on to the next phase", need(running, "no programme is running", func(m *machine, now time.Time) error {
			m.advance(now)
			return nil
		})},
		{"stop", "the programme ends", stop},
		{"open door", "", need(func(m *machine) bool { return !running(m) }, "the door is locked while the programme is running: pause it first", openDoor)},
		{"close door", "", closeDoor},
	}
)

// actions lists what can be done to a device of class c.
func actions(c device.Class) []action {
	var own []action
	switch c {
	case device.TV:
		own = append([]action{
			{"turn on", "", power("on", "on")},
			{"turn off", "", power("standby", "off")},
			{"play", "a film fills the screen", need(isOn, "it is off: turn on first", player("playing"))},
			{"pause", "", need(func(m *machine) bool { return m.is(device.PlayerState, "playing") }, "nothing is playing", player("paused"))},
			{"stop", "back to the menu", need(isOn, "it is off: turn on first", player("idle"))},
			{"full screen", "", need(isOn, "it is off: turn on first", set(device.Fullscreen, true))},
			{"leave full screen", "", set(device.Fullscreen, false)},
		}, sound...)
	case device.Speaker:
		own = append([]action{
			{"play", "", player("playing")},
			{"pause", "", need(func(m *machine) bool { return m.is(device.PlayerState, "playing") }, "nothing is playing", player("paused"))},
			{"stop", "", player("idle")},
		}, append(sound, calls...)...)
	case device.Companion:
		own = calls
	case device.Console:
		game := func(state, playing string) func(*machine, time.Time) error {
			return need(isOn, "it is off: turn on first", func(m *machine, now time.Time) error {
				m.vals[device.GameState] = state
				return player(playing)(m, now)
			})
		}
		own = []action{
			{"turn on", "", power("on", "idle")},
			{"turn off", "", power("standby", "off")},
			{"play", "a match that cannot be interrupted", game("gameplay_uninterruptible", "playing")},
			{"pause", "the game's menu", game("gameplay_interruptible", "paused")},
			{"stop", "back to the console's menu", game("none", "idle")},
		}
	case device.Car:
		still := func(m *machine) bool { return m.number(device.VehicleSpeed) == 0 }
		own = []action{
			{"drive", "it moves off and gathers speed", func(m *machine, now time.Time) error {
				m.car(127, max(m.number(device.VehicleSpeed), 10))
				m.next = now.Add(time.Second)
				return nil
			}},
			{"stop", "it stands, engine on, in gear", func(m *machine, _ time.Time) error {
				m.car(127, 0)
				m.next = time.Time{}
				return nil
			}},
			{"park", "gear P, brake on", func(m *machine, _ time.Time) error {
				if !still(m) {
					return fmt.Errorf("it is moving at %g km/h: stop first", m.number(device.VehicleSpeed))
				}
				m.car(126, 0)
				return nil
			}},
			{"lose the sensors", "the drive train falls silent: driving is unknown", func(m *machine, _ time.Time) error {
				for _, a := range []device.Attribute{device.SelectedGear, device.VehicleSpeed, device.VehicleMoving, device.ParkingBrake} {
					delete(m.vals, a)
				}
				m.vals[device.Driving] = "unknown"
				m.next = time.Time{}
				return nil
			}},
		}
	case device.Fridge:
		own = []action{{"open door", "", openDoor}, {"close door", "", closeDoor}}
	case device.Oven:
		own = []action{
			{"start", "it heats up to 200 °C", func(m *machine, now time.Time) error {
				m.programme("Running", "heating", 0)
				m.vals[device.Setpoint] = 200.0
				m.next = now.Add(time.Second)
				return nil
			}},
			{"stop", "it cools down", func(m *machine, now time.Time) error {
				m.programme("Stopped", "cooling", 0)
				delete(m.vals, device.Setpoint)
				m.next = now.Add(time.Second)
				return nil
			}},
			{"raise alarm", "", set(device.Alarm, true)},
			{"clear alarm", "", set(device.Alarm, false)},
			{"open door", "", set(device.DoorOpen, true)},
			{"close door", "", set(device.DoorOpen, false)},
		}
	case device.Washer, device.Dryer, device.Dishwasher:
		own = washing
	case device.Display:
		own = []action{{"turn on", "", power("on", "")}, {"turn off", "", power("standby", "")}}
	}
	return slices.Concat(own, common)
}

// Actions lists the names that [Device.Do] knows for a device of class c.
func Actions(c device.Class) []string {
	var names []string
	for _, a := range actions(c) {
		names = append(names, a.name)
	}
	return names
}

// do carries out the action called name. It fails if the class has no such action, or if the
// action is impossible just now; then nothing has changed.
func (m *machine) do(name string, now time.Time) error {
	for _, a := range actions(m.class) {
		if a.name == name {
			return a.do(m, now)
		}
	}
	return fmt.Errorf("a %s has no such action: use one of %s", m.class, strings.Join(Actions(m.class), ", "))
}

// phases of a short programme, with their lengths in seconds.
var phases = map[device.Class][]struct {
	name string
	secs float64
}{
	device.Washer:     {{"wash", 60}, {"rinse", 30}, {"spin", 30}},
	device.Dryer:      {{"dry", 90}, {"cool", 30}},
	device.Dishwasher: {{"wash", 60}, {"rinse", 30}, {"dry", 30}},
}

func running(m *machine) bool { return m.is(device.OperationalState, "Running") }

func start(m *machine, now time.Time) error {
	if m.is(device.DoorOpen, true) {
		return fmt.Errorf("the door is open: close door first")
	}
	m.phase = -1
	m.advance(now)
	return nil
}

func resume(m *machine, now time.Time) error {
	switch {
	case !m.is(device.OperationalState, "Paused"):
		return fmt.Errorf("no programme is paused")
	case m.is(device.DoorOpen, true):
		return fmt.Errorf("the door is open: close door first")
	}
	m.vals[device.OperationalState] = "Running"
	m.next = now.Add(5 * time.Second)
	return nil
}

func stop(m *machine, _ time.Time) error {
	m.phase = -1
	m.programme("Stopped", "", 0)
	return nil
}

// advance begins the next phase, or ends the programme.
func (m *machine) advance(now time.Time) {
	m.phase++
	ps := phases[m.class]
	if m.phase >= len(ps) {
		stop(m, now)
		m.vals[device.Completion] = "NoError"
		return
	}
	delete(m.vals, device.Completion)
	m.programme("Running", ps[m.phase].name, ps[m.phase].secs)
	m.next = now.Add(5 * time.Second)
}

// tick lets time act. It reports whether anything changed.
func (m *machine) tick(now time.Time) bool {
	if m.next.IsZero() || now.Before(m.next) {
		return false
	}
	m.next = time.Time{}
	before := maps.Clone(m.vals)
	temp := m.number(device.Temperature)
	switch m.class {
	case device.Car:
		if speed := m.number(device.VehicleSpeed); speed > 0 && speed < 50 {
			m.car(127, speed+10)
			m.next = now.Add(time.Second)
		}
	case device.Fridge:
		open := m.is(device.DoorOpen, true)
		if open {
			temp = min(temp+0.5, 15)
			m.vals[device.Alarm] = now.Sub(m.door) >= time.Minute
		} else {
			temp = max(temp-0.5, 4)
		}
		m.vals[device.Temperature] = temp
		if open || temp > 4 {
			m.next = now.Add(5 * time.Second)
		}
	case device.Oven:
		if running(m) {
			if temp = min(temp+20, 200); temp == 200 {
				m.vals[device.CurrentPhase] = "hot"
			}
		} else if temp = max(temp-20, 20); temp == 20 {
			m.vals[device.CurrentPhase] = ""
		}
		m.vals[device.Temperature] = temp
		if running(m) && temp < 200 || !running(m) && temp > 20 {
			m.next = now.Add(time.Second)
		}
	case device.Washer, device.Dryer, device.Dishwasher:
		if !running(m) {
			break
		}
		if left := m.number(device.CountdownTime) - 5; left > 0 {
			m.vals[device.CountdownTime] = left
			m.next = now.Add(5 * time.Second)
		} else {
			m.advance(now)
		}
	}
	return !maps.Equal(before, m.vals)
}

// blocked says why the device itself shows nothing now, whatever it is asked; why is empty if
// it does.
func (m *machine) blocked() (r wire.Reason, why string) {
	switch {
	case m.class == device.Car && !m.is(device.Driving, "parked"):
		return wire.DrivingNow, "the car is not parked"
	case m.is(device.Alarm, true):
		return wire.Busy, "an alarm is sounding"
	case m.class == device.Oven && (running(m) || m.number(device.Temperature) >= 60):
		return wire.Busy, "the oven is hot"
	case m.is(device.CallActive, true):
		return wire.Busy, "a call is going on"
	case !isOn(m):
		return wire.Busy, "the device is off"
	case m.is(device.DND, true):
		return wire.UserDND, "do not disturb is on"
	}
	return 0, ""
}

// holds reports whether guard g on the attribute called name holds now. What is unknown, or
// cannot be compared, does not.
func (m *machine) holds(name string, g wire.Guard) bool {
	a, ok := device.ParseAttribute(name)
	if !ok {
		return false
	}
	have, err := a.ValueOf(m.vals[a])
	if err != nil || have.Kind == device.Unknown {
		return false
	}
	want, err := a.ValueOf(g.Value)
	if err != nil || want.Kind == device.Unknown {
		return false
	}
	switch g.Op {
	case "eq":
		return have == want
	case "ne":
		return have != want
	}
	if have.Kind != device.Number {
		return false
	}
	switch g.Op {
	case "lt":
		return have.Num < want.Num
	case "le":
		return have.Num <= want.Num
	case "gt":
		return have.Num > want.Num
	case "ge":
		return have.Num >= want.Num
	}
	return false
}

// snapshot is everything the device reports, by attribute name; nil is unknown.
func (m *machine) snapshot() map[string]any {
	vals := make(map[string]any)
	for a := range device.AttributesOf(m.class) {
		if v, ok := m.vals[a]; ok {
			vals[a.String()] = v
		}
	}
	return vals
}

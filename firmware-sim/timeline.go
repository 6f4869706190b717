package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"porchlight/device/wire"
	"porchlight/firmware-sim/sim"
)

// timeline prints what happens.
type timeline struct {
	devices []*sim.Device

	// fix is what to do about a connection that could not be made, in lines of their own; "": that is plain.
	fix func(error) string

	mu     sync.Mutex
	out    io.Writer
	colour bool
	said   map[string]saying // by device: why it has no connection, as last said; none while it has one
	fixed  map[string]bool   // each fix that was said
}

// saying is why a device has no connection, and when that was said.
type saying struct {
	why string
	at  time.Time
}

// sayAgain is how long a device that fails to connect for the same reason is silent about it.
const sayAgain = time.Minute

func newTimeline(out io.Writer) *timeline {
	return &timeline{out: out, said: make(map[string]saying), fixed: make(map[string]bool), fix: func(error) string { return "" }, colour: isTerminal(out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

func isTerminal(f any) bool {
	file, ok := f.(*os.File)
	if !ok {
		return false
	}
	fi, err := file.Stat()
	return err == nil && fi.Mode()&os.ModeCharDevice != 0
}

// The colours, as SGR numbers.
const (
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

func (t *timeline) paint(colour, s string) string {
	if !t.colour || colour == "" {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}

// note prints one event, and the screen it changes.
func (t *timeline) note(e sim.Event) {
	fix, silent := t.mend(e)
	if silent {
		return
	}
	var colour, text string
	quote := func() string {
		switch {
		case e.Sender == "":
			return fmt.Sprintf("%q", e.Text)
		case e.Text == "": // no more is seen of it
			return "something from " + e.Sender
		}
		return fmt.Sprintf("%q from %s", e.Text, e.Sender)
	}
	picture, lines := false, ""
	switch e.Kind {
	case sim.Connected:
		colour, text = dim, "is connected"
	case sim.Ready:
		colour, text = dim, "has heard the gateway's beacon"
	case sim.Away:
		colour, text = red, "is off line: "+e.Why
	case sim.Shown:
		colour, text, picture = green, map[string]string{"": "shows ", "tone": "sounds a tone and shows ", "voice": "says "}[e.Sound]+quote(), true
		if e.Dim {
			text += ", dark"
		}
	case sim.Waiting:
		colour, text = dim, "keeps "+quote()+" until the screen is free"
	case sim.Removed:
		colour, text, picture = yellow, "takes "+quote()+" off: "+e.Why, true
		if e.Unseen {
			text, picture = "drops "+quote()+", never shown: "+e.Why, false
		}
	case sim.Refused:
		colour, text = yellow, "does not show "+quote()+": "+e.Why
	case sim.Changed:
		colour, text = cyan, "» "+e.Why
	case sim.Chosen:
		colour, text = cyan, "» chooses "+e.Why
	case sim.Asked:
		colour, text, picture = green, "asks "+quote(), true
	case sim.Unasked:
		colour, text = yellow, "does not ask "+quote()+": "+e.Why
	case sim.Answered:
		colour, text, picture = cyan, "» answers "+quote()+": "+e.Why, true
	case sim.Said:
		colour, text = green, fmt.Sprintf("says %q", e.Text)
	case sim.Explained:
		text, lines = "explains:", e.Why
		if lines == "" {
			text = "has nothing to explain"
		}
	case sim.Stopping:
		colour, text = yellow, "stopping: nothing more of it is shown; "+e.Why
	case sim.Stopped:
		colour, text = green, "stopped: "+e.Why
	case sim.Told:
		text = "learns the home's choices, " + e.Why
	case sim.Conflict:
		colour, text = yellow, e.Why
	case sim.Complaint:
		colour, text = red, "is told by the gateway: "+e.Why
	case sim.Trouble:
		colour, text = red, "has trouble: "+e.Why
	case sim.Enrolling:
		colour, text = dim, e.Why
	case sim.TurnedAway:
		colour, text = yellow, "is not let in: "+e.Why
	case sim.Enrolled:
		colour, text = green, "belongs to a home now, as "+e.Why
	case sim.Rekeyed:
		colour, text = dim, e.Why
	case sim.Erased:
		colour, text = yellow, "has forgotten everything: "+e.Why
	case sim.Joining:
		colour, text = cyan, "» "+e.Why
	}
	t.line(e.At, e.Device, colour, text)
	if lines != "" {
		t.block(lines + "\n")
	}
	t.block(fix)
	for _, d := range t.devices {
		if d.Name() != e.Device {
			continue
		}
		if s := d.State(); picture || e.Kind == sim.Enrolling && s.Code != "" {
			t.block(s.Picture(44))
		}
	}
}

// mend is what is to be said about what keeps a device from connecting: the fix, once in all; and nothing at all
// where the device has just said the same.
func (t *timeline) mend(e sim.Event) (fix string, silent bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e.Err == nil {
		switch e.Kind {
		case sim.Connected, sim.Enrolling, sim.Away:
			delete(t.said, e.Device)
		}
		return "", false
	}
	fix = t.fix(e.Err)
	now := saying{fix, e.At}
	if fix == "" {
		now.why = strings.Map(func(r rune) rune {
			if '0' <= r && r <= '9' {
				return -1 // the port on this side is a new one each time
			}
			return r
		}, e.Why)
	}
	if last, ok := t.said[e.Device]; ok && last.why == now.why && now.at.Sub(last.at) < sayAgain {
		return "", true
	}
	t.said[e.Device] = now
	if t.fixed[fix] {
		return "", false
	}
	t.fixed[fix] = true
	return fix, false
}

func (t *timeline) line(at time.Time, who, colour, text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.out, "%s  %-10s %s\n", t.paint(dim, at.Format("15:04:05.000")), who, t.paint(colour, text))
}

// block prints lines of their own, indented.
func (t *timeline) block(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for l := range strings.Lines(text) {
		fmt.Fprintf(t.out, "%s%s", strings.Repeat(" ", 25), l)
	}
}

// raw prints what a person types.
func (t *timeline) raw(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	io.WriteString(t.out, text)
}

// move prints what happens in the recorded home, at its own time.
func (t *timeline) move(m sim.Move) {
	t.line(time.Now(), "", cyan, m.At.Format("Mon 2 Jan 15:04:05")+"  "+m.What)
}

func (t *timeline) problem(err error) { t.line(time.Now(), "", dim, err.Error()) }

// keyboard lets a person act on the devices, one key at a time.
type keyboard struct {
	devices []*sim.Device
	show    *timeline
	at      int          // the device that is selected
	cut     map[int]bool // whose cable is out
	adding  *adding      // nil: no device is being added
	typed   []byte       // a step in a script's words; nil: none is being typed
}

// adding is a person who adds a device to the home, on one that it trusts.
type adding struct {
	on         *sim.Device
	typed      []byte
	applicant  string // who is meant; "": the first
	controller bool   // the new device may add others too
}

const keyHelp = `A-Z select a device   a-z do one of its actions   0-9 press a button on its screen
-   put the message away           !   put it away, and no more like it
+   say yes to all brands          *   say no to all brands
    of a question: 1 yes  2 no  3 more  4 on a phone  - leave it
_   say nothing to a voice         $   answer it as a stranger
>   read the rest of a message of which only the sender is seen
/   why is this here?              \   what was held back today?
,   nothing for an hour            ;   nothing more of this brand
:   type a step, as in a script: comes: Anna   people: 2   caps: [{max: 3}]
    snooze: off   mute: {brand: grocer, for: 2h}   mute: {brand: grocer, lift: true}
#   pull or plug the cable         %   cut the power for a moment
=   show screens and choices       ?   this help            .   the end
@   add a device to the home       ^   factory reset
`

const addHelp = `type the six digits that it shows, or the secret on its label, and Enter
Tab the next device   ! say no to it   + it may add others too
@   close the window  Esc back, the window stays open
`

// run acts on every key until ctx ends or there is none left. It reports whether the person asked
// for the end.
func (k *keyboard) run(ctx context.Context, in io.Reader) (end bool) {
	k.cut = make(map[int]bool)
	k.help()
	buf := make([]byte, 1)
	for ctx.Err() == nil {
		if n, err := in.Read(buf); n == 0 || err != nil {
			if ctx.Err() == nil {
				k.show.problem(errors.New("the keyboard has ended: the devices go on without it, until this is interrupted"))
			}
			return false
		}
		if buf[0] == '.' && k.typed == nil {
			return true
		}
		if err := k.press(buf[0]); err != nil {
			k.show.problem(err)
		}
	}
	return false
}

func (k *keyboard) press(c byte) error {
	if k.adding != nil {
		return k.add(c)
	}
	if k.typed != nil {
		return k.step(c)
	}
	d := k.devices[k.at]
	asked := d.State().Screen.Question != nil
	switch {
	case c == ' ' || c == '\n' || c == '\r' || c == '\t':
	case c == '?':
		k.help()
	case 'A' <= c && c <= 'Z':
		if int(c-'A') >= len(k.devices) {
			return fmt.Errorf("there is no device %c: press ? for the list", c)
		}
		k.at = int(c - 'A')
		k.help()
	case 'a' <= c && c <= 'z':
		names := sim.Actions(d.Class())
		if int(c-'a') >= len(names) {
			return fmt.Errorf("%s has no action %c: press ? for the list", d.Name(), c)
		}
		return d.Do(names[c-'a'])
	case '1' <= c && c <= '4' && asked:
		return d.Reply(sim.Replies()[c-'1'], "")
	case '0' <= c && c <= '9':
		return d.Press(uint(c-'0'), nil)
	case c == '-' && asked:
		return d.Reply("back", "")
	case c == '-':
		return d.Dismiss(nil)
	case c == '>':
		return d.Read()
	case c == '_':
		return d.Reply("silence", "")
	case c == '$':
		return d.Reply("stranger", "")
	case c == '/':
		return d.Why("")
	case c == '\\':
		return d.HeldBack("")
	case c == ',':
		return d.Snooze(time.Hour)
	case c == ';':
		return d.MuteBrand()
	case c == ':':
		k.typed = []byte{}
		k.show.raw(":")
	case c == '!':
		w, err := sim.ParseWish("disallowed")
		if err != nil {
			return err
		}
		return d.Dismiss(&w)
	case c == '+':
		return d.ChooseAll("given")
	case c == '*':
		return d.ChooseAll("withdrawn")
	case c == '#':
		if k.cut[k.at] = !k.cut[k.at]; k.cut[k.at] {
			d.Unplug()
		} else {
			d.Plug()
		}
	case c == '%':
		return d.Reboot()
	case c == '^':
		return d.Reset()
	case c == '@':
		if err := d.OpenWindow(); err != nil {
			return err
		}
		k.adding = &adding{on: d}
		k.show.block("adding a device on " + d.Name() + ":\n" + addHelp)
	case c == '=':
		for _, d := range k.devices {
			k.show.block(d.State().Picture(44))
		}
		k.show.block(sim.Print(d.State().Twin))
	default:
		return fmt.Errorf("key %q does nothing: press ? for the list", c)
	}
	return nil
}

// step acts on a key while a step of a script is typed.
func (k *keyboard) step(c byte) error {
	switch {
	case c == 0x1b:
		k.typed = nil
		k.show.raw("\n")
	case c == '\b' || c == 0x7f:
		k.typed = k.typed[:max(len(k.typed)-1, 0)]
		k.show.raw("\n:" + string(k.typed))
	case c == '\r' || c == '\n':
		text := string(k.typed)
		k.typed = nil
		k.show.raw("\n")
		d := k.devices[k.at]
		s, err := sim.ParseStep(text, d.Class())
		if err != nil {
			return err
		}
		return s.Take(d)
	default:
		k.typed = append(k.typed, c)
		k.show.raw(string(c))
	}
	return nil
}

// add acts on a key while a device is being added.
func (k *keyboard) add(c byte) error {
	a := k.adding
	asking := a.on.State().Window.Applicants
	at := max(slices.IndexFunc(asking, func(w wire.Applicant) bool { return w.ID == a.applicant }), 0)
	switch {
	case c == 0x1b:
		k.adding = nil
		k.help()
	case c == '@':
		k.adding = nil
		return a.on.CloseWindow()
	case c == '?':
		k.show.block(addHelp)
	case c == '+':
		a.controller = !a.controller
		k.show.block(map[bool]string{true: "it may add others too\n", false: "it may not add others\n"}[a.controller])
	case c == '\b' || c == 0x7f:
		a.typed = a.typed[:max(len(a.typed)-1, 0)]
		k.show.block("typed: " + string(a.typed) + "\n")
	case c == '-' || c == ' ' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z':
		a.typed = append(a.typed, c)
		k.show.raw(string(c))
	case (c == '\r' || c == '\n') && len(a.typed) == 0:
	case len(asking) == 0 && (c == '\r' || c == '\n' || c == '\t' || c == '!'):
		a.typed = nil
		return fmt.Errorf("nobody asks to join %s's home: start the new device with --enrol", a.on.Name())
	case c == '\t':
		at = (at + 1) % len(asking)
		a.applicant = asking[at].ID
		k.show.block(sim.Describe(asking[at]) + " is meant\n")
	case c == '!':
		return a.on.Reject(asking[at].ID)
	case c == '\r' || c == '\n':
		code := string(a.typed)
		a.typed = nil
		k.show.raw("\n")
		return a.on.Admit(asking[at].ID, code, sim.Admission{Controller: a.controller})
	default:
		return fmt.Errorf("key %q does nothing while a device is added: press ? for the list", c)
	}
	return nil
}

func (k *keyboard) help() {
	var b strings.Builder
	for i, d := range k.devices {
		mark := " "
		if i == k.at {
			mark = ">"
		}
		fmt.Fprintf(&b, "%s %c %s\n", mark, 'A'+i, d.Name())
	}
	for i, name := range sim.Actions(k.devices[k.at].Class()) {
		fmt.Fprintf(&b, "    %c %s\n", 'a'+i, name)
	}
	k.show.block(b.String() + keyHelp)
}

// cbreak makes a terminal hand over each key at once, if it can; the function returned undoes it.
// Where it cannot, keys are read a line at a time.
func cbreak(in io.Reader) (restore func()) {
	file, ok := in.(*os.File)
	if !ok || !isTerminal(file) {
		return func() {}
	}
	stty := func(args ...string) ([]byte, error) {
		c := exec.Command("stty", args...)
		c.Stdin = file
		return c.Output()
	}
	was, err := stty("-g")
	if err != nil {
		return func() {}
	}
	if _, err := stty("-icanon", "-echo", "min", "1"); err != nil {
		return func() {}
	}
	return func() { stty(strings.TrimSpace(string(was))) }
}

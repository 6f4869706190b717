package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"porchlight/broker/api"
	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/wire"
	"porchlight/firmware-sim/sim"
)

// demoCommand tells the demo's story: a gateway, a home and a brand in a temporary folder, over
// real MQTT, TLS, CBOR and SQLite. With --once it ends after the last scene, and fails if one did
// not come out as told; otherwise the home stays on until ctx ends. It leaves nothing behind.
func demoCommand(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("porchlight demo", flag.ContinueOnError)
	flags.SetOutput(out)
	once := flags.Bool("once", false, "end after the last scene; exit status 0 only if every scene came out as told")
	pace := flags.Duration("pace", 700*time.Millisecond, "how long to wait before each line, for people who read along; --once does not wait")
	keep := flags.String("log", "", "write the gateway's log to this file")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return usageError{err}
	case flags.NArg() > 0:
		return usageError{fmt.Errorf("demo takes no %q", flags.Arg(0))}
	}
	dir, err := os.MkdirTemp("", "porchlight-demo-")
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer os.RemoveAll(dir)
	log := slog.New(slog.DiscardHandler)
	if *keep != "" {
		f, err := os.Create(*keep)
		if err != nil {
			return fmt.Errorf("demo: %w", cannotWrite(*keep, err))
		}
		defer f.Close()
		log = slog.New(slog.NewTextHandler(f, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}

	st := &story{out: out, colour: colours(out), dir: dir, devices: map[string]*sim.Device{}}
	if !*once {
		st.pace = *pace
	}
	st.shift.Store(int64(untilEvening(time.Now())))
	cfg := DefaultConfig()
	cfg.Data = filepath.Join(dir, "data")
	cfg.MQTT.Plain, cfg.MQTT.TLS, cfg.MQTT.WebSocket, cfg.HTTP.Plain, cfg.HTTP.Metrics = "127.0.0.1:0", "127.0.0.1:0", "", "127.0.0.1:0", "127.0.0.1:0"

	// Everything runs in one group; the story ends it.
	g, gctx := errgroup.WithContext(ctx)
	gctx, end := context.WithCancel(gctx)
	ready := make(chan Gateway, 1)
	g.Go(func() error {
		return serve(gctx, cfg, st.now, log, func(g Gateway) { ready <- g })
	})
	g.Go(func() error {
		defer end()
		select {
		case <-gctx.Done():
			return nil // serve says why
		case st.gateway = <-ready:
		}
		err := st.tell(gctx, g)
		if ctx.Err() != nil {
			return nil // somebody wants no more of it
		}
		if err != nil {
			return fmt.Errorf("demo: scene %d, %s: %w", st.scene, st.title, err)
		}
		st.line("")
		st.line(st.paint(bold, "All six scenes came out as told."))
		if *once {
			return nil
		}
		st.invite()
		<-ctx.Done()
		return nil
	})
	return g.Wait()
}

// story is the demo as it goes on.
type story struct {
	out     io.Writer
	colour  bool
	dir     string
	gateway Gateway
	devices map[string]*sim.Device
	pace    time.Duration
	over    atomic.Bool  // the six scenes are told
	shift   atomic.Int64 // how far the demo's clock is ahead of the machine's, ns

	mu    sync.Mutex // guards what is written
	scene int
	title string
	milk  device.MessageID // the first message, which comes back
}

// Zurich is where the demo's home is.
var zurich = func() *time.Location {
	zone, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		panic(err) // the tables are in the binary
	}
	return zone
}()

// untilEvening is how far six in the evening of the home's day is from t: so the story does not
// depend on when it is told.
func untilEvening(t time.Time) time.Duration {
	local := t.In(zurich)
	return time.Date(local.Year(), local.Month(), local.Day(), 18, 0, 0, 0, zurich).Sub(t)
}

func (st *story) now() device.Instant {
	return device.At(time.Now().Add(time.Duration(st.shift.Load())))
}

// leap sets the demo's clock ahead to hour:minute, at most a day.
func (st *story) leap(hour, minute int) {
	now := st.now().Time().In(zurich)
	to := time.Date(now.Year(), now.Month(), now.Day(), hour, minute, 0, 0, zurich)
	if to.Before(now) {
		to = to.AddDate(0, 0, 1)
	}
	st.shift.Add(int64(to.Sub(now)))
	st.gateway.Desk.Lookup()
	st.say("clock", grey, "It is %s.", to.Format("15:04"))
}

// The colours of who speaks.
const (
	bold    = "1"
	grey    = "90"
	red     = "31"
	green   = "32"
	yellow  = "33"
	magenta = "35"
	cyan    = "36"
)

func colours(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	fi, err := f.Stat()
	return err == nil && fi.Mode()&os.ModeCharDevice != 0
}

func (st *story) paint(colour, text string) string {
	if !st.colour || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

func (st *story) line(text string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	fmt.Fprintln(st.out, text)
}

// say prints what somebody did, with the home's time.
func (st *story) say(who, colour, what string, args ...any) {
	time.Sleep(st.pace)
	at := st.now().Time().In(zurich).Format("15:04:05")
	st.line(fmt.Sprintf("  %s  %s  %s", st.paint(grey, at), st.paint(colour, fmt.Sprintf("%-7s", who)), fmt.Sprintf(what, args...)))
}

// begin opens a scene.
func (st *story) begin(title string) {
	st.scene++
	st.title = title
	st.line("")
	st.line(st.paint(bold, fmt.Sprintf("%d  %s", st.scene, title)))
}

// picture prints what a device's screen shows.
func (st *story) picture(name string) {
	for _, l := range strings.Split(strings.TrimRight(st.devices[name].State().Picture(44), "\n"), "\n") {
		st.line("                     " + l)
	}
}

// command does what a person would type, and returns what it printed.
func (st *story) command(ctx context.Context, in string, args ...string) (string, error) {
	var out, errs bytes.Buffer
	args = append([]string{"--data", filepath.Join(st.dir, "data")}, args...)
	if status := run(ctx, args, strings.NewReader(in), &out, &errs); status != 0 {
		return "", errors.New(strings.TrimSpace(errs.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

// patience is how long anything in the story may take. Nothing in it takes a second.
const patience = 20 * time.Second

// tell is the whole story. Each scene fails if it does not come out as told.
func (st *story) tell(ctx context.Context, g *errgroup.Group) error {
	st.title = "setting up"
	st.line(st.paint(bold, "Porchlight: a gateway, a home and a brand; MQTT over TLS, CBOR and SQLite, all real."))
	if err := st.furnish(ctx, g); err != nil {
		return err
	}
	for _, scene := range []func(context.Context) error{st.refused, st.consented, st.shown, st.parked, st.quiet, st.withdrawn} {
		ctx, cancel := context.WithTimeout(ctx, patience)
		err := scene(ctx)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

// furnish adds the brand and the home and plugs its devices in.
func (st *story) furnish(ctx context.Context, g *errgroup.Group) error {
	whole := ctx // the devices live as long as the gateway
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	key, err := st.command(ctx, "", "brand", "add", "grocer", "--name", "Grocer", "--purpose", "marketing")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(st.dir, "key"), []byte(key), 0o600); err != nil {
		return err
	}
	home, err := sim.ParseHome("demo home", []byte(demoHome))
	if err != nil {
		return err
	}
	file := filepath.Join(st.dir, "home.yaml")
	if err := os.WriteFile(file, []byte(demoHome), 0o600); err != nil {
		return err
	}
	path, err := st.command(ctx, "", "home", "add", "--file", file)
	if err != nil {
		return err
	}
	// More than a home allows by default: the story is short.
	if _, err := st.command(ctx, "", "home", "set", home.Name, "--cap", "10/day"); err != nil {
		return err
	}
	creds, err := sim.ReadCredentials(path)
	if err != nil {
		return err
	}
	devices, err := sim.Devices(home, creds, sim.Config{Notify: st.later})
	if err != nil {
		return err
	}
	for _, d := range devices {
		st.devices[d.Name()] = d
		g.Go(func() error {
			err := d.Run(whole)
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		})
	}
	for _, d := range devices {
		if err := d.Await(ctx, func(s sim.State) bool { return s.Ready }); err != nil {
			return err
		}
	}
	st.say("home", green, "%s is in: %s.", home.Name, strings.Join(names(devices), ", "))
	st.say("grocer", magenta, "is registered, for the purpose marketing.")
	return nil
}

func names(devices []*sim.Device) (all []string) {
	for _, d := range devices {
		all = append(all, "the "+d.Name())
	}
	return all
}

// push sends a message as the brand does.
func (st *story) push(ctx context.Context, message string) (device.MessageID, error) {
	id, err := st.command(ctx, message, "push", "-", "--for", "72h", "--api", "http://"+st.gateway.Listeners["http"], "--key-file", filepath.Join(st.dir, "key"))
	if err != nil {
		return device.MessageID{}, err
	}
	_, text, _ := strings.Cut(message, "body: ")
	text, _, _ = strings.Cut(text, "\n")
	st.say("grocer", magenta, "pushes “%s”: accepted.", strings.Trim(text, `"}] `))
	return device.ParseMessageID(id)
}

// verdict waits until a device's verdict on a message is the one told, for the
// reasons told, and prints it in words.
func (st *story) verdict(ctx context.Context, id device.MessageID, name, want string, reasons ...string) error {
	saw := "nothing"
	for {
		why, err := ask[delivery.Why](&env{ctx: ctx, data: filepath.Join(st.dir, "data")}, "why", api.WhyAsked{ID: id, Home: "oak"})
		if ctx.Err() != nil {
			return fmt.Errorf("%s on the %s: %s %v was told, it is %s", id, name, want, reasons, saw)
		}
		if err != nil {
			return err
		}
		for _, s := range why.Homes[0].Screens {
			if s.Name != name {
				continue
			}
			if s.Verdict == want && slices.Equal(s.Reasons, reasons) {
				colour := map[string]string{"refuse": red, "hold": yellow, "show": green}[want]
				st.say("gateway", cyan, "%s on the %s (%s): %s.", st.paint(colour, strings.ToUpper(want)), name, strings.Join(reasons, ", "), strings.Join(s.Words, "; "))
				return nil
			}
			saw = fmt.Sprint(s.Verdict, " ", s.Reasons)
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// shows waits until a device shows a message.
func (st *story) shows(ctx context.Context, name string, id device.MessageID) error {
	err := st.devices[name].Await(ctx, func(s sim.State) bool { return s.Screen.Showing && s.Screen.Message == id })
	if err != nil {
		return err
	}
	st.say(name, green, "shows it:")
	st.picture(name)
	return nil
}

// dark fails unless a device shows nothing.
func (st *story) dark(name string) error {
	if s := st.devices[name].Screen(); s.Showing {
		return fmt.Errorf("the %s shows %q, and should show nothing", name, s.Text)
	}
	return nil
}

// clear waits until a device shows nothing.
func (st *story) clear(ctx context.Context, name string) error {
	return st.devices[name].Await(ctx, func(s sim.State) bool { return !s.Screen.Showing && s.Owed == 0 })
}

// do has a device do something, and says so.
func (st *story) do(name, action, words string) error {
	if err := st.devices[name].Do(action); err != nil {
		return err
	}
	st.say(name, green, "%s", words)
	return nil
}

func (st *story) refused(ctx context.Context) error {
	st.begin("Refused: nobody has said yes")
	id, err := st.push(ctx, messageMilk)
	if err != nil {
		return err
	}
	st.milk = id
	if err := st.verdict(ctx, id, "TV", "refuse", "consent"); err != nil {
		return err
	}
	return st.dark("TV")
}

func (st *story) consented(ctx context.Context) error {
	st.begin("Consent: the gateway asks, and somebody says yes")
	if _, err := st.command(ctx, "", "consent", "ask", "--home", "oak", "--brand", "grocer", "--purpose", "marketing"); err != nil {
		return err
	}
	tv := st.devices["TV"]
	if err := tv.Await(ctx, func(s sim.State) bool { return s.Screen.Question != nil }); err != nil {
		return fmt.Errorf("the question on the TV: %w", err)
	}
	st.say("TV", green, "asks: a yes is as near as a no.")
	st.picture("TV")
	if err := tv.Reply("yes", ""); err != nil {
		return err
	}
	st.say("TV", green, "Anna presses yes.")
	for name, d := range st.devices {
		err := d.Await(ctx, func(s sim.State) bool {
			return slices.ContainsFunc(s.Twin.Doc.Brands, func(b wire.BrandChoice) bool { return b.Brand == "grocer" && b.Choice == "given" })
		})
		if err != nil {
			return fmt.Errorf("the choice on the %s: %w", name, err)
		}
	}
	st.say("gateway", cyan, "recorded; every device of the home shows the new choice.")
	return nil
}

func (st *story) shown(ctx context.Context) error {
	st.begin("Shown: what was refused is judged anew")
	if err := st.shows(ctx, "TV", st.milk); err != nil {
		return err
	}
	if err := st.devices["TV"].Press(1, nil); err != nil {
		return err
	}
	st.say("TV", green, "Anna presses 1: on the list.")
	return st.clear(ctx, "TV")
}

func (st *story) parked(ctx context.Context) error {
	st.begin("The car: held while it moves, shown when it is parked")
	if err := st.do("Car", "drive", "drives off."); err != nil {
		return err
	}
	id, err := st.push(ctx, messagePickup)
	if err != nil {
		return err
	}
	if err := st.verdict(ctx, id, "Car", "hold", "safety"); err != nil {
		return err
	}
	if err := st.dark("Car"); err != nil {
		return err
	}
	if err := errors.Join(st.do("Car", "stop", "stops at a light: that is not parked."), st.verdict(ctx, id, "Car", "hold", "safety"), st.do("Car", "park", "is parked.")); err != nil {
		return err
	}
	if err := st.shows(ctx, "Car", id); err != nil {
		return err
	}
	if err := st.do("Car", "drive", "drives off again."); err != nil {
		return err
	}
	if err := st.clear(ctx, "Car"); err != nil {
		return err
	}
	st.say("Car", green, "its screen is clear: the car saw to that itself, and the gateway agrees.")
	return nil
}

func (st *story) quiet(ctx context.Context) error {
	st.begin("Quiet time: held until the morning")
	if err := st.devices["Fridge"].SetQuiet(wire.QuietTime{Start: 22 * 60, End: 7 * 60}); err != nil {
		return err
	}
	st.say("Fridge", green, "Ben sets quiet time on its display: 22:00 to 07:00.")
	st.leap(22, 30)
	id, err := st.push(ctx, messageBread)
	if err != nil {
		return err
	}
	if err := errors.Join(st.do("TV", "volume up", "is on; it tells the gateway so."), st.verdict(ctx, id, "TV", "hold", "quiet"), st.dark("TV")); err != nil {
		return err
	}
	st.leap(7, 0)
	if err := st.do("TV", "volume up", "is on this morning."); err != nil {
		return err
	}
	if err := st.shows(ctx, "TV", id); err != nil {
		return err
	}
	if err := st.devices["TV"].Dismiss(nil); err != nil {
		return err
	}
	st.say("TV", green, "Ben: not now.")
	return st.clear(ctx, "TV")
}

func (st *story) withdrawn(ctx context.Context) error {
	st.begin("Withdrawn: a No takes it off the screen")
	id, err := st.push(ctx, messageCheese)
	if err != nil {
		return err
	}
	if err := st.verdict(ctx, id, "Fridge", "hold", "context"); err != nil {
		return err
	}
	if err := st.do("Fridge", "open door", "its door opens."); err != nil {
		return err
	}
	if err := st.shows(ctx, "Fridge", id); err != nil {
		return err
	}
	began := time.Now()
	if err := st.devices["TV"].Choose("grocer", "marketing", "withdrawn"); err != nil {
		return err
	}
	if err := st.clear(ctx, "Fridge"); err != nil {
		return err
	}
	took := time.Since(began)
	st.say("TV", green, "Anna changes her mind: marketing from Grocer, no.")
	st.say("Fridge", green, "its screen is clear, %.1f ms after the press on the TV.", float64(took.Microseconds())/1000)
	err = st.devices["TV"].Await(ctx, func(s sim.State) bool { return s.Word.State == wire.WordStopped })
	if err != nil {
		return fmt.Errorf("the word on the TV: %w", err)
	}
	st.say("TV", green, "is told: stopped. Nothing from Grocer is on any screen of the home.")
	if err := st.verdict(ctx, id, "Fridge", "refuse", "consent", "dedupe"); err != nil {
		return err
	}
	return st.dark("TV")
}

// later tells what devices do once the story is over.
func (st *story) later(e sim.Event) {
	if !st.over.Load() {
		return
	}
	switch e.Kind {
	case sim.Shown:
		st.say(e.Device, green, "shows “%s”.", e.Text)
	case sim.Removed, sim.Refused:
		st.say(e.Device, green, "%s: “%s” (%s).", e.Kind, e.Text, e.Why)
	case sim.Told:
		st.say(e.Device, green, "learns the home's choices.")
	}
}

// invite tells how to go on by hand.
func (st *story) invite() {
	data := filepath.Join(st.dir, "data")
	st.pace = 0
	st.over.Store(true)
	st.line("")
	st.line("The home stays on until you press Ctrl-C, which removes it. What happens is told here. In another terminal:")
	me := os.Args[0]
	for _, l := range []string{
		me + " --data " + data + " device list --home oak",
		me + " --data " + data + " consent give --home oak --brand grocer --purpose marketing",
		me + " push configs/messages/milk.yaml --for 48h --api http://" + st.gateway.Listeners["http"] + " --key-file " + filepath.Join(st.dir, "key"),
		"curl http://" + st.gateway.Listeners["metrics"] + "/metrics",
	} {
		st.line("  " + l)
	}
}

const demoHome = `
name: oak
zone: Europe/Zurich
people: [{name: Anna}, {name: Ben}]
rooms: [living room, kitchen, garage]
devices:
  - {name: TV, class: tv, room: living room, controller: true, start: [turn on], model: {maker: Lumen, name: L55},
     can: {screen: [1920, 1080, 1397], inputs: [remote], forms: [toast, panel], buttons: 3, languages: [en], holds: 1}}
  - {name: Car, class: car, room: garage, model: {maker: Meridian, name: Estate},
     can: {screen: [1280, 720, 260], inputs: [touch], forms: [list], buttons: 2, languages: [en], holds: 1}}
  - {name: Fridge, class: fridge, room: kitchen, controller: true, model: {maker: Polar, name: F2},
     can: {screen: [800, 480, 180], inputs: [touch], forms: [toast, badge], buttons: 2, languages: [en], holds: 1}}
`

// The brand's messages.
const (
	messageMilk = `
purpose: marketing
category: groceries
classes: [tv]
texts:
  - language: en
    title: Fresh milk
    body: Mountain milk is 1.20 today.
buttons: [{id: 1, label: {en: On the list}}]
`
	messagePickup = `
purpose: marketing
category: groceries
classes: [car]
forms: [list]
texts:
  - language: en
    body: Your order can be picked up on the way home.
`
	messageBread = `
purpose: marketing
category: groceries
classes: [tv]
texts:
  - language: en
    body: Warm bread from half past seven.
`
	messageCheese = `
purpose: marketing
category: groceries
classes: [fridge]
when: [{attribute: door.open, op: eq, value: true}]
texts:
  - language: en
    body: Goes with it - a mild cheese from the valley.
`
)

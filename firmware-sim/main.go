// Command firmware-sim runs the devices of a home, or one new device, against a gateway and shows
// their screens.
//
// In: a home file, the credentials that the gateway wrote for it, a script, a keyboard, a recording.
// Out: a timeline of what each device does and shows. Never: anything that a real device could not
// know or do.
package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
	_ "time/tzdata" // a home's zone must be known on every machine

	"github.com/alecthomas/kong"

	"porchlight/device"
	"porchlight/device/wire"
	"porchlight/firmware-sim/sim"
)

// flags is the command line.
type flags struct {
	Home        string `placeholder:"FILE" help:"The home file, such as configs/homes/family.yaml."`
	Credentials string `placeholder:"FILE" help:"What the gateway wrote for the home. Default: porchlight-data/credentials/<home>.yaml."`
	Gateway     string `placeholder:"URL" help:"tls://, tcp://, ws:// or wss://host:port; overrides the credentials."`
	CA          string `name:"ca" placeholder:"FILE" help:"Certificate that the gateway's must come from; overrides the credentials."`
	Memory      string `placeholder:"DIR" help:"Keep what survives a power cut in this folder, new keys among it. Default: in memory, until the end."`
	Keyboard    bool   `help:"Act on the devices from the keyboard; ? lists the keys. Where the keyboard ends they go on without it."`
	Script      bool   `help:"Play the script of the home file."`

	Replay     string  `placeholder:"FILE" help:"Play a recorded home: tab-separated start, end, sensor, kind, place."`
	Speed      float64 `default:"600" help:"Recorded seconds in each real one."`
	From       string  `placeholder:"DATE" help:"Begin the recording here, as 2006-01-02."`
	Days       int     `help:"Play so many days of it; 0 plays all."`
	ReplayZone string  `placeholder:"ZONE" help:"Time zone of the recording. Default: the home's."`

	Enrol bool `group:"One new device, instead of --home:" help:"Ask the gateway of --gateway, tls:// or wss://, to be let in."`
	newDevice
}

// newDevice is what --enrol needs to know.
type newDevice struct {
	Class    string `group:"One new device, instead of --home:" placeholder:"CLASS" help:"What it is: tv, fridge, ..."`
	Name     string `group:"One new device, instead of --home:" placeholder:"NAME" help:"What it is called here, and its file in --memory. Default: its class."`
	Model    string `group:"One new device, instead of --home:" placeholder:"'MAKER NAME'" help:"What it calls itself to the home. Default: Porchlight simulator."`
	Label    string `group:"One new device, instead of --home:" placeholder:"SECRET" help:"It shows no six digits: this secret is on its label, 16 to 32 characters of a-z and 2-7."`
	HomeCode string `group:"One new device, instead of --home:" placeholder:"CODE" help:"It becomes the first trusted device of the home whose one-time code this is."`
	Token    bool   `group:"One new device, instead of --home:" help:"It makes no key, and asks for a token."`
}

const description = `Runs the devices of a home against a gateway and shows their screens.

With --home: the devices of a home file that was registered with porchlight home add. One that cannot connect says why, once and then at most
once a minute, and goes on trying, also where the gateway does not know it: that may be a slip.

With --enrol: one device that belongs to no home yet. It makes a key and shows six digits; somebody types them on a trusted device
of the home (on the keyboard of another simulator: @) or gives them to porchlight enrol admit, and it gets its identity. With --label its
secret is typed instead. With --home-code, of porchlight home init, nobody types more. --memory keeps its identity for the next time; without
it, it is new each time. It starts anew when the home removes it, or on a factory reset (on the keyboard: ^).`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout)
	stop()
	var usage usageError
	switch {
	case errors.As(err, &usage):
		fmt.Fprintln(os.Stderr, "firmware-sim:", err)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "firmware-sim:", err)
		os.Exit(1)
	}
}

// usageError is about the command line.
type usageError struct{ error }

// done means that the command line asked for help, and got it.
type done struct{}

// run is the command, until ctx ends, the recording is over, or the keyboard says so.
func run(ctx context.Context, args []string, in io.Reader, out io.Writer) (err error) {
	defer func() { // kong's way out of --help
		if r := recover(); r != nil {
			if _, ok := r.(done); !ok {
				panic(r)
			}
			err = nil
		}
	}()
	var f flags
	p, err := kong.New(&f, kong.Name("firmware-sim"), kong.Writers(out, out),
		kong.Description(description),
		kong.Exit(func(int) { panic(done{}) }))
	if err != nil {
		return err
	}
	if _, err := p.Parse(args); err != nil {
		return usageError{err}
	}
	show := newTimeline(out)
	base := sim.Config{Gateway: f.Gateway, Memory: f.Memory, Software: "firmware-sim", Notify: show.note}
	if err := f.check(); err != nil {
		return usageError{err}
	}
	if f.Memory != "" {
		if err := os.MkdirAll(f.Memory, 0o700); err != nil {
			return fmt.Errorf("make the devices' memory: %w", err)
		}
	}
	var home sim.Home
	var moves []sim.Move
	var devices []*sim.Device
	if f.Enrol {
		var d *sim.Device
		d, err = f.newDevice.make(base)
		devices = []*sim.Device{d}
	} else {
		home, moves, devices, err = f.home(base)
	}
	if err != nil {
		return err
	}
	show.devices = devices
	show.fix = func(err error) string { return f.fix(err, home.Name) }

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	failed := make(chan error, len(devices)+2)
	start := func(part func(context.Context) error) {
		wg.Go(func() {
			if err := part(ctx); err != nil {
				failed <- err
				cancel()
			}
		})
	}
	for _, d := range devices {
		start(d.Run)
	}
	if f.Script {
		start(func(ctx context.Context) error { return sim.Play(ctx, devices, home.Script, show.problem) })
	}
	if moves != nil {
		rooms := make(map[string]string)
		for _, t := range home.Devices {
			rooms[t.Name] = t.Room
		}
		start(func(ctx context.Context) error {
			defer cancel() // the end of the recording is the end
			return sim.Replay(ctx, devices, rooms, moves, f.Speed, show.move, show.problem)
		})
	}
	if f.Keyboard {
		restore := cbreak(in)
		defer restore()
		keys := keyboard{devices: devices, show: show}
		// Reading cannot be interrupted, so it is not waited for.
		go func() {
			if keys.run(ctx, in) {
				cancel()
			}
		}()
	}
	<-ctx.Done()
	wg.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// fix says what to do about a connection that could not be made, in lines of their own; "" where that is plain.
func (f *flags) fix(err error, home string) string {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	trust := "name its authority: --ca DATA/ca/ca.crt, where DATA is the gateway's data folder"
	if f.Enrol {
		trust = "it is another gateway than the one that has let it in: give the address of that one, or reset the device (on the keyboard: ^)"
	}
	switch {
	case errors.Is(err, sim.ErrNotKnown) && f.Enrol:
		return "removed there; when that has been said for 10 minutes it forgets who it is, and asks to be let in anew\n"
	case errors.Is(err, sim.ErrNotKnown):
		return fmt.Sprintf(`removed there, or given another token since; it goes on trying, for that may be a slip
which devices there are:  porchlight device list --home %q
a new token:              porchlight device token ID, put it into %s, and start this anew
another gateway, or the home was removed there:  porchlight home add --file %s, and start this anew
`, home, f.Credentials, f.Home)
	case errors.Is(err, sim.ErrNoTLS):
		return "tls:// and wss:// need the gateway's port with TLS, 8883 unless it was set otherwise; the port without is for tcp:// and ws://\n"
	case errors.Is(err, sim.ErrTLS):
		return "it seems to be a port with TLS, 8883 unless it was set otherwise: use tls:// or wss:// for it; tcp:// and ws:// are for the port without\n"
	case errors.As(err, &authority):
		return trust + "\n"
	case errors.As(err, &name):
		return "dial it by a name or an address that its certificate has\n"
	}
	return ""
}

// cannotRead says of a file that somebody has named why it cannot be read, and what to do about it. An error that is
// no file's, and none, stays as it is.
func cannotRead(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		var names []string
		entries, _ := os.ReadDir(filepath.Dir(path))
		for _, e := range entries {
			names = append(names, e.Name())
		}
		folder, file := filepath.Split(path)
		if near := device.Nearest(file, names); near != "" {
			return fmt.Errorf("%w: did you mean %s?", err, folder+near)
		}
		if here, bad := filepath.Abs(filepath.Dir(path)); bad == nil {
			return fmt.Errorf("%w: it was looked for in %s", err, here)
		}
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: run this as a user who may read it", err)
	case errors.Is(err, syscall.EISDIR):
		return fmt.Errorf("%w: name a file in it", err)
	}
	return err
}

// check is about flags that do not go together.
func (f *flags) check() error {
	switch {
	case !f.Enrol && f.Home == "":
		return errors.New("--home FILE is missing (or --enrol, for one new device)")
	case !f.Enrol && f.newDevice != newDevice{}:
		return errors.New("--class, --name, --model, --label, --home-code and --token go with --enrol")
	case !f.Enrol:
		return nil
	case f.Home != "" || f.Credentials != "" || f.Script || f.Replay != "":
		return errors.New("--enrol is one new device: --home, --credentials, --script and --replay do not go with it")
	case f.CA != "":
		return errors.New("--enrol learns which gateway it can trust when it is let in: leave --ca out")
	case f.Gateway == "" || f.Class == "":
		return errors.New("--enrol needs --gateway tls://HOST:PORT and --class")
	case f.Label != "" && f.HomeCode != "":
		return errors.New("--label and --home-code are two ways to be let in: use one")
	case strings.ContainsAny(f.Name, `/\`):
		return fmt.Errorf("--name %q would not do as a file's name", f.Name)
	}
	return nil
}

// make is the new device.
func (n newDevice) make(cfg sim.Config) (*sim.Device, error) {
	class, err := device.ParseClass(n.Class)
	if err != nil {
		return nil, usageError{fmt.Errorf("--class: %w", err)}
	}
	cfg.Name, cfg.Class = n.Name, class
	if cfg.Name == "" {
		cfg.Name = class.String()
	}
	if cfg.Memory != "" {
		cfg.Memory = filepath.Join(cfg.Memory, cfg.Name+".json")
	}
	maker, model, _ := strings.Cut(n.Model, " ")
	cfg.Model = device.Model{Maker: maker, Name: model}
	if n.Model == "" {
		cfg.Model = device.Model{Maker: "Porchlight", Name: "simulator"}
	}
	cfg.Can = device.Capabilities{
		Forms: []device.Form{device.Toast, device.Panel}, MaxButtons: 3, Holds: 2, Languages: []string{"en"}, Inputs: device.Buttons,
	}
	if slices.Contains(sim.Actions(class), "turn on") {
		cfg.Start = []string{"turn on"}
	}
	cfg.Enrol = &sim.Enrolment{Way: wire.ByCode, Token: n.Token}
	switch {
	case n.Label != "":
		cfg.Enrol.Way, cfg.Enrol.Secret = wire.ByLabel, n.Label
	case n.HomeCode != "":
		cfg.Enrol.Way, cfg.Enrol.Secret = wire.ByHome, n.HomeCode
	}
	d, err := sim.New(cfg)
	if err != nil {
		return nil, usageError{err}
	}
	return d, nil
}

// home makes the devices of the home file; moves is nil without a recording.
func (f *flags) home(base sim.Config) (home sim.Home, moves []sim.Move, devices []*sim.Device, err error) {
	if home, err = sim.ReadHome(f.Home); err != nil {
		return home, nil, nil, cannotRead(f.Home, err)
	}
	if moves, err = f.recording(home); err != nil {
		return home, nil, nil, err
	}
	if f.Credentials == "" {
		f.Credentials = filepath.Join("porchlight-data", "credentials", home.Name+".yaml")
	}
	creds, err := sim.ReadCredentials(f.Credentials)
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("%w\nregister the home with the running gateway first: porchlight home add --file %s", err, f.Home)
	} else {
		err = cannotRead(f.Credentials, err)
	}
	if err != nil {
		return home, nil, nil, err
	}
	if f.CA != "" {
		creds.CA = f.CA
	}
	devices, err = sim.Devices(home, creds, base)
	return home, moves, devices, cannotRead(creds.CA, err)
}

// recording reads the one of --replay, nil if there is none.
func (f *flags) recording(home sim.Home) ([]sim.Move, error) {
	if f.Replay == "" {
		return nil, nil
	}
	if f.Speed <= 0 {
		return nil, usageError{fmt.Errorf("--speed must be above 0, not %g", f.Speed)}
	}
	name := f.ReplayZone
	if name == "" {
		name = home.Zone
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, usageError{fmt.Errorf("--replay-zone %q is unknown: use an IANA name such as Europe/Madrid", name)}
	}
	var from time.Time
	if f.From != "" {
		if from, err = time.ParseInLocation(time.DateOnly, f.From, zone); err != nil {
			return nil, usageError{fmt.Errorf("--from %q is not a date such as 2011-11-28", f.From)}
		}
	}
	file, err := os.Open(f.Replay)
	if err != nil {
		return nil, fmt.Errorf("read the recording: %w", cannotRead(f.Replay, err))
	}
	defer file.Close()
	rows, err := sim.ReadRecording(file, f.Replay, zone)
	if err != nil {
		return nil, err
	}
	moves := sim.Between(sim.Moves(rows), from, f.Days)
	if len(moves) == 0 {
		return nil, fmt.Errorf("read the recording: nothing happens in %s from %s on", f.Replay, f.From)
	}
	return moves, nil
}

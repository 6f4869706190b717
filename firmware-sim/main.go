// Command firmware-sim runs the devices of a home against a gateway and shows their screens.
//
// In: a home file, the credentials that the gateway wrote for it, a script, a keyboard, a recording.
// Out: a timeline of what each device does and shows. Never: anything that a real device could not
// know or do.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"
	_ "time/tzdata" // a home's zone must be known on every machine

	"github.com/alecthomas/kong"

	"porchlight/firmware-sim/sim"
)

// flags is the command line.
type flags struct {
	Home        string `required:"" placeholder:"FILE" help:"The home file, such as configs/homes/family.yaml."`
	Credentials string `placeholder:"FILE" help:"What the gateway wrote for the home. Default: porchlight-data/credentials/<home>.yaml."`
	Gateway     string `placeholder:"URL" help:"tls://, tcp://, ws:// or wss://host:port; overrides the credentials."`
	CA          string `name:"ca" placeholder:"FILE" help:"Certificate that the gateway's must come from; overrides the credentials."`
	Memory      string `placeholder:"DIR" help:"Keep what survives a power cut in this folder. Default: in memory."`
	Keyboard    bool   `help:"Act on the devices from the keyboard; ? lists the keys."`
	Script      bool   `help:"Play the script of the home file."`

	Replay     string  `placeholder:"FILE" help:"Play a recorded home: tab-separated start, end, sensor, kind, place."`
	Speed      float64 `default:"600" help:"Recorded seconds in each real one."`
	From       string  `placeholder:"DATE" help:"Begin the recording here, as 2006-01-02."`
	Days       int     `help:"Play so many days of it; 0 plays all."`
	ReplayZone string  `placeholder:"ZONE" help:"Time zone of the recording. Default: the home's."`
}

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
		kong.Description("Runs the devices of a home against a gateway and shows their screens."),
		kong.Exit(func(int) { panic(done{}) }))
	if err != nil {
		return err
	}
	if _, err := p.Parse(args); err != nil {
		return usageError{err}
	}
	home, err := sim.ReadHome(f.Home)
	if err != nil {
		return err
	}
	moves, err := f.moves(home)
	if err != nil {
		return err
	}
	if f.Credentials == "" {
		f.Credentials = filepath.Join("porchlight-data", "credentials", home.Name+".yaml")
	}
	creds, err := sim.ReadCredentials(f.Credentials)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w\nregister the home with the running gateway first: porchlight home add --file %s", err, f.Home)
	}
	if err != nil {
		return err
	}
	if f.CA != "" {
		creds.CA = f.CA
	}
	if f.Memory != "" {
		if err := os.MkdirAll(f.Memory, 0o700); err != nil {
			return fmt.Errorf("make the devices' memory: %w", err)
		}
	}
	show := newTimeline(out)
	devices, err := sim.Devices(home, creds, sim.Config{
		Gateway: f.Gateway, Memory: f.Memory, Software: "firmware-sim", Notify: show.note,
	})
	if err != nil {
		return err
	}
	show.devices = devices

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

// moves reads the recording, nil if there is none.
func (f *flags) moves(home sim.Home) ([]sim.Move, error) {
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
		return nil, fmt.Errorf("read the recording: %w", err)
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

package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/policy"
)

// Gateway is what an operator is told of the running process.
type Gateway struct {
	Version   string            `json:"version"`
	Data      string            `json:"data"`      // folder
	CA        string            `json:"ca"`        // path of the certificate that clients trust
	Listeners map[string]string `json:"listeners"` // address by scheme: mqtt, mqtts, ws, wss, http, https
}

// What the verbs take and answer, beside the Desk's own types.
type (
	// Named names a home, or a brand by its ID.
	Named struct {
		Name string `json:"name"`
	}
	// HomeAdded is a new home with its devices and their tokens.
	HomeAdded struct {
		Home    registry.Home       `json:"home"`
		Devices []delivery.Enrolled `json:"devices"`
	}
	// HomeSet replaces preferences of a home. What is nil stays as it is.
	HomeSet struct {
		Name  string             `json:"name"`
		Quiet *[]policy.Quiet    `json:"quiet,omitempty"`
		Mutes *[]policy.MuteRule `json:"mutes,omitempty"`
		Caps  *[]policy.Cap      `json:"caps,omitempty"` // a list of none: no cap at all
	}
	// InHome names something in a home, or the home alone.
	InHome struct {
		Home string `json:"home"`
		Name string `json:"name,omitempty"`
	}
	// DeviceAdd adds a device to a home.
	DeviceAdd struct {
		Home   string              `json:"home"`
		Device delivery.DeviceSpec `json:"device"`
	}
	// DeviceRef names a device.
	DeviceRef struct {
		ID device.ID `json:"id"`
	}
	// BrandAdded is a new brand with its API key.
	BrandAdded struct {
		registry.Brand
		Key string `json:"key"`
	}
	// BrandRef names a brand.
	BrandRef struct {
		ID device.BrandID `json:"id"`
	}
	// Choice is a choice that somebody in a home made.
	Choice struct {
		Home    string         `json:"home"`
		Person  string         `json:"person,omitempty"` // "": the home as a whole
		Brand   device.BrandID `json:"brand"`
		Purpose policy.Purpose `json:"purpose"`
		Choice  policy.Choice  `json:"choice"`
	}
	// WhyAsked asks about a message, in one home or in all that have to do with it.
	WhyAsked struct {
		ID   device.MessageID `json:"id"`
		Home string           `json:"home,omitempty"`
	}
	// Status is how the gateway is.
	Status struct {
		Gateway Gateway         `json:"gateway"`
		State   delivery.Status `json:"state"`
		Store   string          `json:"store"` // ok, or what is wrong with it
	}
	// None is nothing to say.
	None struct{}
)

// Operators is the door for the operator's commands: a Unix socket that only the gateway's own
// user can open. Each verb is a POST of JSON to its name, as in /home/add.
type Operators struct {
	desk   *delivery.Desk
	log    *slog.Logger
	path   string
	l      net.Listener
	server *http.Server
}

// maxVerb is how many bytes of JSON a verb may take: a home of many devices.
const maxVerb = 1 << 20

// NewOperators opens the socket at path. One that a gateway left behind is replaced; one at
// which somebody answers is an error.
func NewOperators(desk *delivery.Desk, path string, gateway Gateway, log *slog.Logger) (*Operators, error) {
	l, err := listenUnix(path)
	if err != nil {
		return nil, fmt.Errorf("open the operator's socket %s: %w", path, err)
	}
	o := &Operators{desk: desk, log: log, path: path, l: l}
	o.server = server(o.verbs(gateway))
	o.server.WriteTimeout = 2 * time.Minute
	return o, nil
}

// maxPath is the longest path that a socket can have.
const maxPath = 107

func listenUnix(path string) (net.Listener, error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("its path has %d bytes, and a socket's has at most %d: use a data folder with a shorter path", len(path), maxPath)
	}
	if c, err := net.DialTimeout("unix", path, 2*time.Second); err == nil {
		c.Close()
		return nil, errors.New("a gateway answers there already: stop it first")
	}
	if fi, err := os.Lstat(path); err == nil && fi.Mode().Type() != fs.ModeSocket {
		return nil, errors.New("something else is there: move it away")
	}
	// It is made in a folder of its own, so that nobody can open it before its mode is set.
	dir, err := os.MkdirTemp(filepath.Dir(path), ".s")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	young := filepath.Join(dir, "s")
	l, err := net.Listen("unix", young)
	if err != nil {
		return nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // it goes by another name from now on
	if err = os.Chmod(young, 0o600); err == nil {
		err = os.Rename(young, path)
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Run answers until ctx is done.
func (o *Operators) Run(ctx context.Context) error {
	err := serve(ctx, []*http.Server{o.server}, []net.Listener{o.l})
	return errors.Join(err, os.Remove(o.path))
}

// Close closes the socket of a door that is not run.
func (o *Operators) Close() error {
	err := o.l.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return errors.Join(err, os.Remove(o.path))
}

func (o *Operators) verbs(gateway Gateway) http.Handler {
	d := o.desk
	mux := http.NewServeMux()
	verb(o, mux, "home/add", func(ctx context.Context, in delivery.HomeSpec) (HomeAdded, error) {
		h, devices, err := d.AddHome(ctx, in)
		return HomeAdded{h, devices}, err
	})
	verb(o, mux, "home/list", func(ctx context.Context, _ None) ([]registry.Home, error) { return d.Homes(ctx) })
	verb(o, mux, "home/remove", func(ctx context.Context, in Named) (None, error) { return None{}, d.RemoveHome(ctx, in.Name) })
	verb(o, mux, "home/set", o.setHome)
	verb(o, mux, "person/add", func(ctx context.Context, in InHome) (registry.Person, error) {
		return d.AddPerson(ctx, in.Home, in.Name)
	})
	verb(o, mux, "person/list", func(ctx context.Context, in InHome) ([]registry.Person, error) { return d.People(ctx, in.Home) })
	verb(o, mux, "person/remove", func(ctx context.Context, in InHome) (None, error) {
		return None{}, d.RemovePerson(ctx, in.Home, in.Name)
	})
	verb(o, mux, "device/add", func(ctx context.Context, in DeviceAdd) (delivery.Enrolled, error) {
		return d.AddDevice(ctx, in.Home, in.Device)
	})
	verb(o, mux, "device/list", func(ctx context.Context, in InHome) ([]delivery.DeviceState, error) { return d.Devices(ctx, in.Home) })
	verb(o, mux, "device/remove", func(ctx context.Context, in DeviceRef) (None, error) { return None{}, d.RemoveDevice(ctx, in.ID) })
	verb(o, mux, "brand/add", func(ctx context.Context, in registry.Brand) (BrandAdded, error) {
		if in.Quota == 0 {
			in.Quota = 100
		}
		key, err := d.AddBrand(ctx, in)
		return BrandAdded{in, key}, err
	})
	verb(o, mux, "brand/list", func(ctx context.Context, _ None) ([]registry.Brand, error) { return d.Brands(ctx) })
	verb(o, mux, "brand/remove", func(ctx context.Context, in BrandRef) (None, error) { return None{}, d.RemoveBrand(ctx, in.ID) })
	verb(o, mux, "consent/choose", func(ctx context.Context, in Choice) (None, error) {
		return None{}, d.Choose(ctx, in.Home, in.Person, in.Brand, in.Purpose, in.Choice)
	})
	verb(o, mux, "consent/list", func(ctx context.Context, in InHome) ([]delivery.ConsentState, error) { return d.Consents(ctx, in.Home) })
	verb(o, mux, "why", func(ctx context.Context, in WhyAsked) (delivery.Why, error) { return d.Why(ctx, in.ID, in.Home) })
	verb(o, mux, "status", func(ctx context.Context, _ None) (Status, error) {
		st, err := d.Status(ctx)
		s := Status{gateway, st, "ok"}
		if st.Fault != "" {
			s.Store = st.Fault
		}
		return s, err
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		write(w, &Problem{Type: "about:blank", Title: "Not Found", Status: http.StatusNotFound, Detail: "this gateway does not know that verb: is it as new as this command?"})
	})
	return mux
}

func (o *Operators) setHome(ctx context.Context, in HomeSet) (None, error) {
	var err error
	if in.Quiet != nil {
		err = errors.Join(err, o.desk.SetQuiet(ctx, in.Name, *in.Quiet))
	}
	if in.Mutes != nil {
		err = errors.Join(err, o.desk.SetMutes(ctx, in.Name, *in.Mutes))
	}
	if in.Caps != nil {
		err = errors.Join(err, o.desk.SetCaps(ctx, in.Name, *in.Caps))
	}
	return None{}, err
}

// verb adds one: its input is read strictly, its answer is the JSON of what f returns.
func verb[In, Out any](o *Operators, mux *http.ServeMux, name string, f func(context.Context, In) (Out, error)) {
	mux.HandleFunc("POST /"+name, func(w http.ResponseWriter, r *http.Request) {
		in, err := readVerb[In](r)
		var out Out
		if err == nil {
			out, err = f(r.Context(), in)
		}
		if err != nil {
			p := operatorProblem(err)
			if p.cause != nil {
				o.log.Error("verb failed", "verb", name, "status", p.Status)
			}
			write(w, p)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(out) // nobody is left to tell
	})
}

func readVerb[In any](r *http.Request) (in In, err error) {
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxVerb+1))
	if err == nil && len(raw) > maxVerb {
		err = fmt.Errorf("more than %d bytes", maxVerb)
	}
	if err == nil {
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.DisallowUnknownFields()
		if err = dec.Decode(&in); err == nil {
			if _, end := dec.Token(); end != io.EOF {
				err = errors.New("more follows after the object")
			}
		}
	}
	if err != nil {
		return in, &Problem{Type: "about:blank", Title: "Bad Request", Status: http.StatusBadRequest, Detail: "read the request: " + err.Error()}
	}
	return in, nil
}

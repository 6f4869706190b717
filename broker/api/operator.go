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
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/authority"
	"porchlight/device/registry"
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
	// InHome names something in a home, or the home alone.
	InHome struct {
		Home string `json:"home"`
		Name string `json:"name,omitempty"`
	}
	// DeviceRef names a device.
	DeviceRef struct {
		ID device.ID `json:"id"`
	}
	// WhyAsked asks about a message, in one home or in all that have to do with it.
	WhyAsked struct {
		ID   device.MessageID `json:"id"`
		Home string           `json:"home,omitempty"`
		delivery.WhyOptions
	}
	// HeldAsked asks what a home was not shown today, or what was learnt there.
	HeldAsked struct {
		Home string `json:"home"`
		delivery.WhyOptions
	}
	// Status is how the gateway is.
	Status struct {
		Gateway Gateway         `json:"gateway"`
		State   delivery.Status `json:"state"`
		Store   string          `json:"store"` // ok, or what is wrong with it
	}
	// Admit lets a device in that asks at a home.
	Admit struct {
		Home      string `json:"home"`
		Applicant string `json:"applicant"`
		Code      string `json:"code"`            // as the device shows it, or the secret of its label
		Owner     string `json:"owner,omitempty"` // a person's name; "": everybody's
		Until     string `json:"until,omitempty"` // as delivery.ParseUntil reads it, in place of the Admission's
		delivery.Admission
	}
	// Wiped says whether a device has confirmed that it forgot everything.
	Wiped struct {
		Confirmed bool `json:"confirmed"`
	}
	// CAs is the gateway's certificate authority.
	CAs struct {
		Path   string         `json:"path"` // what clients trust
		CAs    []authority.CA `json:"cas"`
		Behind int            `json:"behind"` // devices that do not know the newest yet
	}
	// Retire ends a rotation of the authority.
	Retire struct {
		Anyway bool `json:"anyway"` // also if devices are locked out by it
	}
	// Exported is the authority's private key.
	Exported struct {
		PEM string `json:"pem"`
	}
	// None is nothing to say.
	None struct{}
)

// Operators is the door for the operator's commands: a Unix socket that only the gateway's own
// user can open. Each verb is a POST of JSON to its name, as in /home/add.
type Operators struct {
	desk    *delivery.Desk
	ca      *authority.Authority
	rotated func()
	log     *slog.Logger
	path    string
	l       net.Listener
	server  *http.Server
	count   *verbCounters

	profiling sync.Mutex // held while a profile is taken
}

// verbCounters count what operators ask.
type verbCounters struct {
	requests *prometheus.CounterVec // by verb and status
	seconds  prometheus.Histogram
}

// Metrics returns what the door counts, for a registry of Prometheus.
func (o *Operators) Metrics() []prometheus.Collector {
	return []prometheus.Collector{o.count.requests, o.count.seconds}
}

// counted counts every answer, by the name of its verb.
func (o *Operators) counted(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, route := mux.Handler(r)
		verb, known := strings.CutPrefix(route, "POST /")
		if !known {
			verb = "unknown"
		}
		rec, began := &recorder{ResponseWriter: w}, time.Now()
		defer func() {
			o.count.requests.WithLabelValues(verb, strconv.Itoa(rec.status)).Inc()
			o.count.seconds.Observe(time.Since(began).Seconds())
		}()
		mux.ServeHTTP(rec, r)
	})
}

// maxVerb is how many bytes of JSON a verb may take: a home of many devices.
const maxVerb = 1 << 20

// NewOperators opens the socket at path. One that a gateway left behind is replaced; one at
// which somebody answers is an error. rotated is called when the authority has changed.
func NewOperators(desk *delivery.Desk, ca *authority.Authority, path string, gateway Gateway, rotated func(), log *slog.Logger) (*Operators, error) {
	l, err := listenUnix(path)
	if err != nil {
		return nil, fmt.Errorf("open the operator's socket %s: %w", path, err)
	}
	o := &Operators{desk: desk, ca: ca, rotated: rotated, log: log, path: path, l: l, count: &verbCounters{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "porchlight_operator_requests_total", Help: "Verbs of operators answered, by verb and status."}, []string{"verb", "code"}),
		seconds:  prometheus.NewHistogram(prometheus.HistogramOpts{Name: "porchlight_operator_request_duration_seconds", Help: "How long a verb of an operator took.", Buckets: answerBuckets}),
	}}
	o.server = server(o.counted(o.verbs(gateway)))
	o.server.WriteTimeout = 2 * time.Minute
	o.server.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, peerKey{}, c) }
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

func (o *Operators) verbs(gateway Gateway) *http.ServeMux {
	mux := http.NewServeMux()
	o.homeVerbs(mux)
	verb(o, mux, "device/remove", func(ctx context.Context, d *delivery.Desk, in DeviceRef) (None, error) {
		return None{}, d.RemoveDevice(ctx, in.ID)
	})
	verb(o, mux, "device/wipe", func(ctx context.Context, d *delivery.Desk, in DeviceRef) (Wiped, error) {
		ok, err := d.WipeDevice(ctx, in.ID)
		return Wiped{ok}, err
	})
	verb(o, mux, "device/token", func(ctx context.Context, d *delivery.Desk, in DeviceRef) (delivery.Enrolled, error) {
		return d.ReplaceToken(ctx, in.ID)
	})
	verb(o, mux, "home/init", func(ctx context.Context, d *delivery.Desk, in Named) (delivery.HomeCode, error) {
		return d.NewHomeCode(ctx, in.Name)
	})
	verb(o, mux, "enrol/open", func(ctx context.Context, d *delivery.Desk, in Named) (delivery.WindowState, error) {
		if err := d.OpenWindow(ctx, in.Name); err != nil {
			return delivery.WindowState{}, err
		}
		return d.Window(ctx, in.Name)
	})
	verb(o, mux, "enrol/list", func(ctx context.Context, d *delivery.Desk, in Named) (delivery.WindowState, error) {
		return d.Window(ctx, in.Name)
	})
	verb(o, mux, "enrol/close", func(ctx context.Context, d *delivery.Desk, in Named) (None, error) {
		return None{}, d.CloseWindow(ctx, in.Name)
	})
	verb(o, mux, "enrol/admit", func(ctx context.Context, d *delivery.Desk, in Admit) (DeviceRef, error) {
		if in.Until != "" {
			var err error
			if in.Admission.Until, err = d.Until(ctx, in.Home, in.Until); err != nil {
				return DeviceRef{}, err
			}
		}
		id, err := d.LetIn(ctx, in.Home, in.Applicant, in.Code, in.Owner, in.Admission)
		return DeviceRef{id}, err
	})
	verb(o, mux, "enrol/reject", func(ctx context.Context, d *delivery.Desk, in InHome) (None, error) {
		return None{}, d.TurnAway(ctx, in.Home, in.Name)
	})
	verb(o, mux, "audit", func(ctx context.Context, d *delivery.Desk, in delivery.AuditAsked) ([]delivery.AuditEntry, error) {
		return d.Audit(ctx, in)
	})
	verb(o, mux, "ca/show", func(ctx context.Context, d *delivery.Desk, _ None) (CAs, error) {
		all := o.cas()
		n, _, err := o.behind(ctx, d, 0)
		all.Behind = n
		return all, err
	})
	verb(o, mux, "ca/rotate", func(_ context.Context, d *delivery.Desk, _ None) (CAs, error) {
		return o.authority(d, "rotated", o.ca.Rotate)
	})
	verb(o, mux, "ca/retire", func(ctx context.Context, d *delivery.Desk, in Retire) (CAs, error) {
		if n, behind, err := o.behind(ctx, d, 10); err != nil {
			return CAs{}, err
		} else if n > 0 && !in.Anyway {
			more := ""
			if n > len(behind) {
				more = fmt.Sprintf(", and %d more", n-len(behind))
			}
			return CAs{}, &Problem{Type: "about:blank", Title: "Conflict", Status: http.StatusConflict,
				Detail: fmt.Sprintf("locked out would be %s%s, who do not know the new authority yet: wait until they have been here, or give those with a token the new ca.crt by hand. --anyway does it then, and for devices that never use TLS", strings.Join(behind, ", "), more)}
		}
		return o.authority(d, "retired", func(time.Time) error { return o.ca.Retire() })
	})
	verb(o, mux, "ca/export", func(_ context.Context, d *delivery.Desk, _ None) (Exported, error) {
		var b strings.Builder
		if err := d.AuthorityChanged("exported"); err != nil {
			return Exported{}, err
		}
		err := o.ca.ExportKey(&b)
		return Exported{b.String()}, err
	})
	o.brandVerbs(mux)
	o.consentVerbs(mux)
	o.rightsVerbs(mux)
	verb(o, mux, "why", func(ctx context.Context, d *delivery.Desk, in WhyAsked) (delivery.Why, error) {
		return d.Why(ctx, in.ID, in.Home, in.WhyOptions)
	})
	verb(o, mux, "context", func(ctx context.Context, d *delivery.Desk, in delivery.ContextAsked) ([]delivery.DeviceContext, error) {
		return d.ContextOf(ctx, in)
	})
	verb(o, mux, "condition", func(ctx context.Context, d *delivery.Desk, in delivery.ConditionAsked) (delivery.ConditionTold, error) {
		return d.ExplainCondition(ctx, in)
	})
	verb(o, mux, "learnt", func(ctx context.Context, d *delivery.Desk, in HeldAsked) ([]delivery.LearntState, error) {
		return d.Learnt(ctx, in.Home, in.WhyOptions)
	})
	verb(o, mux, "held", func(ctx context.Context, d *delivery.Desk, in HeldAsked) ([]delivery.HeldBack, error) {
		return d.Held(ctx, in.Home, in.WhyOptions)
	})
	verb(o, mux, "status", func(ctx context.Context, d *delivery.Desk, _ None) (Status, error) {
		st, err := d.Status(ctx)
		s := Status{gateway, st, "ok"}
		if st.Fault != "" {
			s.Store = st.Fault
		}
		return s, err
	})
	mux.HandleFunc("POST /profile", o.profile)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		write(w, &Problem{Type: "about:blank", Title: "Not Found", Status: http.StatusNotFound, Detail: "this gateway does not know that verb: is it as new as this command?"})
	})
	return mux
}

func (o *Operators) cas() CAs { return CAs{Path: o.ca.Path(), CAs: o.ca.Status()} }

// behind counts the devices that have not followed a rotation that goes on, and names the first most of them.
func (o *Operators) behind(ctx context.Context, d *delivery.Desk, most int) (int, []string, error) {
	since, rotating := o.ca.Rotating()
	if !rotating {
		return 0, nil, nil
	}
	return d.Behind(ctx, device.At(since), most)
}

// authority changes the certificate authority, writes that down, and asks devices for new keys.
func (o *Operators) authority(d *delivery.Desk, what string, change func(time.Time) error) (CAs, error) {
	if err := change(time.Now()); err != nil {
		return CAs{}, err
	}
	err := d.AuthorityChanged(what)
	o.rotated()
	return o.cas(), err
}

// verb adds one: its input is read strictly, its answer is the JSON of what f returns.
func verb[In, Out any](o *Operators, mux *http.ServeMux, name string, f func(context.Context, *delivery.Desk, In) (Out, error)) {
	mux.HandleFunc("POST /"+name, func(w http.ResponseWriter, r *http.Request) {
		in, err := readVerb[In](r)
		var out Out
		if err == nil {
			out, err = f(r.Context(), o.desk.As(caller(r)), in)
		}
		var raw []byte
		if err == nil {
			raw, err = json.Marshal(out)
		}
		if err != nil {
			p := operatorProblem(err)
			var wrong *registry.UnknownError
			if errors.As(err, &wrong) && p.Status == http.StatusNotFound {
				if fix := o.desk.Instead(r.Context(), wrong); fix != "" {
					p.Detail += ": " + fix
				}
			}
			if p.cause != nil {
				o.log.Error("verb failed", "verb", name, "status", p.Status)
			}
			write(w, p)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(append(raw, '\n')) // nobody is left to tell
	})
}

type peerKey struct{}

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

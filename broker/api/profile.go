package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"slices"
	"strings"
	"time"

	"porchlight/broker/delivery"
)

// ProfileAsked asks for a profile of the process, in the format of pprof; trace in that of go tool trace. It names
// functions of the program, and nothing that they were called with.
type ProfileAsked struct {
	Kind    string `json:"kind"`              // one of Profiles
	Seconds int    `json:"seconds,omitempty"` // how long to look, of those that Last: 1 to MaxProfile; 0: 10. Of the others 0
}

// Profiles lists the kinds of profile.
func Profiles() []string {
	return []string{"cpu", "heap", "allocs", "goroutine", "threadcreate", "block", "mutex", "trace"}
}

// Lasts reports whether a kind of profile is of a time, rather than of this moment.
func Lasts(kind string) bool {
	return slices.Contains([]string{"cpu", "block", "mutex", "trace"}, kind)
}

// MaxProfile is for how many seconds a profile may last.
const MaxProfile = 300

// profile answers with a profile. It is no verb like the others because its answer is no JSON. One is
// taken at a time: they would be of each other.
func (o *Operators) profile(w http.ResponseWriter, r *http.Request) {
	// Reading would else be over after the server's ReadTimeout, and then the request counts as given up.
	to := http.NewResponseController(w)
	err := to.SetReadDeadline(time.Time{})
	var in ProfileAsked
	if err == nil {
		in, err = readVerb[ProfileAsked](r)
	}
	if err == nil {
		err = in.check()
	}
	if err == nil && Lasts(in.Kind) && in.Seconds == 0 {
		in.Seconds = 10
	}
	if err == nil {
		err = to.SetWriteDeadline(time.Now().Add(time.Duration(in.Seconds)*time.Second + 2*time.Minute))
	}
	if err == nil && !o.profiling.TryLock() {
		err = &Problem{Type: "about:blank", Title: "Conflict", Status: http.StatusConflict, Detail: "another profile is being taken: wait until it is there"}
	} else if err == nil {
		defer o.profiling.Unlock()
		w.Header().Set("Content-Type", "application/octet-stream")
		err = in.take(r.Context(), w)
	}
	if err != nil {
		w.Header().Del("Content-Type")
		write(w, operatorProblem(err))
	}
}

func (in ProfileAsked) check() error {
	var bad delivery.Invalid
	if !slices.Contains(Profiles(), in.Kind) {
		bad = append(bad, &delivery.InvalidError{Field: "kind", Rule: "unknown", Why: fmt.Sprintf("is %.40q", in.Kind), Fix: "use one of " + strings.Join(Profiles(), ", ")})
	} else if !Lasts(in.Kind) && in.Seconds != 0 {
		bad = append(bad, &delivery.InvalidError{Field: "seconds", Rule: "range", Why: "is for kinds that last", Fix: "leave it out: " + in.Kind + " is of this moment"})
	}
	if in.Seconds < 0 || in.Seconds > MaxProfile {
		bad = append(bad, &delivery.InvalidError{Field: "seconds", Rule: "range", Why: fmt.Sprintf("is %d", in.Seconds), Fix: fmt.Sprintf("use 1 to %d", MaxProfile)})
	}
	if bad != nil {
		return bad
	}
	return nil
}

// take writes the profile to w; it ends sooner if ctx does. An error comes before the first byte.
func (in ProfileAsked) take(ctx context.Context, w io.Writer) error {
	wait := func() {
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(in.Seconds) * time.Second):
		}
	}
	switch in.Kind {
	case "cpu":
		if err := pprof.StartCPUProfile(w); err != nil {
			return fmt.Errorf("profile: %w", err)
		}
		wait()
		pprof.StopCPUProfile()
		return nil
	case "trace":
		if err := trace.Start(w); err != nil {
			return fmt.Errorf("profile: %w", err)
		}
		wait()
		trace.Stop()
		return nil
	case "block":
		runtime.SetBlockProfileRate(10_000) // one for each 10 µs of waiting
		wait()
		runtime.SetBlockProfileRate(0)
	case "mutex":
		runtime.SetMutexProfileFraction(10)
		wait()
		runtime.SetMutexProfileFraction(0)
	case "heap", "allocs":
		runtime.GC() // else it is as of the last one
	}
	_ = pprof.Lookup(in.Kind).WriteTo(w, 0) // nobody is left to tell
	return nil
}

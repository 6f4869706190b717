package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/authority"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/policy/consent"
)

// Problem is what is wrong with a request, in the form of RFC 9457.
type Problem struct {
	Type     string           `json:"type" format:"uri-reference" doc:"What kind of problem it is; a link into /docs." example:"/docs#invalid"`
	Title    string           `json:"title" doc:"The kind in words; always the same for one type." example:"the message cannot be accepted"`
	Status   int              `json:"status" doc:"The HTTP status." example:"422"`
	Detail   string           `json:"detail,omitempty" doc:"This case in words."`
	Instance string           `json:"instance,omitempty" doc:"Names this very fault in the gateway's log." example:"urn:porchlight:fault:4zjyu2qkcwh3vdpm"`
	Errors   delivery.Invalid `json:"errors,omitempty" doc:"All that is wrong, field by field."`

	after time.Duration // when to try again; 0: not said
	cause error         // for the log, never for the answer
}

// kind is a kind of problem. The documentation lists them all.
type kind struct {
	Slug   string
	Status int
	Title  string
	Why    string // when it comes
	Fix    string // what to do
}

var kinds = []kind{
	{"key", 400, "the idempotency key cannot be used", "POST came without Idempotency-Key, or with one that is not 1 to 128 printable ASCII characters without space.", "Send one key for each message you want said, such as a UUID, and the same key when you send it again."},
	{"unauthorized", 401, "no valid API key", "The Authorization header is missing, or its key is unknown or void.", "Send Authorization: Bearer plk_... with the key that the gateway's operator gave you."},
	{"unsigned", 403, "the message must be signed", "This brand has, or had, a signing key, or the gateway takes signed messages only.", "Sign the message as above, and send it with Content-Type: application/jose."},
	{"signature", 403, "the signature is not taken", "The JWS cannot be read, is made with another algorithm or for another Idempotency-Key, or does not fit a key of this brand that is in force.", "Go through errors: it names the part of the JWS, why, and the fix."},
	{"stopped", 403, "this brand has been stopped", "The gateway's operator has stopped this brand: what it had in force is withdrawn, and nothing is taken from it.", "Ask the operator. Trying again does not help before that."},
	{"not-found", 404, "not found", "The address is unknown, or you have sent no message with that ID.", "Compare the ID with the one that POST answered."},
	{"method", 405, "method not allowed", "The address is there, but does not take this method.", "Use a method that the Allow header names."},
	{"too-large", 413, "the request is too large", "The body is larger than 16 KiB, or 24 KiB where the message is signed.", "Send shorter texts or fewer languages."},
	{"invalid", 422, "the request cannot be accepted", "Something in it is missing, unknown, out of its range or not declared by this brand.", "Go through errors: each names the field, the rule, why, and the fix."},
	{"conflict", 422, "the key was used for another message", "The same Idempotency-Key came with another message before.", "Use a new key for a new message; the first one stands as it was."},
	{"rate", 429, "too many requests", "More requests a second came than one brand may send.", "Wait as many seconds as Retry-After says."},
	{"quota", 429, "too many messages in force", "As many messages of this brand are in force as it may have at one time.", "Withdraw one, wait until one has passed its not_after, or ask the operator for more. Trying again sooner does not help, so there is no Retry-After."},
	{"fault", 500, "the gateway has made a mistake", "Something went wrong that nobody thought of.", "Send it again with the same key; if it stays, give the operator what instance says."},
	{"busy", 503, "the gateway has too much to do", "More is on its way than its disk, its homes or its memory have room for. Nothing of this request was taken in. Messages can be withdrawn all the same.", "Send it again with the same key after as many seconds as Retry-After says."},
	{"late", 503, "the answer takes too long", "The disk does not follow, and the answer is not known yet.", "Send it again with the same key after as many seconds as Retry-After says: if it was taken in after all, that gives the first answer."},
	{"unavailable", 503, "the gateway cannot take messages just now", "Its disk is full, its database is locked, or it is ending.", "Send it again with the same key after as many seconds as Retry-After says."},
}

func newProblem(slug, detail string) *Problem {
	for _, k := range kinds {
		if k.Slug == slug {
			return &Problem{Type: "/docs#" + slug, Title: k.Title, Status: k.Status, Detail: detail}
		}
	}
	panic("kind of problem " + slug + " is not known")
}

func notFound(detail string) *Problem { return newProblem("not-found", detail) }

// statusGone is what is counted, and told to nobody, where the client has hung up before the answer. HTTP has no
// status for it; this one is what web servers write into their logs.
const statusGone = 499

// What the door itself finds wrong, beside what the Desk does.
var (
	errUnauthorized = errors.New("no valid API key")
	errTooLarge     = errors.New("request is too large")
)

// problem turns our error into HTTP's, for a brand: of an error that the brand cannot mend it
// tells the kind alone.
func problem(err error) *Problem {
	var p *Problem
	var invalid delivery.Invalid
	var signature *delivery.SignatureError
	var busy *delivery.BusyError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &signature):
		p = newProblem("signature", "")
		if signature == delivery.ErrUnsigned {
			p = newProblem("unsigned", "")
		}
		p.Errors = delivery.Invalid{(*delivery.InvalidError)(signature)}
		return p
	case errors.Is(err, delivery.ErrStopped):
		return newProblem("stopped", "ask the operator of the gateway")
	case errors.As(err, &invalid):
		p = newProblem("invalid", "")
		p.Errors = invalid
		return p
	case errors.Is(err, delivery.ErrKey):
		rule, why := "syntax", "is not 1 to 128 printable ASCII characters"
		if errors.Is(err, delivery.ErrNoKey) {
			rule, why = "required", "is missing"
		}
		p = newProblem("key", delivery.ErrKey.Error())
		p.Errors = delivery.Invalid{{Field: "Idempotency-Key", Rule: rule, Why: why, Fix: "send a UUID"}}
		return p
	case errors.Is(err, delivery.ErrConflict):
		p = newProblem("conflict", delivery.ErrConflict.Error())
		p.Errors = delivery.Invalid{{Field: "Idempotency-Key", Rule: "unique", Why: "was used for another message", Fix: "use a new key for a new message"}}
		return p
	case errors.Is(err, delivery.ErrQuota):
		return newProblem("quota", delivery.QuotaWhy(err)+": "+delivery.QuotaFix)
	case errors.Is(err, errUnauthorized):
		return newProblem("unauthorized", "send Authorization: Bearer plk_... with a key that is in force")
	case errors.Is(err, registry.ErrUnknown):
		return notFound("you have sent no message with this ID")
	case errors.Is(err, errTooLarge):
		return newProblem("too-large", fmt.Sprintf("send at most %d bytes, or %d where they are signed", delivery.MaxSubmission, delivery.MaxSigned))
	case errors.As(err, &busy):
		p = newProblem("busy", "nothing was taken in")
		p.after = busy.After
		return p
	case errors.Is(err, errGone):
		return &Problem{Type: "about:blank", Title: "the client has hung up", Status: statusGone, cause: err}
	case errors.Is(err, errLate):
		p = newProblem("late", "it may be taken in all the same")
		p.after, p.cause = 5*time.Second, err
		return p
	case unavailable(err):
		p = newProblem("unavailable", "nothing was taken in")
		p.after, p.cause = 5*time.Second, err
		return p
	}
	p = newProblem("fault", "")
	p.Instance, p.cause = "urn:porchlight:fault:"+string(device.NewID()), err
	return p
}

// unavailable reports whether err is a fault of the store that may pass.
func unavailable(err error) bool {
	for _, fault := range []error{store.ErrFull, store.ErrBusy, store.ErrReadOnly, store.ErrCorrupt, store.ErrClosed, store.ErrFailed} {
		if errors.Is(err, fault) {
			return true
		}
	}
	return false
}

// operatorProblem is [problem] for the operator, who may know everything.
func operatorProblem(err error) *Problem {
	p := &Problem{Type: "about:blank", Status: http.StatusInternalServerError, Detail: err.Error(), cause: err}
	var known *Problem
	var invalid delivery.Invalid
	var soon *consent.TooSoonError
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &soon), errors.Is(err, consent.ErrNotAsked), errors.Is(err, consent.ErrAnswered),
		errors.Is(err, delivery.ErrAsking), errors.Is(err, delivery.ErrNotNow):
		p.Status, p.cause = http.StatusConflict, nil
	case errors.As(err, &invalid):
		p.Status, p.Errors, p.cause = http.StatusUnprocessableEntity, invalid, nil
		var all []string
		for _, one := range invalid {
			all = append(all, one.Error())
		}
		p.Detail = strings.Join(all, "; ")
	case errors.Is(err, registry.ErrUnknown):
		p.Status, p.cause = http.StatusNotFound, nil
	case errors.Is(err, registry.ErrTaken), errors.Is(err, registry.ErrInUse), errors.Is(err, authority.ErrOverlap), errors.Is(err, authority.ErrNoOverlap),
		errors.Is(err, delivery.ErrCode), errors.Is(err, delivery.ErrClosed), errors.Is(err, delivery.ErrFull):
		p.Status, p.cause = http.StatusConflict, nil
	case errors.Is(err, registry.ErrInvalid), errors.Is(err, consent.ErrInvalid), errors.Is(err, device.ErrID):
		p.Status, p.cause = http.StatusUnprocessableEntity, nil
	case unavailable(err):
		p.Status = http.StatusServiceUnavailable
	}
	p.Title = http.StatusText(p.Status)
	return p
}

// write answers with a problem.
func write(w http.ResponseWriter, p *Problem) {
	for name, values := range p.GetHeaders() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // nobody is left to tell
}

// Error, GetStatus, GetHeaders and ContentType make a Problem an error as huma knows it.
func (p *Problem) Error() string {
	if p.Detail == "" && len(p.Errors) > 0 {
		return p.Title + ": " + p.Errors[0].Error()
	}
	return strings.TrimSuffix(p.Title+": "+p.Detail, ": ")
}

// GetStatus is the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders are the headers that go with it.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.after > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.after.Seconds()))))
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="porchlight"`)
	}
	return h
}

// ContentType is that of RFC 9457.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// huma makes its own errors, about parameters, with this function; there is one for the process.
func init() {
	huma.DefaultArrayNullable = false
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		p := newProblem("invalid", "")
		for _, err := range errs {
			detail := &huma.ErrorDetail{Location: "request", Message: err.Error()}
			_ = errors.As(err, &detail)
			_, field, ok := strings.Cut(detail.Location, ".")
			if !ok {
				field = detail.Location
			}
			p.Errors = append(p.Errors, &delivery.InvalidError{Field: field, Rule: "type", Why: "cannot be taken: " + detail.Message, Fix: "see /docs"})
		}
		if status >= 500 {
			p = newProblem("fault", "")
		}
		return p
	}
}

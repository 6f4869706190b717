package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/registry"
)

// Message is what a brand is told about one of its messages.
type Message struct {
	ID         string `json:"id" format:"uuid" doc:"Its name from now on." example:"019a9f3e-5b7a-7c31-9d0e-0c6f8a1f2b3c"`
	State      string `json:"state" enum:"accepted,withdrawn,expired" doc:"Where it stands. What became of it in a home is not told."`
	AcceptedAt string `json:"accepted_at" format:"date-time" doc:"When it was taken in."`
	NotAfter   string `json:"not_after" format:"date-time" doc:"From then on it is shown nowhere."`
}

func message(a delivery.Answer) Message {
	return Message{a.ID.String(), a.State, a.At.String(), a.NotAfter.String()}
}

type postInput struct {
	Key    string `header:"Idempotency-Key" required:"true" minLength:"1" maxLength:"128" doc:"Yours to choose, once for each message that you want said. Sent again with the same body it gives the same answer; with another body it is refused. It does not end." example:"offer-2026-12-24-oat-milk"`
	body   []byte
	signed bool
	err    error
}

// Resolve reads the body, which the Desk's own parser takes apart: a message gives the same
// errors through every door.
func (in *postInput) Resolve(ctx huma.Context) []error {
	most := delivery.MaxSubmission
	if kind, _, err := mime.ParseMediaType(ctx.Header("Content-Type")); err == nil && kind == delivery.SignedType {
		in.signed, most = true, delivery.MaxSigned
	}
	in.body, in.err = io.ReadAll(io.LimitReader(ctx.BodyReader(), int64(most)+1))
	switch {
	case in.err != nil:
		in.err = delivery.Invalid{{Field: "body", Rule: "syntax", Why: "broke off", Fix: "send the whole body"}}
	case len(in.body) > most:
		in.err = errTooLarge
	}
	return nil
}

// submission is what the body says.
func (in *postInput) submission() (delivery.Submission, error) {
	switch {
	case in.err != nil:
		return delivery.Submission{}, in.err
	case in.signed:
		return delivery.ParseSigned(in.body)
	}
	return delivery.ParseSubmission(in.body)
}

type postOutput struct {
	Replayed string `header:"Idempotent-Replayed" doc:"true: this key came with this message before, and this is the answer of then."`
	Body     Message
}

type idInput struct {
	ID string `path:"id" format:"uuid" doc:"As POST answered it."`
}

type messageOutput struct{ Body Message }

type listInput struct {
	After string `query:"after" format:"uuid" doc:"List those accepted after this one. Empty: from the first."`
	Limit int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"At most so many."`
}

type listOutput struct {
	Body struct {
		Messages []Message `json:"messages" doc:"In the order in which they were accepted."`
		Next     string    `json:"next,omitempty" format:"uuid" doc:"The next page begins after this one. Missing: this was the last."`
	}
}

type (
	brandKey struct{}
	actorKey struct{}
)

// forBrands lets only brands that are in force and within their rate come to next.
func (d *Door) forBrands(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), patience)
		defer cancel()
		r = r.WithContext(ctx)
		b, err := d.authenticate(r)
		if err == nil && d.o.Limit != nil {
			if ok, after := d.o.Limit(b.ID); !ok {
				d.count.limited.Inc()
				p := newProblem("rate", "this brand sends more requests a second than it may: send this one again in as many seconds as Retry-After says")
				p.after, err = after, p
			}
		}
		if err == nil && r.Method == http.MethodPost { // before its body is read
			err = d.desk.Room()
		}
		if err != nil {
			write(w, d.note(ctx, err))
			return
		}
		ctx = context.WithValue(ctx, brandKey{}, b)
		host, _, _ := net.SplitHostPort(r.RemoteAddr) // "" where there is none
		next.ServeHTTP(w, r.WithContext(context.WithValue(ctx, actorKey{}, device.Actor(strings.TrimSpace("brand "+string(b.ID)+" "+host)))))
	})
}

// note is [problem] of an error in a request, with a line in the log for what is ours to mend. What every request
// could cause while the disk does not follow has its line once a minute.
func (d *Door) note(ctx context.Context, err error) *Problem {
	err = late(ctx, err)
	p := problem(err)
	if p.Status == http.StatusInternalServerError && errors.Is(err, context.Canceled) && errors.Is(ctx.Err(), context.Canceled) {
		p = problem(fmt.Errorf("%w: %w", errGone, err))
	}
	var busy *delivery.BusyError
	reason := ""
	switch {
	case errors.As(err, &busy):
		reason = busy.Reason
	case errors.Is(err, errLate):
		reason = "late"
	case p.Status == http.StatusServiceUnavailable:
		reason = "disk"
	}
	if reason != "" {
		d.shed.WithLabelValues(reason).Inc()
	}
	switch {
	case p.cause == nil:
	case p.Status == statusGone:
		d.log.Debug("request not answered", "err", p.cause)
	case reason == "":
		d.log.Error("request not served", "status", p.Status, "fault", p.Instance, "err", p.cause)
	default:
		level := slog.LevelError
		if reason == "late" {
			level = slog.LevelWarn // it may be served all the same
		}
		if n, ok := d.often[reason].due(time.Now()); ok {
			d.log.Log(ctx, level, "requests not served", "status", p.Status, "reason", reason, "times", n, "err", p.cause)
		}
	}
	return p
}

func (d *Door) authenticate(r *http.Request) (b registry.Brand, err error) {
	scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || key == "" {
		return b, errUnauthorized
	}
	b, err = d.keys.Authenticate(r.Context(), key)
	if errors.Is(err, registry.ErrUnknown) {
		return b, errUnauthorized
	}
	return b, err
}

func brandOf(ctx context.Context) registry.Brand { return ctx.Value(brandKey{}).(registry.Brand) }

// deskOf is the Desk on behalf of the brand whose request this is.
func (d *Door) deskOf(ctx context.Context) *delivery.Desk {
	return d.desk.As(ctx.Value(actorKey{}).(device.Actor))
}

// brands returns what is under /v1, with the document that describes it.
func (d *Door) brands() (*http.ServeMux, *huma.OpenAPI, error) {
	config := huma.DefaultConfig("Porchlight for brands", "1")
	config.CreateHooks, config.DocsPath, config.SchemasPath = nil, "", "" // pages of our own, which need no network
	config.Components.Schemas = newRegistry()
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"key": {Type: "http", Scheme: "bearer", Description: "The API key that the gateway's operator gave you: plk_ and 43 characters."},
	}
	config.Security = []map[string][]string{{"key": {}}}
	config.Info.Description = "Hand in a message once. Whether, where and when it is shown is decided in each home, by what the people there have said; the answers here are the same whatever that is."
	mux := http.NewServeMux()
	api := humago.New(mux, config)

	huma.Register(api, huma.Operation{
		OperationID: "send-message", Method: http.MethodPost, Path: "/v1/messages", DefaultStatus: http.StatusAccepted,
		Summary:     "Send a message",
		Description: "202 means that the message is on disk: it survives a power cut, and can be withdrawn. It does not mean that anybody will see it. Send it again, with the same key, whenever you are not sure that it arrived.",
		Errors:      []int{400, 401, 403, 413, 422, 429, 500, 503}, SkipValidateParams: true,
	}, func(ctx context.Context, in *postInput) (*postOutput, error) {
		s, err := in.submission()
		if err != nil {
			return nil, d.note(ctx, err)
		}
		leave, err := d.desk.Enter()
		if err != nil {
			return nil, d.note(ctx, err)
		}
		a, err := within(func() (delivery.Answer, error) {
			defer leave()
			return d.deskOf(ctx).Accept(ctx, brandOf(ctx), in.Key, s)
		})
		if errors.Is(err, registry.ErrUnknown) {
			err = errUnauthorized // the brand was removed a moment ago
		}
		if err != nil {
			return nil, d.note(ctx, err)
		}
		out := &postOutput{Body: message(a)}
		if a.Replayed {
			out.Replayed = "true"
		}
		return out, nil
	})
	huma.Register(api, huma.Operation{
		OperationID: "get-message", Method: http.MethodGet, Path: "/v1/messages/{id}",
		Summary: "Look at a message",
		Errors:  []int{401, 404, 422, 429, 500, 503}, SkipValidateParams: true,
	}, func(ctx context.Context, in *idInput) (*messageOutput, error) {
		return d.one(ctx, in.ID, d.desk.Message)
	})
	huma.Register(api, huma.Operation{
		OperationID: "withdraw-message", Method: http.MethodDelete, Path: "/v1/messages/{id}",
		Summary:     "Take a message back",
		Description: "When it answers, nothing more of the message is released, and the screens that have it are being told to take it off. Withdrawing twice is withdrawing once.",
		Errors:      []int{401, 404, 422, 429, 500, 503}, SkipValidateParams: true,
	}, func(ctx context.Context, in *idInput) (*messageOutput, error) {
		return d.one(ctx, in.ID, d.deskOf(ctx).Withdraw)
	})
	huma.Register(api, huma.Operation{
		OperationID: "list-messages", Method: http.MethodGet, Path: "/v1/messages",
		Summary: "List your messages",
		Errors:  []int{401, 422, 429, 500, 503},
	}, d.list)

	post := api.OpenAPI().Paths["/v1/messages"].Post
	post.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		"application/json":  {Schema: api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[delivery.Submission](), true, "Submission")},
		delivery.SignedType: {Schema: &huma.Schema{Type: huma.TypeString, Description: "The same JSON, signed: a JWS in compact form (RFC 7515) with exactly alg (EdDSA or ES256), kid, typ (porchlight-message+jws) and jti (the Idempotency-Key) in its protected header."}},
	}}
	for path, methods := range map[string]string{"/v1/messages": "GET, HEAD, POST", "/v1/messages/{id}": "DELETE, GET, HEAD"} {
		mux.HandleFunc(path, onlyFor(methods))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { write(w, notFound("there is nothing at this address")) })
	return mux, api.OpenAPI(), nil
}

// one parses an ID and answers with what do says of that message.
func (d *Door) one(ctx context.Context, text string, do func(context.Context, device.BrandID, device.MessageID) (delivery.Answer, error)) (*messageOutput, error) {
	id, err := messageID("id", text)
	if err != nil {
		return nil, d.note(ctx, err)
	}
	a, err := within(func() (delivery.Answer, error) { return do(ctx, brandOf(ctx).ID, id) })
	if err != nil {
		return nil, d.note(ctx, err)
	}
	return &messageOutput{message(a)}, nil
}

func messageID(field, text string) (device.MessageID, error) {
	id, err := device.ParseMessageID(text)
	if err != nil {
		return id, delivery.Invalid{{Field: field, Rule: "syntax", Why: fmt.Sprintf("is %.40q, which is not a UUID", text), Fix: "use an ID as POST answered it"}}
	}
	return id, nil
}

func (d *Door) list(ctx context.Context, in *listInput) (*listOutput, error) {
	b := brandOf(ctx).ID
	var after device.MessageID
	if in.After != "" {
		var err error
		if after, err = messageID("after", in.After); err != nil {
			return nil, d.note(ctx, err)
		}
		if _, err = d.desk.Message(ctx, b, after); errors.Is(err, registry.ErrUnknown) {
			err = delivery.Invalid{{Field: "after", Rule: "unknown", Why: "names no message of this brand", Fix: "use next of the page before, or leave it out"}}
		}
		if err != nil {
			return nil, d.note(ctx, err)
		}
	}
	all, err := d.desk.Messages(ctx, b, after, in.Limit+1)
	if err != nil {
		return nil, d.note(ctx, err)
	}
	out := &listOutput{}
	out.Body.Messages = []Message{}
	for i, a := range all {
		if i == in.Limit {
			out.Body.Next = all[i-1].ID.String()
			break
		}
		out.Body.Messages = append(out.Body.Messages, message(a))
	}
	return out, nil
}

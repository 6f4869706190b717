package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"strings"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/wire"
)

// sender is one connection of a brand. A brand may have several, under different client IDs.
type sender struct {
	place
	brand   registry.Brand
	key     string // its API key
	listens bool   // dn/answer is subscribed to; reading goroutine only
	counted bool   // among the brand's connections
}

func (h *hook) admitBrand(c *conn, cl *mqtt.Client, id device.BrandID, key string) error {
	b, err := h.door.auth.brand(key)
	if err == nil && b.ID != id {
		err = registry.ErrUnknown
	}
	if err != nil {
		return denyUnknown(err)
	}
	s := &sender{place: h.door.newPlace(c, cl), brand: b, key: key}
	if err := s.claim(); err != nil {
		return err
	}
	c.peer = s
	s.door.mu.Lock()
	defer s.door.mu.Unlock()
	if s.door.senders[id] >= s.door.o.PerBrand {
		s.door.count.limited.WithLabelValues("brand").Inc()
		return &denied{packets.ErrQuotaExceeded, packets.Err3ServerUnavailable.Code, "brand", "this brand has too many connections"}
	}
	s.door.senders[id]++
	s.counted = true
	return nil
}

// request is what a brand publishes on up/message: a message, or a signed one.
type request struct {
	Key     string
	Message json.RawMessage
	JWS     string
}

// parseRequest reads a request. Each name stands in it at most once, and in our letters: two readers of it find the
// same key. What is in the message is not looked at.
func parseRequest(payload []byte) (r request, err error) {
	dec := json.NewDecoder(bytes.NewReader(payload))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return r, errors.New("is no object")
	}
	fields := map[any]any{"key": &r.Key, "message": &r.Message, "jws": &r.JWS}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return r, err
		}
		field, ok := fields[name]
		if !ok {
			return r, errors.New("names a field twice, or one that is none")
		}
		delete(fields, name)
		if err := dec.Decode(field); err != nil {
			return r, err
		}
	}
	if _, err := dec.Token(); err != nil {
		return r, err
	}
	if _, end := dec.Token(); end != io.EOF {
		return r, errors.New("more follows")
	}
	return r, nil
}

// submission is the message in it.
func (r request) submission() (delivery.Submission, error) {
	if r.JWS != "" {
		return delivery.ParseSigned([]byte(r.JWS))
	}
	return delivery.ParseSubmission(r.Message)
}

// answer is what it hears on dn/answer: the same words as over HTTP.
type answer struct {
	Key      string           `json:"key"`
	Status   int              `json:"status"` // as HTTP's
	ID       string           `json:"id,omitempty"`
	State    string           `json:"state,omitempty"`
	At       string           `json:"accepted_at,omitempty"`
	NotAfter string           `json:"not_after,omitempty"`
	Replayed bool             `json:"replayed,omitempty"`
	Title    string           `json:"title,omitempty"`
	Detail   string           `json:"detail,omitempty"`
	Errors   delivery.Invalid `json:"errors,omitempty"`
	Retry    int              `json:"retry_after,omitempty"` // seconds
}

// patience is how long a brand's message may take to be written down.
const patience = 30 * time.Second

func (s *sender) publish(topic string, payload []byte) (wire.Leaf, uint64, error) {
	id, leaf, ok := wire.ParseBrandTopic(topic)
	if !ok || id != s.brand.ID || leaf != wire.UpMessage {
		return "", 0, notYours
	}
	a, err := s.accept(payload)
	s.tell(a)
	return leaf, 0, err
}

// accept hands a message to the Desk. The error is what ack makes of it, the answer what the
// brand hears.
func (s *sender) accept(payload []byte) (answer, error) {
	r, err := parseRequest(payload)
	if err != nil || (len(r.Message) == 0) == (r.JWS == "") {
		return refuse("", http.StatusBadRequest, "not a request", delivery.Invalid{{Field: "body", Rule: "syntax", Why: "is not one JSON object with key and either message or jws, each once", Fix: `send {"key": "...", "message": {...}}, or {"key": "...", "jws": "..."} for one that is signed`}})
	}
	if s.door.o.Limit != nil {
		if ok, after := s.door.o.Limit(s.brand.ID); !ok {
			s.door.count.limited.WithLabelValues("rate").Inc()
			return s.later(answer{Key: r.Key, Status: http.StatusTooManyRequests, Title: "too many messages", Retry: seconds(after)}, s.listens)
		}
	}
	leave, err := s.enter()
	if err != nil {
		s.door.count.limited.WithLabelValues("busy").Inc()
		a := answer{Key: r.Key, Status: http.StatusServiceUnavailable, Title: "the gateway has too much to do; send it again with the same key", Retry: 1}
		if busy := (*delivery.BusyError)(nil); errors.As(err, &busy) {
			a.Retry = seconds(busy.After)
		}
		return s.later(a, false)
	}
	defer leave()
	b, err := s.door.auth.brand(s.key) // it may have changed, or its key may be void, since it logged in
	var m delivery.Submission
	if err == nil {
		m, err = r.submission()
	}
	var done delivery.Answer
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		done, err = s.desk().Accept(ctx, b, r.Key, m)
	}
	var invalid delivery.Invalid
	var signature *delivery.SignatureError
	switch {
	case err == nil:
		return answer{Key: r.Key, Status: http.StatusAccepted, ID: done.ID.String(), State: done.State, At: done.At.String(), NotAfter: done.NotAfter.String(), Replayed: done.Replayed}, nil
	case errors.As(err, &signature):
		title := "the signature is not taken"
		if signature == delivery.ErrUnsigned {
			title = "the message must be signed"
		}
		return refuse(r.Key, http.StatusForbidden, title, delivery.Invalid{(*delivery.InvalidError)(signature)})
	case errors.Is(err, delivery.ErrStopped):
		return refuse(r.Key, http.StatusForbidden, "this brand has been stopped", nil)
	case errors.As(err, &invalid):
		return refuse(r.Key, http.StatusUnprocessableEntity, "the message cannot be accepted", invalid)
	case errors.Is(err, delivery.ErrNoKey):
		return refuse("", http.StatusBadRequest, "the key cannot be used", delivery.Invalid{{Field: "key", Rule: "required", Why: "is missing", Fix: "send a UUID"}})
	case errors.Is(err, delivery.ErrKey):
		return refuse("", http.StatusBadRequest, "the key cannot be used", delivery.Invalid{{Field: "key", Rule: "syntax", Why: "is not 1 to 128 printable ASCII characters", Fix: "use a UUID"}})
	case errors.Is(err, registry.ErrUnknown):
		return refuse(r.Key, http.StatusForbidden, "this brand, or its API key, is not known any more", nil)
	case errors.Is(err, delivery.ErrConflict):
		return refuse(r.Key, http.StatusUnprocessableEntity, "the key was used for another message", delivery.Invalid{{Field: "key", Rule: "unique", Why: "was used for another message", Fix: "use a new key for a new message"}})
	case errors.Is(err, delivery.ErrQuota):
		why := delivery.QuotaWhy(err)
		return answer{Key: r.Key, Status: http.StatusTooManyRequests, Title: "too many messages in force", Detail: why + ": " + delivery.QuotaFix}, &refused{packets.ErrQuotaExceeded, why}
	}
	return answer{Key: r.Key, Status: http.StatusServiceUnavailable, Title: "the gateway cannot take messages just now; send it again with the same key", Retry: 5}, err
}

func seconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }

// enter asks whether there is room for a message, as [delivery.Desk.Enter] does.
func (s *sender) enter() (leave func(), err error) {
	if d, ok := s.door.desk.(interface{ Enter() (func(), error) }); ok {
		return d.Enter()
	}
	return func() {}, nil
}

// later is an answer to come again. MQTT 5 can say so in the acknowledgement, as a quota that is exceeded (0x97), since "busy" is a code of
// connections alone. Elsewhere to acknowledge is to say that it was taken: only who is told otherwise is acknowledged.
func (s *sender) later(a answer, told bool) (answer, error) {
	if !s.conn.guard.v5 && !told {
		return a, errors.New(a.Title)
	}
	return a, &refused{packets.ErrQuotaExceeded, a.Title}
}

// desk is the Desk on behalf of this brand.
func (s *sender) desk() Desk {
	if d, ok := s.door.desk.(*delivery.Desk); ok {
		return d.As(device.Actor(strings.TrimSpace("brand " + string(s.brand.ID) + " " + s.conn.from())))
	}
	return s.door.desk
}

// refuse is an answer that would be the same again.
func refuse(key string, status int, title string, errs delivery.Invalid) (answer, error) {
	return answer{Key: key, Status: status, Title: title, Errors: errs}, &refused{packets.ErrPayloadFormatInvalid, title}
}

// tell publishes an answer, with QoS 0: the key makes it safe to ask again.
func (s *sender) tell(a answer) {
	if !s.listens {
		return
	}
	b, err := json.Marshal(a)
	if err != nil {
		s.door.log.Error("cannot answer a brand", "brand", s.brand.ID, "error", err)
		return
	}
	pk := packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish},
		TopicName:   wire.BrandTopic(s.brand.ID, wire.DnAnswer),
		Payload:     b,
	}
	pk.Properties.ContentType = "application/json"
	if s.conn.send(&pk) == nil {
		s.door.count.sent.WithLabelValues(string(wire.DnAnswer)).Inc()
	}
}

func (s *sender) name() string { return "b-" + string(s.brand.ID) }

func (s *sender) allow(filter string, _ byte) (bool, string) {
	if !wire.AllowBrandSubscribe(s.brand.ID, filter) {
		return false, "not your topic: subscribe to " + wire.BrandTopic(s.brand.ID, wire.DnAnswer)
	}
	return true, ""
}

func (s *sender) processed(subscribe bool, filters []string) {
	for _, f := range filters {
		if ok, _ := s.allow(f, 1); ok {
			s.listens = subscribe
		}
	}
}

func (s *sender) acked(uint16, byte) bool { s.door.count.strays.Inc(); return false }

func (s *sender) complain(_ uint64, leaf wire.Leaf, code packets.Code, why string) {
	if leaf == "" { // a message that was refused has had its answer
		s.tell(answer{Status: http.StatusForbidden, Title: why})
	}
}

func (s *sender) end() {
	if s.counted {
		s.door.mu.Lock()
		if s.door.senders[s.brand.ID]--; s.door.senders[s.brand.ID] == 0 {
			delete(s.door.senders, s.brand.ID)
		}
		s.door.mu.Unlock()
	}
	s.leave()
}

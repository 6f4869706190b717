package broker

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	paho3 "github.com/eclipse/paho.mqtt.golang"

	"porchlight/broker/delivery"
	"porchlight/device/registry"
	"porchlight/device/store"
)

// A brand that signs, over MQTT, with the real Desk: what it hears of good and bad signatures, of
// being stopped, and of an API key that is void while it is connected.
func TestBrandSigns(t *testing.T) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "p.db"), store.Options{Project: delivery.Project, Clear: delivery.Clear})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	desk, err := delivery.NewDesk(db, delivery.Options{}, log)
	if err != nil {
		t.Fatal(err)
	}
	door, err := New(desk, db, Options{Plain: "127.0.0.1:0"}, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- door.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	key, err := desk.AddBrand(ctx, registry.Brand{ID: "acme", Name: "Acme", Purposes: []string{"marketing"}})
	if err != nil {
		t.Fatal(err)
	}
	private, err := delivery.MakeSignKey(registry.EdDSA)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}

	answers := make(chan []byte, 10)
	client := paho3.NewClient(paho3.NewClientOptions().AddBroker("tcp://" + door.Addr("mqtt").String()).
		SetClientID("b-acme").SetUsername("acme").SetPassword(key).SetProtocolVersion(4).SetAutoReconnect(false))
	await3(t, client.Connect())
	defer client.Disconnect(10)
	await3(t, client.Subscribe("pl/1/b/acme/dn/answer", 0, func(_ paho3.Client, m paho3.Message) { answers <- m.Payload() }))
	say := func(body string) (a answer) {
		t.Helper()
		await3(t, client.Publish("pl/1/b/acme/up/message", 1, false, body))
		select {
		case raw := <-answers:
			if err := json.Unmarshal(raw, &a); err != nil {
				t.Fatal(err)
			}
			return a
		case <-time.After(patient):
			t.Fatal("nobody answers")
			return a
		}
	}
	message := `{"purpose":"marketing","texts":[{"language":"en","body":"Milk is cheap."}],"not_after":"` + time.Now().Add(time.Hour).UTC().Format(time.RFC3339) + `"}`
	jws := func(key string) string {
		t.Helper()
		jws, err := delivery.Sign(private, "one", key, []byte(message))
		if err != nil {
			t.Fatal(err)
		}
		return jws
	}
	signed := func(key, jws string) string { return `{"key":"` + key + `","jws":"` + jws + `"}` }
	expect := func(what, body string, status int, names string) answer {
		t.Helper()
		a := say(body)
		raw, err := json.Marshal(a)
		if err != nil || a.Status != status || !strings.Contains(string(raw), names) {
			t.Errorf("%s: got %s, %v, want %d with %q", what, raw, err, status, names)
		}
		return a
	}

	expect("unsigned, without a key", `{"key":"k-0","message":`+message+`}`, 202, `"state":"accepted"`)
	expect("signed, without a key", signed("k-1", jws("k-1")), 403, `"field":"kid","rule":"unknown"`)
	if err := desk.AddSignKey(ctx, registry.SignKey{Brand: "acme", ID: "one", Public: public}); err != nil {
		t.Fatal(err)
	}
	first := expect("signed", signed("k-1", jws("k-1")), 202, `"state":"accepted"`)
	if again := expect("again", signed("k-1", jws("k-1")), 202, `"replayed":true`); again.ID != first.ID {
		t.Errorf("again: %+v, want %+v", again, first)
	}
	expect("unsigned", `{"key":"k-2","message":`+message+`}`, 403, `"title":"the message must be signed","errors":[{"field":"jws","rule":"required"`)
	expect("of another key", signed("k-2", jws("k-1")), 403, `"field":"jti"`)
	expect("altered", signed("k-2", strings.Replace(jws("k-2"), ".ey", ".eY", 1)), 403, `"field":"signature"`)
	expect("both", `{"key":"k-2","jws":"`+jws("k-2")+`","message":`+message+`}`, 400, `"rule":"syntax"`)
	expect("neither", `{"key":"k-2"}`, 400, `"rule":"syntax"`)
	expect("no JWS", signed("k-2", "hello"), 403, `"field":"jws"`)

	if _, err := desk.StopBrand(ctx, "acme", "complaints"); err != nil {
		t.Fatal(err)
	}
	if a := expect("stopped", signed("k-2", jws("k-2")), 403, "stopped"); strings.Contains(a.Title, "complaints") {
		t.Errorf("the brand is told why: %+v", a)
	}
	if err := desk.StartBrand(ctx, "acme"); err != nil {
		t.Fatal(err)
	}
	expect("started", signed("k-2", jws("k-2")), 202, `"state":"accepted"`)

	// What is said of the brand counts at once, on the connection that it has.
	if _, err := desk.ChangeBrand(ctx, "acme", func(b *registry.Brand) { b.Quota = 1 }); err != nil {
		t.Fatal(err)
	}
	expect("over its new quota", signed("k-3", jws("k-3")), 429, "in force")
	if err := desk.RevokeSignKey(ctx, "acme", "one"); err != nil {
		t.Fatal(err)
	}
	expect("revoked", signed("k-3", jws("k-3")), 403, `"rule":"revoked"`)
	if _, err := desk.RenewAPIKey(ctx, "acme", false); err != nil {
		t.Fatal(err)
	}
	expect("with the API key before", signed("k-3", jws("k-3")), 403, `"rule":"revoked"`)
	if _, err := desk.RenewAPIKey(ctx, "acme", true); err != nil {
		t.Fatal(err)
	}
	expect("with an API key that is void", signed("k-3", jws("k-3")), 403, "API key, is not known any more")

	var actors []string
	err = db.View(ctx, func(tx *store.Tx) (err error) {
		actors, err = store.List(tx, func(scan func(...any) error) (s string, err error) { err = scan(&s); return }, `SELECT DISTINCT actor FROM journal WHERE kind = 'message.accepted'`)
		return err
	})
	if err != nil || strings.Join(actors, ",") != "brand acme 127.0.0.1" {
		t.Errorf("messages were accepted from %q, %v", actors, err)
	}
}

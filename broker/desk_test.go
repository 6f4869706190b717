package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	paho3 "github.com/eclipse/paho.mqtt.golang"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/authority"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/wire"
	"porchlight/policy"
)

// TestWholePath lets a brand and a television meet over MQTT, with the real Desk between them:
// shown with consent, taken off without, and the receipts of it.
func TestWholePath(t *testing.T) {
	dir := t.TempDir()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	db, err := store.Open(t.Context(), filepath.Join(dir, "p.db"), store.Options{Project: delivery.Project, Clear: delivery.Clear})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	desk, err := delivery.NewDesk(db, delivery.Options{}, log)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := authority.Open(dir, nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(ca.Path())
	if err != nil {
		t.Fatal(err)
	}
	trust := x509.NewCertPool()
	trust.AppendCertsFromPEM(pem)
	door, err := New(desk, db, Options{Plain: "127.0.0.1:0", TLS: "127.0.0.1:0", Authority: ca}, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- delivery.NewCourier(desk).Run(ctx) }()
	go func() { done <- door.Run(ctx) }()
	defer func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}()

	_, devices, err := desk.AddHome(ctx, delivery.HomeSpec{Name: "oak-3", Zone: "Europe/Zurich", Caps: []policy.Cap{}, Devices: []delivery.DeviceSpec{{ID: "tv-1", Class: device.TV}}})
	if err != nil {
		t.Fatal(err)
	}
	key, err := desk.AddBrand(ctx, registry.Brand{ID: "acme", Name: "Acme", Purposes: []string{"marketing"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := desk.Choose(ctx, "oak-3", "", "acme", policy.Marketing, policy.Given); err != nil {
		t.Fatal(err)
	}

	join := func(id, user, password, filter string) (paho3.Client, chan []byte) {
		got := make(chan []byte, 100)
		c := paho3.NewClient(paho3.NewClientOptions().AddBroker("ssl://" + door.Addr("mqtts").String()).
			SetTLSConfig(&tls.Config{RootCAs: trust, ServerName: "localhost"}).
			SetClientID(id).SetUsername(user).SetPassword(password).SetProtocolVersion(4).SetAutoReconnect(false))
		await3(t, c.Connect())
		await3(t, c.Subscribe(filter, 1, func(_ paho3.Client, m paho3.Message) {
			if leaf := m.Topic()[strings.LastIndex(m.Topic(), "/"):]; leaf == "/msg" || leaf == "/answer" || leaf == "/err" {
				got <- m.Payload()
			}
		}))
		return c, got
	}
	next := func(from chan []byte) []byte {
		t.Helper()
		select {
		case b := <-from:
			return b
		case <-time.After(patient):
			t.Fatal("nothing came")
			return nil
		}
	}
	tv, screen := join("tv-1", "tv-1", devices[0].Token, "pl/1/tv-1/dn/#")
	defer tv.Disconnect(10)
	say := func(leaf wire.Leaf, frame any) {
		t.Helper()
		await3(t, tv.Publish(wire.Topic("tv-1", leaf), 1, false, encode(t, frame)))
	}
	await3(t, tv.Publish("pl/1/tv-1/up/birth", 1, false, goodBirth(t)))
	say(wire.UpCtx, wire.Context{Seq: 1, Values: map[string]any{"power.state": "on", "state": "idle"}})

	acme, answers := join("b-acme", "acme", key, "pl/1/b/acme/dn/answer")
	defer acme.Disconnect(10)
	until := time.Now().Add(time.Hour).UTC().Format(time.RFC3339) // the same request is the same to the second
	push := func(key string) answer {
		t.Helper()
		await3(t, acme.Publish("pl/1/b/acme/up/message", 1, false, `{"key":"`+key+`","message":{"purpose":"marketing","texts":[{"language":"en","body":"Milk is cheap."}],"not_after":"`+until+`"}}`))
		var a answer
		if err := json.Unmarshal(next(answers), &a); err != nil {
			t.Fatal(err)
		}
		return a
	}
	a := push("k-1")
	if a.Status != 202 || a.ID == "" {
		t.Fatalf("answer %+v", a)
	}
	p, _, err := wire.DecodeMsg(next(screen))
	if err != nil || p == nil || p.Message.String() != a.ID || p.Text != "Milk is cheap." {
		t.Fatalf("the television received %+v, %v", p, err)
	}
	say(wire.UpEvt, wire.Event{Seq: 1, Message: p.Message, Kind: wire.Presented})
	if again := push("k-1"); again.ID != a.ID || !again.Replayed {
		t.Errorf("the same request again: %+v", again)
	}

	if err := desk.Choose(ctx, "oak-3", "", "acme", policy.Marketing, policy.Withdrawn); err != nil {
		t.Fatal(err)
	}
	_, c, err := wire.DecodeMsg(next(screen))
	if err != nil || c == nil || c.Message != p.Message {
		t.Fatalf("after the withdrawal the television received %+v, %v", c, err)
	}
	say(wire.UpEvt, wire.Event{Seq: 2, Message: p.Message, Kind: wire.Cancelled})

	// A class that is not the registered one: told on dn/err, and nothing else changes.
	var b wire.Birth
	if b, err = wire.DecodeBirth(goodBirth(t)); err != nil {
		t.Fatal(err)
	}
	b.Class = device.Oven
	say(wire.UpBirth, b)
	e, err := wire.DecodeErr(next(screen))
	if err != nil || e.Code != 0x99 || e.Leaf != "up/birth" {
		t.Errorf("dn/err %+v, %v", e, err)
	}
}

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	pahopackets "github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
	"github.com/fxamacker/cbor/v2"

	"porchlight/broker/api"
	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/wire"
	"porchlight/firmware-sim/sim"
	"porchlight/policy"
)

// clumsy is who makes the mistakes: a fridge beside the TV, and a brand.
type clumsy struct {
	*testing.T
	w     *world
	id    device.ID // the fridge
	token string
	tv    device.ID // its neighbour
	key   string    // the brand's
	birth []byte
}

// answerWithin is how long an answer may take.
const answerWithin = 20 * time.Second

// five connects with MQTT 5, and returns what the gateway answered.
func (c *clumsy) five(clientID, token string) (cl *paho.Client, answer string, ended <-chan string) {
	c.Helper()
	conn, err := net.Dial("tcp", c.w.Listeners["mqtt"])
	if err != nil {
		c.Fatal(err)
	}
	end := make(chan string, 1)
	cl = paho.NewClient(paho.ClientConfig{
		Conn: pahopackets.NewThreadSafeConn(conn),
		OnServerDisconnect: func(d *paho.Disconnect) {
			end <- fmt.Sprintf("DISCONNECT %#x %s", d.ReasonCode, d.Properties.ReasonString)
		},
	})
	ctx, cancel := context.WithTimeout(c.Context(), answerWithin)
	defer cancel()
	ack, err := cl.Connect(ctx, &paho.Connect{
		ClientID: clientID, Username: string(c.id), UsernameFlag: true, Password: []byte(token), PasswordFlag: true, CleanStart: true, KeepAlive: 60,
	})
	if ack == nil {
		c.Fatalf("connect: %v", err)
	}
	if ack.Properties != nil {
		answer = ack.Properties.ReasonString
	}
	c.Cleanup(func() { conn.Close() })
	return cl, fmt.Sprintf("CONNACK %#x %s", ack.ReasonCode, answer), end
}

// in5 connects with MQTT 5, and is let in.
func (c *clumsy) in5() (cl *paho.Client, ended <-chan string) {
	c.Helper()
	cl, answer, ended := c.five(string(c.id), c.token)
	if !strings.HasPrefix(answer, "CONNACK 0x0 ") {
		c.Fatalf("MQTT 5: %s", answer)
	}
	return cl, ended
}

// publish5 says something over MQTT 5 as the fridge, after its birth, and returns the answer. The
// connection goes on.
func (c *clumsy) publish5(topic string, payload []byte) string {
	c.Helper()
	cl, _ := c.in5()
	ctx, cancel := context.WithTimeout(c.Context(), answerWithin)
	defer cancel()
	good := func() {
		if _, err := cl.Publish(ctx, &paho.Publish{Topic: wire.Topic(c.id, wire.UpBirth), QoS: 1, Payload: c.birth}); err != nil {
			c.Errorf("a good frame beside the bad one: %v", err)
		}
	}
	good()
	r, err := cl.Publish(ctx, &paho.Publish{Topic: topic, QoS: 1, Payload: payload})
	if r == nil {
		c.Fatalf("publish: %v", err)
	}
	good()
	answer := fmt.Sprintf("PUBACK %#x", r.ReasonCode)
	if r.Properties != nil {
		answer += " " + r.Properties.ReasonString
	}
	return strings.TrimSpace(answer)
}

// publish3 says something over MQTT 3.1.1, and returns what comes on dn/err.
func (c *clumsy) publish3(topic string, payload []byte) string {
	c.Helper()
	heard := make(chan string, 4)
	cl := c.open3()
	defer cl.Disconnect(50)
	c.must(cl.Subscribe(wire.Topic(c.id, "dn/#"), 1, func(_ paho3.Client, m paho3.Message) {
		if !strings.HasSuffix(m.Topic(), string(wire.DnErr)) {
			return
		}
		e, err := wire.DecodeErr(m.Payload())
		heard <- fmt.Sprintf("dn/err %s %#x %s (%v)", e.Leaf, e.Code, e.Text, err)
	}))
	c.must(cl.Publish(wire.Topic(c.id, wire.UpBirth), 1, false, c.birth))
	cl.Publish(topic, 1, false, payload) // acknowledged, or the connection ends
	select {
	case e := <-heard:
		return e
	case <-time.After(answerWithin):
		return "nothing"
	}
}

// open3 connects with MQTT 3.1.1, and is let in.
func (c *clumsy) open3() paho3.Client {
	c.Helper()
	cl := paho3.NewClient(c.options3(string(c.id), c.token))
	c.must(cl.Connect())
	return cl
}

func (c *clumsy) options3(clientID, token string) *paho3.ClientOptions {
	return paho3.NewClientOptions().AddBroker("tcp://" + c.w.Listeners["mqtt"]).SetClientID(clientID).SetUsername(string(c.id)).SetPassword(token).
		SetProtocolVersion(4).SetAutoReconnect(false).SetConnectRetry(false)
}

func (c *clumsy) must(token paho3.Token) {
	c.Helper()
	if !token.WaitTimeout(answerWithin) || token.Error() != nil {
		c.Fatalf("MQTT 3.1.1: %v", token.Error())
	}
}

// subscribe5 asks for what is sent to somebody, and returns the answer.
func (c *clumsy) subscribe5(filter string) string {
	c.Helper()
	cl, _ := c.in5()
	ctx, cancel := context.WithTimeout(c.Context(), answerWithin)
	defer cancel()
	r, err := cl.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 1}}})
	if r == nil {
		c.Fatalf("subscribe: %v", err)
	}
	return fmt.Sprintf("SUBACK %#x %s", r.Reasons, r.Properties.ReasonString)
}

// flood5 publishes a packet that is larger than the gateway said it takes, and returns its last words.
func (c *clumsy) flood5(topic string) string {
	c.Helper()
	cl, ended := c.in5()
	ctx, cancel := context.WithTimeout(c.Context(), answerWithin)
	defer cancel()
	var said sync.WaitGroup
	defer said.Wait()
	defer cancel()
	said.Go(func() { // waits for its acknowledgement, which does not come
		_, _ = cl.Publish(ctx, &paho.Publish{Topic: topic, QoS: 1, Payload: make([]byte, wire.MaxPacket+1)})
	})
	select {
	case words := <-ended:
		return words
	case <-ctx.Done():
		return "nothing"
	}
}

// connect3 connects with MQTT 3.1.1, and returns the answer.
func (c *clumsy) connect3(clientID, token string) string {
	c.Helper()
	cl := paho3.NewClient(c.options3(clientID, token))
	t := cl.Connect()
	if !t.WaitTimeout(answerWithin) {
		return "nothing"
	}
	return fmt.Sprintf("CONNACK %d %v", t.(*paho3.ConnectToken).ReturnCode(), t.Error())
}

// http sends a message as the brand.
func (c *clumsy) http(body string) string {
	c.Helper()
	status, answer, err := c.w.post(http.DefaultClient, c.key, "key-"+strings.ReplaceAll(c.Name(), "/", "-"), body)
	if err != nil {
		c.Fatal(err)
	}
	return fmt.Sprint(status, " ", answer)
}

// mqtt sends a message as the brand, over MQTT.
func (c *clumsy) mqtt(body string) string {
	c.Helper()
	heard := make(chan string, 1)
	cl := paho3.NewClient(c.options3("b-fresh", c.key).SetUsername("fresh"))
	c.must(cl.Connect())
	defer cl.Disconnect(50)
	c.must(cl.Subscribe(wire.BrandTopic("fresh", wire.DnAnswer), 1, func(_ paho3.Client, m paho3.Message) { heard <- string(m.Payload()) }))
	c.must(cl.Publish(wire.BrandTopic("fresh", wire.UpMessage), 1, false, fmt.Sprintf(`{"key": "k", "message": %s}`, body)))
	select {
	case answer := <-heard:
		return answer
	case <-time.After(answerWithin):
		return "nothing"
	}
}

// typed runs a command with files beside it, and returns its exit status and its complaint.
func (c *clumsy) typed(files map[string]string, args ...string) string {
	c.Helper()
	dir := c.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			c.Fatal(err)
		}
	}
	for i, a := range args {
		if _, ok := files[a]; ok {
			args[i] = filepath.Join(dir, a)
		}
	}
	c.Setenv("PORCHLIGHT_API_KEY", c.key)
	c.Setenv("PORCHLIGHT_API", "http://"+c.w.Listeners["http"])
	var out, errs strings.Builder
	status := run(c.Context(), append([]string{"--data", c.w.Data}, args...), strings.NewReader(""), &out, &errs)
	if out.Len() > 0 {
		c.Errorf("it printed %q, as if all were well", out.String())
	}
	return fmt.Sprint(status, " ", strings.ReplaceAll(errs.String(), dir+"/", ""))
}

// birthOf is the fridge's birth with one entry changed.
func (c *clumsy) birthOf(key uint64, value any) []byte {
	c.Helper()
	var m map[uint64]any
	if err := cbor.Unmarshal(c.birth, &m); err != nil {
		c.Fatal(err)
	}
	m[key] = value
	b, err := cbor.Marshal(m)
	if err != nil {
		c.Fatal(err)
	}
	return b
}

// message is a good one with one thing changed.
func message(old, new string) string {
	good := `{"purpose": "marketing", "texts": [{"language": "en", "body": "Two for one."}], "not_after": "2099-01-01T00:00:00Z"}`
	good = strings.ReplaceAll(good, "2099-01-01T00:00:00Z", time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	return strings.Replace(good, old, new, 1)
}

// Whatever is wrong, whoever made the mistake is told what it is; nothing of it is taken in, and
// the neighbours notice nothing.
func TestBadInput(t *testing.T) {
	w := open(t, func(c *Config) {
		// The fridge may be back before the gateway has seen its last connection end, which is a takeover. Who is
		// turned away for too many is tested elsewhere.
		c.MQTT.Takeovers = 1e6
	})
	key := w.brand("fresh")
	tv := w.moveIn(oneTV, nil)["TV"]
	w.command("consent", "give", "--home", "oak", "--brand", "fresh", "--purpose", "marketing")
	if status, answer, err := w.post(http.DefaultClient, key, "good", greeting()); err != nil || status != http.StatusAccepted {
		t.Fatalf("push: %d %s, %v", status, answer, err)
	}
	w.await(tv, func(s sim.State) bool { return s.Screen.Showing && s.Owed == 0 })
	onScreen := tv.Screen().Message
	fridge, err := ask[delivery.Enrolled](w.env, "device/add", api.DeviceAdd{Home: "oak", Device: delivery.DeviceSpec{Class: device.Fridge}})
	if err != nil {
		t.Fatal(err)
	}
	birth, err := wire.Encode(wire.Birth{Class: device.Fridge, Model: wire.Model{Maker: "By", Name: "Hand"}, Can: wire.Capabilities{Forms: wire.Forms{device.Toast}, Languages: []string{"en"}}, Attributes: []string{"door.open"}})
	if err != nil {
		t.Fatal(err)
	}
	own, foreign := wire.Topic(fridge.ID, wire.UpEvt), wire.Topic(tv.ID(), wire.UpEvt)

	tests := map[string]struct {
		mistake func(c *clumsy) string
		want    []string // all of it is in what is seen
	}{
		"malformed CBOR": {func(c *clumsy) string { return c.publish5(own, []byte{0xff}) },
			[]string{"PUBACK 0x99 bad frame: up/evt: unexpected"}},
		"malformed CBOR, 3.1.1": {func(c *clumsy) string { return c.publish3(own, []byte{0xff}) },
			[]string{"dn/err up/evt 0x99 bad frame: up/evt: unexpected"}},
		"half a frame": {func(c *clumsy) string { return c.publish5(wire.Topic(c.id, wire.UpBirth), c.birth[:9]) },
			[]string{"PUBACK 0x99 bad frame: up/birth: frame ends in the middle of a value"}},
		"wrong topic": {func(c *clumsy) string { return c.publish5(foreign, []byte{0xa0}) },
			[]string{"PUBACK 0x87 not your topic"}},
		"wrong topic, 3.1.1": {func(c *clumsy) string { return c.publish3(foreign, []byte{0xa0}) },
			[]string{"dn/err", "0x87 not your topic"}},
		"no topic of ours": {func(c *clumsy) string { return c.publish5(wire.Topic(c.id, "up/nothing"), []byte{0xa0}) },
			[]string{"PUBACK 0x87 not your topic"}},
		"another's messages": {func(c *clumsy) string { return c.subscribe5(wire.Topic(c.tv, "dn/#")) },
			[]string{"SUBACK 0x87 not your topic: subscribe to pl/1/"}},
		"foreign client ID": {func(c *clumsy) string { _, a, _ := c.five(string(c.tv), c.token); return a },
			[]string{"CONNACK 0x85 the client ID must be the device's ID"}},
		"foreign client ID, 3.1.1": {func(c *clumsy) string { return c.connect3(string(c.tv), c.token) },
			[]string{"CONNACK 2 identifier rejected"}},
		"wrong token": {func(c *clumsy) string { _, a, _ := c.five(string(c.id), c.token[1:]+"A"); return a },
			[]string{"CONNACK 0x87 ID and secret are not known together"}},
		"wrong token, 3.1.1": {func(c *clumsy) string { return c.connect3(string(c.id), c.token[1:]+"A") },
			[]string{"CONNACK 5 not Authorized"}},
		"oversized frame": {func(c *clumsy) string { return c.publish5(own, make([]byte, wire.MaxFrame+1)) },
			[]string{"PUBACK 0x99 bad frame: up/evt: frame is 8193 bytes long, at most 8192"}},
		"oversized frame, 3.1.1": {func(c *clumsy) string { return c.publish3(own, make([]byte, wire.MaxFrame+1)) },
			[]string{"dn/err up/evt 0x99 bad frame: up/evt: frame is 8193 bytes long, at most 8192"}},
		"oversized packet": {func(c *clumsy) string { return c.flood5(own) },
			[]string{"DISCONNECT 0x95 packet over the limit"}},
		"oversized packet, 3.1.1": {func(c *clumsy) string { return c.publish3(own, make([]byte, wire.MaxPacket+1)) },
			[]string{"dn/err", "0x95 packet over the limit"}},
		"unknown class": {func(c *clumsy) string { return c.publish5(wire.Topic(c.id, wire.UpBirth), c.birthOf(2, 77)) },
			[]string{"PUBACK 0x99 bad frame: up/birth", "77"}},
		"unknown class, 3.1.1": {func(c *clumsy) string { return c.publish3(wire.Topic(c.id, wire.UpBirth), c.birthOf(2, 77)) },
			[]string{"dn/err up/birth 0x99 bad frame: up/birth", "77"}},
		"another class": {func(c *clumsy) string { return c.publish5(wire.Topic(c.id, wire.UpBirth), c.birthOf(2, 1)) },
			[]string{"PUBACK 0x99", "class is tv, but the device is registered as a fridge"}},
		"unknown zone": {func(c *clumsy) string { return c.typed(nil, "home", "add", "elm", "--zone", "Europe/Zurch") },
			[]string{`1 porchlight: add home: home "elm": time zone "Europe/Zurch"`, "use an IANA name such as Europe/Zurich"}},
		"unknown zone in a home file": {func(c *clumsy) string {
			return c.typed(map[string]string{"elm.yaml": "name: elm\nzone: Europe/Zurch\ndevices: [{name: TV, class: tv}]\n"}, "home", "add", "--file", "elm.yaml")
		}, []string{`1 porchlight: elm.yaml:2: zone "Europe/Zurch" is unknown: use an IANA name such as Europe/Zurich`}},
		"unknown class in a home file": {func(c *clumsy) string {
			return c.typed(map[string]string{"elm.yaml": "name: elm\nzone: Europe/Zurich\ndevices: [{name: TV, class: tvv}]\n"}, "home", "add", "--file", "elm.yaml")
		}, []string{`1 porchlight: elm.yaml:3: TV: class "tvv" is unknown: use one of tv, speaker`}},
		"message without purpose": {func(c *clumsy) string { return c.http(message(`"purpose": "marketing", `, "")) },
			[]string{"422 ", `"field":"purpose","rule":"required","why":"is missing","fix":"use one of marketing"`}},
		"message without purpose, over MQTT": {func(c *clumsy) string { return c.mqtt(message(`"purpose": "marketing", `, "")) },
			[]string{`"key":"k","status":422`, `"field":"purpose","rule":"required","why":"is missing"`}},
		"message without purpose, typed": {func(c *clumsy) string {
			return c.typed(map[string]string{"m.json": message(`"purpose": "marketing", `, "")}, "push", "m.json")
		},
			[]string{"1 porchlight: push: m.json:1: purpose is missing: use one of marketing"}},
		"expired message": {func(c *clumsy) string { return c.http(message(`"not_after": "2`, `"not_after": "1`)) },
			[]string{"422 ", `"field":"not_after"`, `which has passed","fix":"use a time in the future"`}},
		"expired message, over MQTT": {func(c *clumsy) string { return c.mqtt(message(`"not_after": "2`, `"not_after": "1`)) },
			[]string{`"status":422`, `"field":"not_after"`, "which has passed"}},
		"condition of the wrong type": {func(c *clumsy) string {
			return c.http(message(`{"purpose"`, `{"when": [{"class": "fridge", "attribute": "door.open", "op": "eq", "value": "wide"}], "purpose"`))
		}, []string{"422 ", `"field":"when[0].value"`, "door.open takes true or false, not string"}},
		"condition with an operator that cannot": {func(c *clumsy) string {
			return c.http(message(`{"purpose"`, `{"when": [{"class": "fridge", "attribute": "door.open", "op": "lt", "value": true}], "purpose"`))
		}, []string{"422 ", `"field":"when[0].op"`, "does not apply to door.open, which is true or false: use eq or ne"}},
		"condition on what nobody reports": {func(c *clumsy) string {
			return c.mqtt(message(`{"purpose"`, `{"when": [{"class": "fridge", "attribute": "door.opn", "op": "eq", "value": true}], "purpose"`))
		}, []string{`"status":422`, `"field":"when[0].attribute"`, "door.opn", "did you mean", "door.open"}},
		"unknown key in a home file": {func(c *clumsy) string {
			return c.typed(map[string]string{"elm.yaml": "name: elm\nzone: Europe/Zurich\ndevices:\n  - {name: TV, clas: tv}\n"}, "home", "add", "--file", "elm.yaml")
		}, []string{`1 porchlight: elm.yaml:4: key "clas" is unknown: did you mean class?`}},
		"unknown key in the configuration": {func(c *clumsy) string {
			return c.typed(map[string]string{"g.yaml": "http: {plain: ''}\nmqtt:\n  plian: '127.0.0.1:0'\n"}, "serve", "--config", "g.yaml")
		}, []string{`1 porchlight: read configuration: g.yaml:3: key "plian" is unknown: did you mean "plain"?`}},
		"unknown key in a message file": {func(c *clumsy) string {
			return c.typed(map[string]string{"m.yaml": "purpose: marketing\ntexts:\n  - {language: en, bdy: Two for one.}\n"}, "push", "m.yaml", "--for", "1h")
		}, []string{`1 porchlight: push: m.yaml:3: key "bdy" is unknown: did you mean "body"?`}},
		"unknown key in a message": {func(c *clumsy) string { return c.http(message(`"body"`, `"bdy"`)) },
			[]string{"422 ", `"field":"texts[0].bdy","rule":"unknown"`, "did you mean", "body"}},
	}
	before := w.book()
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := &clumsy{T: t, w: w, id: fridge.ID, token: fridge.Token, tv: tv.ID(), key: key, birth: birth}
			saw := tt.mistake(c)
			for _, want := range tt.want {
				if !strings.Contains(saw, want) {
					t.Errorf("saw %q, want %q in it", saw, want)
				}
			}
			if s := tv.State(); s.Births != 1 || !s.Ready || s.Screen.Message != onScreen {
				t.Errorf("the TV beside it: %d births, ready %t, screen %+v", s.Births, s.Ready, s.Screen)
			}
			if after := w.book(); after != before {
				t.Errorf("the gateway has\n%s\nand had\n%s", after, before)
			}
		})
	}
	(&clumsy{T: t, w: w, id: fridge.ID, token: fridge.Token, tv: tv.ID(), key: key, birth: birth}).unharmed(tv)
}

// unharmed checks that all is as it was: the fridge is let in, and the TV does as it is told.
func (c *clumsy) unharmed(tv *sim.Device) {
	c.Helper()
	if a := c.publish5(wire.Topic(c.id, wire.UpBirth), c.birth); a != "PUBACK 0x0" {
		c.Errorf("the fridge's good birth: %s", a)
	}
	if status, answer, err := c.w.post(http.DefaultClient, c.key, "good", message("", "")); err != nil || status != http.StatusUnprocessableEntity || !strings.Contains(answer, "used for another message") {
		c.Errorf("the key of the message that was taken in: %d %s, %v", status, answer, err)
	}
	c.w.choose("oak", "fresh", policy.Withdrawn)
	c.w.await(tv, func(s sim.State) bool { return !s.Screen.Showing && s.Owed == 0 && s.Births == 1 })
}

// book is all that the gateway has taken in, as the operator sees it.
func (w *world) book() string {
	w.Helper()
	s, err := ask[api.Status](w.env, "status", api.None{})
	if err != nil {
		w.Fatal(err)
	}
	return fmt.Sprintf("%d homes, %d devices, %d messages in force, %d shown, store %s\n%s", s.State.Homes, s.State.Devices, s.State.InForce, s.State.Shown, s.Store,
		w.command("consent", "list", "--home", "oak"))
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	pahopackets "github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"

	"porchlight/broker/api"
	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/wire"
)

// The isolation matrix: every forbidden act, tried with client libraries that nobody here wrote,
// on the real gateway over TLS. Each act is refused, and a neighbour and a brand that are connected
// the whole time notice nothing.
//
// Some libraries hold an act back, because CONNACK has told them that it is of no use; the door's own
// tests send such packets raw.

// longest is how long anything that must come may take.
const longest = 30 * time.Second

// visit is one connection that does one thing. An act changes one thing in a good visit, in which a
// device logs in, subscribes to its own topics and leaves.
type visit struct {
	me, neighbour device.ID
	rivalKey      string

	id, user, password string // as in CONNECT; an empty user or password is left out
	alone              bool   // other visits have this id: not at the same time
	will               string // topic, "": none
	keep               bool   // comes back to a session that was to be kept
	listen             string // its own filter, which it is granted
	filter             string // what else it subscribes to, "": nothing
	publishes          []publication

	// A frame to mark that cannot be read is answered with a message that contains echo: whatever
	// the visit was to hear came before.
	mark, echo string
}

type publication struct {
	topic   string
	qos     byte
	retain  bool
	alias   string // "": none
	payload []byte
}

// The brands: one that is to notice nothing, and one that does what it may not. A client ID of the
// first looks like one of the second.
const (
	fresh = "fresh-co"
	rival = "fresh"
)

// nonsense is no frame of any kind.
var nonsense = []byte("nonsense")

func (v *visit) publish(topic string, qos byte) {
	v.publishes = append(v.publishes, publication{topic: topic, qos: qos, payload: forged(topic)})
}

// asBrand lets a brand do the visit.
func (v *visit) asBrand() {
	v.id, v.user, v.password = "b-"+rival+"-"+string(v.me), rival, v.rivalKey
	v.listen, v.mark, v.echo = wire.BrandTopic(rival, wire.DnAnswer), wire.BrandTopic(rival, wire.UpMessage), `"status":400`
}

// forged is a frame that would do harm if it were taken in or passed on.
func forged(topic string) []byte {
	var frame any
	switch _, leaf, _ := wire.ParseTopic(topic); leaf {
	case wire.UpBirth:
		frame = wire.Birth{Model: wire.Model{Maker: "Forged", Name: "Forged"}, Class: device.Fridge}
	case wire.UpCtx:
		b, err := wire.EncodeContext(wire.Context{Seq: 1 << 20, Values: map[string]any{"door.open": false}, Complete: true}, fridgeBirth.Attributes)
		if err != nil {
			panic(err)
		}
		return b
	case wire.UpEvt:
		frame = wire.Event{Seq: 1 << 20, Message: device.NewMessageID(1), Kind: wire.Dismissed}
	case wire.UpBye:
		frame = wire.Bye{Seq: 1 << 20, Reason: "off"}
	case wire.DnMsg:
		frame = wire.Present{Message: device.NewMessageID(1), ValidUntil: 1 << 40, Live: 1e9, Lease: 1e9, Text: "forged"}
	default:
		return []byte(`{"key": "forged", "message": ` + message("Two for one.", "forged") + `}`)
	}
	b, err := wire.Encode(frame)
	if err != nil {
		panic(err)
	}
	return b
}

// seen is what the client sees, by protocol; "": MQTT 3.1.1 has no such act. A connection that is
// ended has the last words only if they reach it in time: it may see no more than "closed".
type seen struct{ three, five string }

var (
	unknown   = seen{"CONNACK 0x05", "CONNACK 0x87"}
	wrongID   = seen{"CONNACK 0x02", "CONNACK 0x85"}
	noWill    = seen{"CONNACK 0x05", "CONNACK 0x83"}
	noFilter  = seen{"SUBACK 0x80", "SUBACK 0x87"}
	notYours  = seen{"PUBACK 0x00, dn/err 0x87", "PUBACK 0x87"} // with QoS 1
	notYours0 = seen{"dn/err 0x87", "dn/err 0x87"}              // with QoS 0
	noAnswer  = seen{"PUBACK 0x00, dn/answer 403", "PUBACK 0x87"}
	nothing   = seen{"nothing", "nothing"}
)

const (
	heldBack = "held back"   // by the library
	unheard  = "PUBACK 0x00" // a brand is told on the connection that asks, and mosquitto_pub does not listen
)

func ended(code string) seen { return seen{"dn/err " + code + ", closed", "DISCONNECT " + code} }

// acts are all that nobody may do.
var acts = []struct {
	name string
	edit func(v *visit)
	want seen
	but  map[string]string // columns that see something else
}{
	{name: "log in as a neighbour with the own token", edit: func(v *visit) { v.id, v.user = string(v.neighbour), string(v.neighbour) }, want: unknown},
	{name: "log in with a wrong token", edit: func(v *visit) { v.password = v.password[1:] + "A" }, want: unknown},
	{name: "log in with a brand's key", edit: func(v *visit) { v.password = v.rivalKey }, want: unknown},
	{name: "log in without user name", edit: func(v *visit) { v.user, v.password = "", "" }, want: unknown},
	{name: "log in without token", edit: func(v *visit) { v.password = "" }, want: unknown},
	{name: "client ID inline", edit: func(v *visit) { v.id = "inline" }, want: wrongID},
	{name: "client ID that is not the user name", edit: func(v *visit) { v.id = "somebody" }, want: wrongID},
	{name: "no client ID", edit: func(v *visit) { v.id = "" }, want: wrongID},
	{name: "take over a neighbour's client ID", edit: func(v *visit) { v.id = string(v.neighbour) }, want: wrongID},
	{name: "client ID beside a neighbour", edit: func(v *visit) { v.id = string(v.neighbour) + "/x" }, want: wrongID},
	{name: "client ID of a brand", edit: func(v *visit) { v.id = "b-" + fresh }, want: wrongID},

	{name: "will to a neighbour", edit: func(v *visit) { v.will = wire.Topic(v.neighbour, wire.DnMsg) }, want: noWill},
	{name: "will to itself", edit: func(v *visit) { v.will = wire.Topic(v.me, wire.UpBye) }, want: noWill},

	{name: "publish a neighbour's birth", edit: func(v *visit) { v.publish(wire.Topic(v.neighbour, wire.UpBirth), 1) }, want: notYours},
	{name: "publish a neighbour's context", edit: func(v *visit) { v.publish(wire.Topic(v.neighbour, wire.UpCtx), 1) }, want: notYours},
	{name: "publish a neighbour's context, QoS 0", edit: func(v *visit) { v.publish(wire.Topic(v.neighbour, wire.UpCtx), 0) }, want: notYours0},
	{name: "publish a neighbour's event", edit: func(v *visit) { v.publish(wire.Topic(v.neighbour, wire.UpEvt), 1) }, want: notYours},
	{name: "publish a neighbour's bye", edit: func(v *visit) { v.publish(wire.Topic(v.neighbour, wire.UpBye), 1) }, want: notYours},
	{name: "publish a message to a neighbour", edit: func(v *visit) { v.publish(wire.Topic(v.neighbour, wire.DnMsg), 1) }, want: notYours},
	{name: "publish a message to a neighbour, QoS 0", edit: func(v *visit) { v.publish(wire.Topic(v.neighbour, wire.DnMsg), 0) }, want: notYours0},
	{name: "publish a message to itself", edit: func(v *visit) { v.publish(wire.Topic(v.me, wire.DnMsg), 1) }, want: notYours},
	{name: "publish as a brand", edit: func(v *visit) { v.publish(wire.BrandTopic(fresh, wire.UpMessage), 1) }, want: notYours},
	{name: "publish to a brand", edit: func(v *visit) { v.publish(wire.BrandTopic(fresh, wire.DnAnswer), 1) }, want: notYours},
	{name: "publish to $SYS", edit: func(v *visit) { v.publish("$SYS/broker/x", 0) }, want: notYours0},
	{name: "publish to $SYS, QoS 1", edit: func(v *visit) { v.publish("$SYS/broker/x", 1) }, want: notYours},

	// With MQTT 3.1.1 a retained publish is one like any other; whatever is retained would come to
	// the next that subscribes, which is the next act. libmosquitto takes the flag off.
	{
		name: "publish retained to a neighbour",
		edit: func(v *visit) { v.publish(wire.Topic(v.neighbour, wire.DnMsg), 1); v.publishes[0].retain = true },
		want: seen{notYours.three, ended("0x9a").five}, but: map[string]string{"mosquitto 5": notYours.five, "paho.golang 5": heldBack},
	},
	{
		name: "publish retained to itself",
		edit: func(v *visit) { v.publish(wire.Topic(v.me, wire.DnMsg), 1); v.publishes[0].retain = true },
		want: seen{notYours.three, ended("0x9a").five}, but: map[string]string{"mosquitto 5": notYours.five, "paho.golang 5": heldBack},
	},
	{
		name: "publish with QoS 2", edit: func(v *visit) { v.publish(wire.Topic(v.me, wire.UpBirth), 2) },
		want: ended("0x9b"), but: map[string]string{"mosquitto 5": heldBack, "paho.golang 5": heldBack},
	},
	{
		name: "publish with QoS 2 to a neighbour", edit: func(v *visit) { v.publish(wire.Topic(v.neighbour, wire.UpBirth), 2) },
		want: ended("0x9b"), but: map[string]string{"mosquitto 5": heldBack, "paho.golang 5": heldBack},
	},
	{
		name: "publish 20 KiB",
		edit: func(v *visit) {
			v.publishes = []publication{{topic: wire.Topic(v.me, wire.UpEvt), qos: 1, payload: make([]byte, 20<<10)}}
		},
		want: ended("0x95"), but: map[string]string{"mosquitto 5": heldBack},
	},

	{
		name: "topic alias 0",
		edit: func(v *visit) { v.publish(wire.Topic(v.me, wire.UpBirth), 1); v.publishes[0].alias = "0" },
		want: seen{five: ended("0x94").five}, but: map[string]string{"mosquitto 5": heldBack},
	},
	{
		name: "topic alias above the maximum",
		edit: func(v *visit) { v.publish(wire.Topic(v.me, wire.UpBirth), 1); v.publishes[0].alias = "9" },
		want: seen{five: ended("0x94").five}, but: map[string]string{"mqttjs 5": heldBack, "paho.golang 5": heldBack},
	},
	{
		name: "topic alias that was never set",
		edit: func(v *visit) { v.publishes = []publication{{qos: 1, alias: "3", payload: nonsense}} },
		want: seen{five: ended("0x82").five}, but: map[string]string{"mqttjs 5": heldBack},
	},
	{
		name: "topic alias that was never set, QoS 0", // mosquitto_pub has left before it could be told
		edit: func(v *visit) { v.publishes = []publication{{alias: "3", payload: nonsense}} },
		want: seen{five: ended("0x82").five}, but: map[string]string{"mosquitto 5": nothing.five},
	},
	{
		name: "topic alias of a neighbour's topic", // mosquitto_pub has one connection for each
		edit: func(v *visit) {
			topic := wire.Topic(v.neighbour, wire.DnMsg)
			v.publishes = []publication{{topic: topic, alias: "1", payload: forged(topic)}, {alias: "1", payload: forged(topic)}}
		},
		want: seen{five: "dn/err 0x87, dn/err 0x87"}, but: map[string]string{"mosquitto 5": "dn/err 0x87"},
	},

	{name: "subscribe to all", edit: func(v *visit) { v.filter = "#" }, want: noFilter},
	{name: "subscribe to all of pl", edit: func(v *visit) { v.filter = "pl/#" }, want: noFilter},
	{name: "subscribe to every device", edit: func(v *visit) { v.filter = "pl/1/+/dn/#" }, want: noFilter},
	{name: "subscribe to a neighbour", edit: func(v *visit) { v.filter = wire.Topic(v.neighbour, "dn/#") }, want: noFilter},
	{name: "subscribe to what a neighbour says", edit: func(v *visit) { v.filter = wire.Topic(v.neighbour, "up/#") }, want: noFilter},
	{name: "subscribe to $SYS", edit: func(v *visit) { v.filter = "$SYS/#" }, want: noFilter},
	{
		name: "subscribe to its own, shared", edit: func(v *visit) { v.filter = "$share/x/" + v.listen },
		want: noFilter, but: map[string]string{"paho.golang 5": heldBack},
	},
	{
		name: "subscribe to a neighbour, shared", edit: func(v *visit) { v.filter = "$share/x/" + wire.Topic(v.neighbour, "dn/#") },
		want: noFilter, but: map[string]string{"paho.golang 5": heldBack},
	},
	{name: "subscribe to a neighbour by wildcards", edit: func(v *visit) { v.filter = "+/+/" + string(v.neighbour) + "/dn/msg" }, want: noFilter},
	{name: "subscribe to every level", edit: func(v *visit) { v.filter = "+/+/+/+/+" }, want: noFilter},
	{name: "subscribe to a brand", edit: func(v *visit) { v.filter = wire.BrandTopic(fresh, wire.DnAnswer) }, want: noFilter},

	{name: "come back to a session", edit: func(v *visit) { v.keep = true }, want: nothing},

	{
		name: "a brand publishes to a device", edit: func(v *visit) { v.asBrand(); v.publish(wire.Topic(v.neighbour, wire.DnMsg), 1) },
		want: noAnswer, but: map[string]string{"mosquitto 3.1.1": unheard},
	},
	{
		name: "a brand publishes as a device", edit: func(v *visit) { v.asBrand(); v.publish(wire.Topic(v.neighbour, wire.UpBye), 1) },
		want: noAnswer, but: map[string]string{"mosquitto 3.1.1": unheard},
	},
	{
		name: "a brand publishes as another", edit: func(v *visit) { v.asBrand(); v.publish(wire.BrandTopic(fresh, wire.UpMessage), 1) },
		want: noAnswer, but: map[string]string{"mosquitto 3.1.1": unheard},
	},
	{name: "a brand subscribes to a device", edit: func(v *visit) { v.asBrand(); v.filter = wire.Topic(v.neighbour, "dn/#") }, want: noFilter},
	{name: "a brand subscribes to another", edit: func(v *visit) { v.asBrand(); v.filter = wire.BrandTopic(fresh, wire.DnAnswer) }, want: noFilter},
	{name: "a brand takes another's client ID", edit: func(v *visit) { v.asBrand(); v.id = "b-other" }, want: wrongID},
	{name: "a brand takes a client ID that could be another's", edit: func(v *visit) { v.asBrand(); v.id, v.alone = "b-"+fresh, true }, want: nothing},
}

// visitor makes a visit and says what it saw. meanwhile is called after the act, while the visitor
// is still connected, if it is.
type visitor func(v visit, meanwhile func()) string

// column is a library, with one of the versions and transports that it has.
type column struct {
	library string
	version int // 4 is MQTT 3.1.1
	scheme  string
	lanes   int // visitors at the same time, of a library that waits more than it works
	open    func(t *testing.T, m *matrix, c column) visitor
}

var columns = []column{
	{"mosquitto", 4, "mqtts", 4, mosquitto},
	{"mosquitto", 5, "mqtts", 4, mosquitto},
	{"pahoc", 4, "mqtts", 8, pahoC},
	{"pahoc", 5, "mqtts", 8, pahoC},
	{"mqttjs", 4, "mqtts", 1, mqttJS},
	{"mqttjs", 5, "mqtts", 1, mqttJS},
	{"mqttjs", 4, "wss", 1, mqttJS},
	{"mqttjs", 5, "wss", 1, mqttJS},
	{"paho.mqtt.golang", 4, "mqtts", 1, func(_ *testing.T, m *matrix, _ column) visitor { return stepwise(&goThree{m: m}) }},
	{"paho.golang", 5, "mqtts", 1, func(_ *testing.T, m *matrix, _ column) visitor { return stepwise(&goFive{m: m}) }},
}

// name is how an act refers to c: whatever the transport, the library is the same.
func (c column) name() string { return c.library + map[int]string{4: " 3.1.1", 5: " 5"}[c.version] }

// matrix is the gateway, and those who are to notice nothing.
type matrix struct {
	*world
	roots    *x509.CertPool
	rivalKey string

	binary, script func() (path string, err error) // the clients in C and JavaScript, made once

	id    device.ID // the neighbour, a fridge
	alone sync.Mutex

	mu        sync.Mutex // for what follows
	neighbour *goThree
	fresh     *goFive // a brand
	seq       uint64
	disturbed bool
}

var fridgeBirth = wire.Birth{
	Model: wire.Model{Maker: "By", Name: "Hand"}, Class: device.Fridge,
	Can:        wire.Capabilities{Forms: wire.Forms{device.Toast}, Languages: []string{"en"}, Holds: 1},
	Attributes: []string{"door.open", "temperature"},
}

func TestMatrix(t *testing.T) {
	m := &matrix{world: open(t, func(c *Config) {
		c.MQTT.Plain, c.MQTT.WebSocketTLS, c.HTTP.Plain, c.HTTP.Metrics = "", "127.0.0.1:0", "", "127.0.0.1:0"
		c.Brands, c.Delivery = DefaultConfig().Brands, DefaultConfig().Delivery
		c.MQTT.FailedLogins, c.MQTT.Takeovers, c.MQTT.ConnectTimeout = 1e6, 1e6, time.Minute // who is turned away for trying too often is tested elsewhere
	})}
	pem, err := os.ReadFile(m.CA)
	if err != nil {
		t.Fatal(err)
	}
	m.roots = x509.NewCertPool()
	m.roots.AppendCertsFromPEM(pem)
	m.binary = sync.OnceValues(func() (string, error) { return compile(t.TempDir()) })
	m.script = sync.OnceValues(func() (string, error) { return install(t.TempDir()) })
	key := m.brand(fresh)
	m.rivalKey = m.brand(rival)
	m.command("home", "add", "oak", "--zone", "Europe/Zurich")
	for _, brand := range []string{fresh, rival} {
		m.command("consent", "give", "--home", "oak", "--brand", brand, "--purpose", "marketing")
	}
	m.moveNeighboursIn(t, key)

	t.Run("all", func(t *testing.T) { // returns when the parallel ones have ended
		for _, c := range columns {
			t.Run(c.name()+" "+c.scheme, func(t *testing.T) {
				t.Parallel()
				var all sync.WaitGroup
				defer all.Wait()
				for lane := range c.lanes {
					try := c.open(t, m, c)
					me := m.enrol(t, device.TV, fmt.Sprint(t.Name(), lane))
					all.Go(func() {
						for i := lane; i < len(acts); i += c.lanes {
							act := acts[i]
							want, differs := act.but[c.name()]
							switch {
							case differs:
							case c.version == 4:
								want = act.want.three
							default:
								want = act.want.five
							}
							if want == "" {
								continue
							}
							v := visit{
								me: me.ID, neighbour: m.id, rivalKey: m.rivalKey,
								id: string(me.ID), user: string(me.ID), password: me.Token,
								listen: wire.Topic(me.ID, "dn/#"), mark: wire.Topic(me.ID, wire.UpTwin), echo: string(wire.UpTwin),
							}
							act.edit(&v)
							if v.alone {
								m.alone.Lock()
							}
							saw := try(v, func() { m.undisturbed(t, act.name) })
							if v.alone {
								m.alone.Unlock()
							}
							judge(t, act.name, want, saw)
							m.audited(t, act.name, v, want)
						}
					})
				}
			})
		}
	})
	m.undisturbed(t, "all")
	m.present(t)
	if _, metrics := get(t, "http://"+m.Listeners["metrics"]+"/metrics"); !strings.Contains(metrics, "\nporchlight_mqtt_panics_total 0\n") {
		t.Error("the door has recovered from a panic, or does not count them")
	}
}

// judge compares what the client saw of an act with what it was to see. Every act of every library
// comes by here once.
func judge(t *testing.T, act, want, saw string) {
	t.Helper()
	end := strings.HasPrefix(want, "DISCONNECT") || strings.HasSuffix(want, "closed")
	if saw != want && !(end && saw == "closed") && !(want == heldBack && strings.HasPrefix(saw, heldBack+": ")) {
		t.Errorf("%s: the client saw %q, want %q", act, saw, want)
	}
}

// audited waits until the audit has a record of that sort of refusal for who did the act.
func (m *matrix) audited(t *testing.T, act string, v visit, want string) {
	t.Helper()
	who, what := string(v.me), ""
	switch {
	case want == heldBack, strings.HasPrefix(want, "nothing"):
		return
	case strings.HasPrefix(want, "CONNACK"):
		who, what = v.id, "connect: "
		if id, _, _ := strings.Cut(v.id, "/"); id == "inline" || device.ID(id) == v.neighbour {
			who = id
		} else if _, err := device.ParseID(id); err != nil {
			who = "something that is not an ID"
		}
	case strings.HasPrefix(want, "SUBACK"):
		what = "subscribe"
	case strings.HasPrefix(want, "DISCONNECT"), strings.HasSuffix(want, "closed"):
		what = "0x" + strings.ToUpper(want[strings.Index(want, "0x")+2:][:2])
	default:
		what = "publish"
	}
	if v.user == rival && what != "connect: " {
		who = "b-" + rival
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		all, err := ask[[]delivery.AuditEntry](m.env, "audit", delivery.AuditAsked{About: who, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(all, func(e delivery.AuditEntry) bool {
			var f delivery.Refusal
			return e.Kind == "door.refused" && json.Unmarshal(e.Fact, &f) == nil && strings.HasPrefix(f.Peer, who) && strings.HasPrefix(f.What, what) && f.From == "127.0.0.1"
		}) {
			return
		}
		if time.Now().After(end) {
			t.Errorf("%s: the audit has no %q of %s", act, what, who)
			return
		}
	}
}

// enrol adds a device to the home.
func (m *matrix) enrol(t *testing.T, class device.Class, name string) delivery.Enrolled {
	t.Helper()
	d, err := ask[delivery.Enrolled](m.env, "device/add", api.DeviceAdd{Home: "oak", Device: delivery.DeviceSpec{Class: class, Name: name}})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// moveNeighboursIn connects a fridge, whose door is open, and a brand.
func (m *matrix) moveNeighboursIn(t *testing.T, key string) {
	t.Helper()
	d := m.enrol(t, device.Fridge, "fridge")
	m.id, m.neighbour, m.fresh = d.ID, &goThree{m: m}, &goFive{m: m}
	must := func(got, want string) {
		t.Helper()
		if got != want {
			t.Fatalf("the neighbour saw %q, want %q", got, want)
		}
	}
	must(m.neighbour.connect(visit{id: string(d.ID), user: string(d.ID), password: d.Token}), welcome)
	t.Cleanup(m.neighbour.leave)
	must(m.neighbour.subscribe(wire.Topic(d.ID, "dn/#")), granted)
	birth, err := wire.Encode(fridgeBirth)
	if err != nil {
		t.Fatal(err)
	}
	must(m.neighbour.publish(publication{topic: wire.Topic(d.ID, wire.UpBirth), qos: 1, payload: birth}), "PUBACK 0x00")
	must(m.say(map[string]any{"door.open": true, "temperature": 4.0}), "PUBACK 0x00") // never said again

	must(m.fresh.connect(visit{id: "b-" + fresh, user: fresh, password: key}), welcome)
	t.Cleanup(m.fresh.leave)
	must(m.fresh.subscribe(wire.BrandTopic(fresh, wire.DnAnswer)), granted)
}

// say lets the neighbour tell its context, and returns the answer.
func (m *matrix) say(values map[string]any) string {
	m.seq++
	b, err := wire.EncodeContext(wire.Context{Seq: m.seq, Values: values}, fridgeBirth.Attributes)
	if err != nil {
		return err.Error()
	}
	return m.neighbour.publish(publication{topic: wire.Topic(m.id, wire.UpCtx), qos: 1, payload: b})
}

// undisturbed lets the neighbour and the brand speak and be answered on their connections. What an
// act that went before would have sent to them has come by then; and whoever has got at their topics
// hears it.
func (m *matrix) undisturbed(t *testing.T, after string) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.disturbed {
		return // it has been told
	}
	wrong := func(format string, args ...any) {
		m.disturbed = true
		t.Errorf("after %s, or what went on beside it: "+format, append([]any{after}, args...)...)
	}
	if got := m.say(map[string]any{"temperature": 5.0}); got != "PUBACK 0x00" {
		wrong("the neighbour saw %q, want its PUBACK", got)
	}
	m.neighbour.publish(publication{topic: wire.Topic(m.id, wire.UpEvt), payload: nonsense})
	if heard := m.foreign(m.neighbour.await(string(wire.UpEvt))); heard != "" {
		wrong("the neighbour heard%s", heard)
	}
	m.fresh.publish(publication{topic: wire.BrandTopic(fresh, wire.UpMessage), payload: nonsense})
	if heard := m.fresh.await(`"status":400`); heard != "" {
		wrong("the brand heard %s", heard)
	}
}

// foreign is what the neighbour has heard beside its documents and beacons.
func (m *matrix) foreign(heard string) (all string) {
	for each := range strings.FieldsSeq(heard) {
		switch topic, _, _ := strings.Cut(each, "="); topic {
		case wire.Topic(m.id, wire.DnTwin), wire.Topic(m.id, wire.DnTime):
		default:
			all += " " + each
		}
	}
	return all
}

// present shows that a message of the brand still reaches the neighbour, as the only one: nothing
// that was forged has been taken in, and nothing was kept to be delivered to a new subscription.
func (m *matrix) present(t *testing.T) {
	if got := m.neighbour.subscribe(wire.Topic(m.id, "dn/#")); got != granted {
		t.Errorf("the neighbour subscribes again: %s", got)
	}
	body := `{"key": "k", "message": ` + message(`{"purpose"`, `{"when": [{"class": "fridge", "attribute": "door.open", "op": "eq", "value": true}], "purpose"`) + `}`
	if got := m.fresh.publish(publication{topic: wire.BrandTopic(fresh, wire.UpMessage), qos: 1, payload: []byte(body)}); got != "PUBACK 0x00" {
		t.Errorf("the brand saw %q", got)
	}
	if heard := m.fresh.await(`"status":202`); heard != "" {
		t.Errorf("the brand heard %s", heard)
	}
	if heard := m.foreign(m.neighbour.await("Two for one.")); heard != "" {
		t.Fatalf("the neighbour heard%s", heard)
	}
	b, err := hex.DecodeString(m.neighbour.last)
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := wire.DecodeMsg(b)
	if err != nil {
		t.Fatal(err)
	}
	m.seq++
	event, err := wire.Encode(wire.Event{Seq: m.seq, Message: p.Message, Kind: wire.Presented})
	if err != nil {
		t.Fatal(err)
	}
	if got := m.neighbour.publish(publication{topic: wire.Topic(m.id, wire.UpEvt), qos: 1, payload: event}); got != "PUBACK 0x00" {
		t.Errorf("the neighbour saw %q", got)
	}
	if why := m.command("why", p.Message.String(), "--home", "oak"); !strings.Contains(why, ", shown 2") {
		t.Errorf("why says\n%s", why)
	}
}

// What the steps of a good visit are answered with.
const (
	welcome = "CONNACK 0x00"
	granted = "SUBACK 0x01"
)

// stepper is a client that does what it is told, one step at a time. testdata/clients/mqttjs/client.js
// says what the answers are.
type stepper interface {
	connect(v visit) string
	subscribe(filter string) string
	publish(p publication) string
	await(text string) string
	leave()
}

// stepwise makes visits with s.
func stepwise(s stepper) visitor {
	return func(v visit, meanwhile func()) string {
		if v.keep {
			before := s.connect(v) + s.subscribe(v.listen)
			s.leave()
			if before != welcome+granted {
				return "the first time: " + before
			}
		}
		defer s.leave()
		if got := s.connect(v); got != welcome {
			meanwhile()
			return got
		}
		var saw []string
		if v.keep { // answered with a message only to who has subscribed
			for qos := range byte(2) {
				s.publish(publication{topic: wire.Topic(v.me, wire.UpBye), qos: qos, payload: nonsense})
			}
		}
		if got := s.subscribe(v.listen); got != granted {
			return "its own topics: " + got
		}
		if v.filter != "" {
			saw = append(saw, s.subscribe(v.filter))
		}
		for _, p := range v.publishes {
			saw = append(saw, s.publish(p))
		}
		meanwhile()
		s.publish(publication{topic: v.mark, payload: nonsense})
		return summary(append(saw, strings.Fields(s.await(v.echo))...))
	}
}

// summary is what was seen, in words.
func summary(saw []string) string {
	saw = slices.DeleteFunc(saw, func(s string) bool { return s == "" || s == "ended" })
	for i, s := range saw {
		topic, payload, ok := strings.Cut(s, "=")
		b, err := hex.DecodeString(payload)
		switch {
		case topic == "DISCONNECT":
			saw[i] = "DISCONNECT 0x" + payload
		case !ok || err != nil:
		case strings.HasSuffix(topic, "/"+string(wire.DnErr)):
			if e, err := wire.DecodeErr(b); err == nil {
				saw[i] = fmt.Sprintf("dn/err %#02x", e.Code)
			}
		case strings.HasSuffix(topic, "/"+string(wire.DnAnswer)):
			var a struct{ Status int }
			if err := json.Unmarshal(b, &a); err == nil {
				saw[i] = fmt.Sprintf("dn/answer %d", a.Status)
			}
		}
	}
	if len(saw) == 0 {
		return "nothing"
	}
	return strings.Join(saw, ", ")
}

// program is a stepper in another process.
type program struct {
	in  io.Writer
	out *bufio.Scanner
}

// run starts the program of c, which ends with the test.
func (m *matrix) run(t *testing.T, c column, scheme, name string, args ...string) visitor {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*longest)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "URL="+scheme+"://"+m.Listeners[c.scheme], "CA="+m.CA, "VERSION="+strconv.Itoa(c.version))
	var errs strings.Builder
	cmd.Stderr = &errs
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v: %s", c.name(), err, &errs)
		}
		cancel()
	})
	return stepwise(&program{in, bufio.NewScanner(out)})
}

// step lets the program do one step, with names and values; what is empty is left out, where that
// says the same.
func (p *program) step(name string, args ...string) string {
	line := name
	for i := 0; i < len(args); i += 2 {
		if args[i+1] != "" || args[i] == "id" || args[i] == "topic" || args[i] == "payload" {
			line += " " + args[i] + "=" + args[i+1]
		}
	}
	if _, err := fmt.Fprintln(p.in, line); err != nil || !p.out.Scan() {
		return fmt.Sprintf("the client ended at %s", name)
	}
	return p.out.Text()
}

func ifTrue(b bool) string {
	if b {
		return "1"
	}
	return ""
}

func (p *program) connect(v visit) string {
	return p.step("connect", "id", v.id, "user", v.user, "password", v.password, "will", v.will, "keep", ifTrue(v.keep))
}
func (p *program) subscribe(filter string) string { return p.step("subscribe", "filter", filter) }
func (p *program) publish(m publication) string {
	return p.step("publish", "topic", m.topic, "qos", strconv.Itoa(int(m.qos)), "retain", ifTrue(m.retain), "alias", m.alias, "payload", hex.EncodeToString(m.payload))
}
func (p *program) await(text string) string { return p.step("await", "text", text) }
func (p *program) leave()                   { p.step("leave") }

// mosquitto makes visits with mosquitto_sub, which is the device, and with mosquitto_pub beside it.
func mosquitto(t *testing.T, m *matrix, c column) visitor {
	if err := have("mosquitto-clients", "mosquitto_pub", "mosquitto_sub", "stdbuf"); err != nil {
		t.Skip(err)
	}
	host, port, err := net.SplitHostPort(m.Listeners[c.scheme])
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	common := []string{"-oL", "", "-d", "-h", host, "-p", port, "--cafile", m.CA, "-V", map[int]string{4: "mqttv311", 5: "mqttv5"}[c.version]}
	// begin starts a client, which ends with the visit.
	begin := func(v visit, name, suffix string, args ...string) *talker {
		t.Helper()
		args = append(slices.Clone(common), args...)
		args[1] = name
		for flag, value := range map[string]string{"-i": v.id + suffix, "-u": v.user, "-P": v.password, "--will-topic": v.will} {
			if value != "" {
				args = append(args, flag, value)
			}
		}
		if v.will != "" {
			args = append(args, "--will-payload", "forged")
		}
		if v.keep {
			args = append(args, "-c")
			if c.version == 5 {
				args = append(args, "-x", "3600")
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), longest)
		k := &talker{cmd: exec.CommandContext(ctx, "stdbuf", args...), cancel: cancel}
		k.cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+dir) // where whoever runs this may have options of their own
		in, err1 := k.cmd.StdinPipe()
		out, err2 := k.cmd.StdoutPipe()
		k.cmd.Stderr = k.cmd.Stdout
		if err := errors.Join(err1, err2, k.cmd.Start()); err != nil {
			t.Errorf("%s: %v", name, err)
			out = io.NopCloser(strings.NewReader(""))
		}
		k.in, k.out = in, bufio.NewScanner(out)
		return k
	}
	publish := func(v visit, p publication) string {
		file := filepath.Join(dir, "payload")
		if err := os.WriteFile(file, p.payload, 0o600); err != nil {
			return err.Error()
		}
		args := []string{"-t", p.topic, "-q", strconv.Itoa(int(p.qos)), "-f", file}
		if p.retain {
			args = append(args, "-r")
		}
		if p.alias != "" {
			args = append(args, "-D", "publish", "topic-alias", p.alias)
		}
		suffix := "/pub"
		if v.user == rival {
			suffix = "-pub"
		}
		pub := begin(v, "mosquitto_pub", suffix, args...)
		defer pub.end()
		if got := pub.until("CONNACK", "held back"); got != welcome {
			return got
		}
		switch got := pub.until("says", "held back"); {
		case got != "says":
			return got
		case p.qos == 0:
			pub.until() // its end
			return ""
		}
		return pub.until("PUBACK", "DISCONNECT", "closed")
	}
	return func(v visit, meanwhile func()) string {
		if v.keep {
			before := begin(v, "mosquitto_sub", "", "-q", "1", "-t", v.listen)
			got := before.until("SUBACK", "held back")
			before.end()
			if got != granted {
				return "the first time: " + got
			}
			pub := begin(v, "mosquitto_pub", "", "-l", "-q", "1", "-t", wire.Topic(v.me, wire.UpBye))
			defer pub.end()
			for range 2 {
				fmt.Fprintf(pub.in, "%s\n", nonsense)
				if got := pub.until("PUBACK", "hears", "held back"); !strings.HasPrefix(got, "PUBACK") {
					return got
				}
				meanwhile()
			}
			return "nothing"
		}
		filters := []string{"-q", "1", "-F", "%t=%x", "-t", v.listen}
		if v.filter != "" {
			filters = append(filters, "-t", v.filter)
		}
		sub := begin(v, "mosquitto_sub", "", filters...)
		defer sub.end()
		if got := sub.until("CONNACK"); got != welcome {
			meanwhile()
			return got
		}
		var saw, last []string
		got, ok := strings.CutPrefix(sub.until("SUBACK", "held back"), granted)
		if !ok {
			return "its own topics: " + got
		}
		if got != "" {
			saw = append(saw, "SUBACK"+got)
		}
		for _, p := range v.publishes {
			if got := publish(v, p); got == "closed" {
				last = append(last, got)
			} else {
				saw = append(saw, got)
			}
		}
		meanwhile()
		if v.user != rival { // a brand is answered on the connection that asks, which does not listen
			publish(v, publication{topic: v.mark, payload: nonsense})
			for {
				got := sub.until("pl/", "DISCONNECT")
				if b, err := hex.DecodeString(got[strings.Index(got, "=")+1:]); err == nil && strings.Contains(string(b), v.echo) {
					break
				}
				if saw = append(saw, got); !strings.Contains(got, "=") {
					break
				}
			}
		}
		return summary(append(saw, last...))
	}
}

// talker is a mosquitto client that says what it does.
type talker struct {
	cmd    *exec.Cmd
	cancel func()
	in     io.WriteCloser
	out    *bufio.Scanner
}

// talk is the lines of a talker, in the words of a stepper; numbers follow in hexadecimal.
var talk = []struct {
	line *regexp.Regexp
	say  string
}{
	{regexp.MustCompile(`received CONNACK \((\d+)\)`), "CONNACK"},
	{regexp.MustCompile(`Received DISCONNECT \((\d+)\)`), "DISCONNECT"},
	{regexp.MustCompile(`received PUBACK \(Mid: \d+, RC:(\d+)\)`), "PUBACK"},
	{regexp.MustCompile(`^Subscribed \(mid: \d+\): (\d+)(?:, (\d+))?`), "SUBACK"},
	{regexp.MustCompile(`received PUBLISH`), "hears"},
	{regexp.MustCompile(`sending PUBLISH`), "says"},
	{regexp.MustCompile(`sending DISCONNECT`), "held back: it leaves"},
	{regexp.MustCompile(`^Error: The (?:connection was lost|client is not currently connected)`), "closed"},
	{regexp.MustCompile(`^Error`), "held back: an error"},
}

// until reads on to a line that says one of what, or to the end, which is "closed". A message is
// topic=payload.
func (k *talker) until(what ...string) string {
	for k.out.Scan() {
		said := k.out.Text()
		for _, w := range talk {
			if m := w.line.FindStringSubmatch(said); m != nil {
				said = w.say
				for _, number := range m[1:] {
					if n, err := strconv.Atoi(number); err == nil {
						said += fmt.Sprintf(" 0x%02x", n)
					}
				}
				break
			}
		}
		if slices.ContainsFunc(what, func(w string) bool { return strings.HasPrefix(said, w) }) {
			return said
		}
	}
	return "closed"
}

func (k *talker) end() {
	k.in.Close()
	k.cancel()
	_ = k.cmd.Wait() // it was killed
}

// pahoC makes visits with testdata/clients/pahoc.
func pahoC(t *testing.T, m *matrix, c column) visitor {
	return m.run(t, c, "ssl", usable(t, m.binary))
}

// mqttJS makes visits with testdata/clients/mqttjs.
func mqttJS(t *testing.T, m *matrix, c column) visitor {
	return m.run(t, c, c.scheme, "node", usable(t, m.script))
}

// usable is the client that was made, or the end of a test that needs what is not there.
func usable(t *testing.T, made func() (path string, err error)) string {
	t.Helper()
	path, err := made()
	if errors.Is(err, errMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var errMissing = errors.New("is missing")

// have fails with errMissing if one of programs is not installed.
func have(debian string, programs ...string) error {
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("%s %w: apt-get install %s", name, errMissing, debian)
		}
	}
	return nil
}

// compile makes the client in C in dir.
func compile(dir string) (path string, err error) {
	if err := have("gcc", "cc"); err != nil {
		return "", err
	}
	if out, err := exec.Command("cc", "-include", "MQTTClient.h", "-fsyntax-only", "-x", "c", os.DevNull).CombinedOutput(); err != nil {
		return "", fmt.Errorf("Paho C %w: apt-get install libpaho-mqtt-dev (%.200s)", errMissing, bytes.TrimSpace(out))
	}
	path = filepath.Join(dir, "client")
	if out, err := exec.Command("cc", "-o", path, "testdata/clients/pahoc/client.c", "-lpaho-mqtt3cs", "-lpthread").CombinedOutput(); err != nil {
		return "", fmt.Errorf("cc: %w\n%s", err, out)
	}
	return path, nil
}

// install puts the client in JavaScript into dir, with the libraries of its lock file.
func install(dir string) (path string, err error) {
	if err := have("nodejs npm", "node", "npm"); err != nil {
		return "", err
	}
	if err := os.CopyFS(dir, os.DirFS("testdata/clients/mqttjs")); err != nil {
		return "", err
	}
	ci := exec.Command("npm", "ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000")
	ci.Dir = dir
	switch out, err := ci.CombinedOutput(); {
	case err != nil && offline.Match(out):
		return "", fmt.Errorf("npm's registry %w: %.300s", errMissing, out)
	case err != nil:
		return "", fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return filepath.Join(dir, "client.js"), nil
}

// offline are npm's words for a registry that cannot be reached.
var offline = regexp.MustCompile(`ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EAI_AGAIN|ENETUNREACH`)

// inbox is what a client of this process has heard.
type inbox struct {
	mu    sync.Mutex
	news  chan struct{} // closed and replaced at each change
	heard []string      // topic=payload
	end   string        // "": it goes on
	last  string        // the payload that was waited for
}

func newInbox() *inbox { return &inbox{news: make(chan struct{})} }

func (b *inbox) change(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	close(b.news)
	b.news = make(chan struct{})
}

func (b *inbox) hear(topic string, payload []byte) {
	b.change(func() { b.heard = append(b.heard, topic+"="+hex.EncodeToString(payload)) })
}

func (b *inbox) over(words string) {
	b.change(func() {
		if b.end == "" {
			b.end = words
		}
	})
}

// until waits for ok, called with b locked, to hold.
func (b *inbox) until(ok func() bool) bool {
	timer := time.NewTimer(longest)
	defer timer.Stop()
	for {
		b.mu.Lock()
		done, news := ok(), b.news
		b.mu.Unlock()
		if done {
			return true
		}
		select {
		case <-news:
		case <-timer.C:
			return false
		}
	}
}

func (b *inbox) await(text string) string {
	var before []string
	echo := hex.EncodeToString([]byte(text))
	if !b.until(func() bool {
		i := slices.IndexFunc(b.heard, func(s string) bool { return strings.Contains(s, echo) })
		if i < 0 && b.end == "" {
			return false
		}
		if i < 0 {
			before, b.heard = append(b.heard, b.end), nil
			return true
		}
		_, b.last, _ = strings.Cut(b.heard[i], "=")
		before, b.heard = b.heard[:i], b.heard[i+1:]
		return true
	}) {
		return "silence"
	}
	return strings.Join(before, " ")
}

// goThree is paho.mqtt.golang.
type goThree struct {
	m *matrix
	*inbox
	cl paho3.Client
}

func (c *goThree) connect(v visit) string {
	box := newInbox()
	c.inbox = box
	o := paho3.NewClientOptions().AddBroker("ssl://" + c.m.Listeners["mqtts"]).SetTLSConfig(&tls.Config{RootCAs: c.m.roots}).
		SetProtocolVersion(4).SetAutoReconnect(false).SetConnectRetry(false).SetConnectTimeout(longest).SetKeepAlive(2 * time.Minute).
		SetClientID(v.id).SetUsername(v.user).SetPassword(v.password).SetCleanSession(!v.keep).
		SetDefaultPublishHandler(func(_ paho3.Client, m paho3.Message) { box.hear(m.Topic(), m.Payload()) }).
		SetConnectionLostHandler(func(paho3.Client, error) { box.over("closed") })
	if v.will != "" {
		o.SetWill(v.will, "forged", 0, false)
	}
	c.cl = paho3.NewClient(o)
	token := c.cl.Connect().(*paho3.ConnectToken)
	if !token.WaitTimeout(longest) {
		return "silence"
	}
	if token.Error() != nil && token.ReturnCode() > 5 { // of the library's own
		return fmt.Sprintf("no CONNACK: %v", token.Error())
	}
	answer := fmt.Sprintf("CONNACK 0x%02x", token.ReturnCode())
	if token.SessionPresent() {
		answer += ", session present"
	}
	return answer
}

func (c *goThree) subscribe(filter string) string {
	token := c.cl.Subscribe(filter, 1, nil).(*paho3.SubscribeToken)
	if got := c.done(token); got != "" {
		return got
	}
	for _, code := range token.Result() { // of one filter, which it may know under another name
		return fmt.Sprintf("SUBACK 0x%02x", code)
	}
	return "no SUBACK"
}

func (c *goThree) publish(p publication) string {
	token := c.cl.Publish(p.topic, p.qos, p.retain, p.payload)
	if got := c.done(token); got != "" || p.qos == 0 {
		return got
	}
	return "PUBACK 0x00"
}

// done waits for token, and says what is wrong with it.
func (c *goThree) done(token paho3.Token) string {
	if !token.WaitTimeout(longest) {
		return "silence"
	}
	switch {
	case token.Error() == nil:
		return ""
	case !c.cl.IsConnectionOpen():
		return "ended"
	}
	return fmt.Sprintf("held back: %v", token.Error())
}

func (c *goThree) leave() { c.cl.Disconnect(0) }

// goFive is paho.golang.
type goFive struct {
	m *matrix
	*inbox
	conn net.Conn
	cl   *paho.Client
}

func (c *goFive) connect(v visit) string {
	box := newInbox()
	conn, err := tls.Dial("tcp", c.m.Listeners["mqtts"], &tls.Config{RootCAs: c.m.roots})
	if err != nil {
		return err.Error()
	}
	c.inbox, c.conn = box, conn
	c.cl = paho.NewClient(paho.ClientConfig{
		Conn: pahopackets.NewThreadSafeConn(conn), PacketTimeout: longest,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			box.hear(p.Packet.Topic, p.Packet.Payload)
			return true, nil
		}},
		OnServerDisconnect: func(d *paho.Disconnect) { box.over(fmt.Sprintf("DISCONNECT=%02x", d.ReasonCode)) },
		OnClientError:      func(error) { box.over("closed") },
	})
	pk := &paho.Connect{
		ClientID: v.id, CleanStart: !v.keep, KeepAlive: 120,
		Username: v.user, UsernameFlag: v.user != "", Password: []byte(v.password), PasswordFlag: v.password != "",
	}
	if v.will != "" {
		pk.WillMessage = &paho.WillMessage{Topic: v.will, Payload: []byte("forged")}
	}
	if v.keep {
		hour := uint32(3600)
		pk.Properties = &paho.ConnectProperties{SessionExpiryInterval: &hour}
	}
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	ack, err := c.cl.Connect(ctx, pk)
	if ack == nil {
		return fmt.Sprintf("no CONNACK: %v", err)
	}
	answer := fmt.Sprintf("CONNACK 0x%02x", ack.ReasonCode)
	if ack.SessionPresent {
		answer += ", session present"
	}
	return answer
}

func (c *goFive) subscribe(filter string) string {
	return c.do(func(ctx context.Context, cl *paho.Client) (string, error) {
		ack, err := cl.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 1}}})
		if ack == nil || len(ack.Reasons) != 1 {
			return "", err
		}
		return fmt.Sprintf("SUBACK 0x%02x", ack.Reasons[0]), nil
	})
}

func (c *goFive) publish(p publication) string {
	pk := &paho.Publish{Topic: p.topic, QoS: p.qos, Retain: p.retain, Payload: p.payload}
	if p.alias != "" {
		n, err := strconv.ParseUint(p.alias, 10, 16)
		if err != nil {
			return err.Error()
		}
		pk.Properties = &paho.PublishProperties{TopicAlias: paho.Uint16(uint16(n))}
	}
	return c.do(func(ctx context.Context, cl *paho.Client) (string, error) {
		ack, err := cl.Publish(ctx, pk)
		if ack == nil || p.qos == 0 {
			return "", err
		}
		return fmt.Sprintf("PUBACK 0x%02x", ack.ReasonCode), nil
	})
}

// do runs f until it is answered or the connection ends.
func (c *goFive) do(f func(ctx context.Context, cl *paho.Client) (string, error)) string {
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	box, cl := c.inbox, c.cl
	var answer string
	var done, held bool
	var err error
	go func() {
		a, e := f(ctx, cl)
		box.change(func() {
			answer, err, done = a, e, e == nil
			held = errors.Is(e, paho.ErrInvalidArguments)
		})
	}()
	if !box.until(func() bool { return done || held || box.end != "" }) {
		return "silence"
	}
	box.mu.Lock()
	defer box.mu.Unlock()
	switch {
	case done:
		return answer
	case held:
		return fmt.Sprintf("held back: %v", err)
	}
	return "ended"
}

func (c *goFive) leave() {
	if c.conn != nil {
		_ = c.cl.Disconnect(&paho.Disconnect{}) // it may have ended
		c.conn.Close()
	}
}

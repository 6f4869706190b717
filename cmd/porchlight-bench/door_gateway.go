package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"porchlight/device"
	"porchlight/device/wire"
)

// gateway is the gateway under measurement, with its operator's commands.
type gateway struct {
	broker
	command             []string
	data, http, metrics string
	operator            *http.Client
	brandKey            string
}

// limits are raised to where none is met: what is measured is work, not refusals.
const gatewayConfig = `mqtt:
  plain: %s
  tls: %s
  websocket: ""
  max_connections: 100000
  connections_per_address: 100000
  connections_per_home: 100000
  takeovers: 1000000
  failed_logins: 1000000
  frames_per_second: 10000000
  bytes_per_second: 1000000000
  home_frames_per_second: 10000000
  home_bytes_per_second: 1000000000
  outstanding: 64
http: {plain: "%s", metrics: "%s"}
discovery: {on: false}
brands: {rate: 1000000, burst: 1000000}
delivery: {facts_at_once: 1000000, facts_per_minute: 1000000}
`

const benchBrand = "acme"

// startGateway starts one with a brand, and no homes.
func startGateway(ctx context.Context, s setting, name string) (*gateway, error) {
	folder, err := os.MkdirTemp(s.folder, "gateway-")
	if err != nil {
		return nil, err
	}
	at, err := loopbackPorts(4)
	if err != nil {
		return nil, err
	}
	g := &gateway{broker: broker{plain: at[0], secure: at[1]}, http: at[2], metrics: at[3], data: filepath.Join(folder, "d")}
	config := filepath.Join(folder, "porchlight.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, gatewayConfig, at[0], at[1], at[2], at[3]), 0o600); err != nil {
		return nil, err
	}
	g.command = []string{s.gateway, "--data", g.data, "serve", "--config", config}
	socket := filepath.Join(g.data, "porchlight.sock")
	g.operator = &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	if err := g.up(ctx, name); err != nil {
		return nil, err
	}
	var added struct{ Key string }
	if err := g.operate(ctx, "brand/add", map[string]any{"id": benchBrand, "name": "Acme", "purposes": []string{"marketing"}, "quota": 1 << 20}, &added); err != nil {
		g.stop()
		return nil, err
	}
	g.brandKey = added.Key
	return g, nil
}

// up starts the process and waits until it answers everywhere.
func (g *gateway) up(ctx context.Context, name string) error {
	if _, err := g.start(ctx, name, g.command...); err != nil {
		return err
	}
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		err := g.operate(ctx, "status", struct{}{}, nil) // its socket is opened last
		if err == nil {
			return nil
		}
		if time.Now().After(end) || ctx.Err() != nil {
			g.stop()
			return err
		}
	}
}

// again ends the process and starts it on the same data, so that nothing of what was done before is in memory.
func (g *gateway) again(ctx context.Context) error {
	g.stop()
	g.operator.CloseIdleConnections()
	return g.up(ctx, g.name)
}

// operate does one verb of the operator's commands, over the socket that they use. out may be nil.
func (g *gateway) operate(ctx context.Context, verb string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://porchlight/"+verb, bytes.NewReader(body))
	if err != nil {
		return err
	}
	return answer(g.operator, req, http.StatusOK, out)
}

func answer(c *http.Client, req *http.Request, want int, out any) error {
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != want {
		err = fmt.Errorf("%s: %s: %.400s", req.URL.Path, resp.Status, raw)
	}
	if err == nil && out != nil {
		err = json.Unmarshal(raw, out)
	}
	return err
}

// push hands in a message as the brand does, for every home that has said yes. extra are fields beside the text.
func (g *gateway) push(ctx context.Context, key string, extra map[string]any) (id string, err error) {
	m := map[string]any{"purpose": "marketing", "texts": []any{map[string]string{"language": "en", "title": "Fresh milk", "body": "Mountain milk is 1.20 today."}},
		"not_after": time.Now().Add(6 * time.Hour).UTC().Format(time.RFC3339)}
	for k, v := range extra {
		m[k] = v
	}
	body, err := json.Marshal(m)
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+g.http+"/v1/messages", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+g.brandKey)
	req.Header.Set("Idempotency-Key", key)
	var accepted struct{ ID string }
	err = answer(http.DefaultClient, req, http.StatusAccepted, &accepted)
	return accepted.ID, err
}

// counted is one of the gateway's own counters: the sum over its labels, unless the name has them.
func (g *gateway) counted(ctx context.Context, name string) (sum float64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.metrics+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), name)
		if !ok || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		n, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, lines.Err()
}

// until waits for a counter or gauge to be as ok says.
func (g *gateway) until(ctx context.Context, name string, ok func(float64) bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		n, err := g.counted(ctx, name)
		if err == nil && ok(n) {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s stands at %g", name, n)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// moveIn adds so many homes with so many fridges each. No home has a cap; agreed says that they all say yes to
// the brand.
func (g *gateway) moveIn(ctx context.Context, name string, homes, each int, agreed bool) (all []login, err error) {
	all = make([]login, homes*each)
	err = many(homes, 64, func(i int) error {
		home := fmt.Sprint(name, "-", i)
		spec := map[string]any{"name": home, "zone": "Europe/Zurich", "caps": []int{}}
		var things []any
		for k := range each {
			things = append(things, map[string]any{"id": fmt.Sprintf("%s-%05d", name, i*each+k), "class": "fridge", "controller": true, "name": fmt.Sprint("Fridge ", k)})
		}
		spec["devices"] = things
		var added struct {
			Devices []struct{ ID, Token string }
		}
		if err := g.operate(ctx, "home/add", spec, &added); err != nil {
			return err
		}
		for k, d := range added.Devices {
			all[i*each+k] = login{d.ID, d.ID, d.Token}
		}
		if !agreed {
			return nil
		}
		return g.operate(ctx, "consent/choose", map[string]any{"home": home, "brand": benchBrand, "purpose": "marketing", "choice": "given"}, nil)
	})
	return all, err
}

// What a fridge of the bench says of itself, and the places of its attributes.
var fridgeAttributes = []string{"power.state", "door.open", "temperature", "alarm"}

var fridgeBirth = func() []byte {
	b, err := wire.Encode(wire.Birth{Model: wire.Model{Maker: "Polar", Name: "F2"}, Class: device.Fridge, Attributes: fridgeAttributes, Software: "1.0",
		Can: wire.Capabilities{Screen: []uint{800, 480, 180}, Inputs: 2, Forms: wire.Forms{device.Badge, device.Toast}, MaxButtons: 2, Languages: []string{"en"}}})
	if err != nil {
		panic(err) // it is a constant
	}
	return b
}()

// appendContext makes the frame in which a fridge tells how it is: {0: seq, 3: {0: "on", 1: false, 2: temperature,
// 3: false}}. By hand, because making it would cost the generator more than sending it.
func appendContext(b []byte, seq uint64, temperature byte) []byte {
	b = append(b, 0xa2, 0x00)
	switch {
	case seq < 24:
		b = append(b, byte(seq))
	case seq < 1<<8:
		b = append(b, 0x18, byte(seq))
	case seq < 1<<16:
		b = append(b, 0x19, byte(seq>>8), byte(seq))
	default:
		b = append(b, 0x1a, byte(seq>>24), byte(seq>>16), byte(seq>>8), byte(seq))
	}
	return append(b, 0x03, 0xa4, 0x00, 0x62, 'o', 'n', 0x01, 0xf4, 0x02, temperature&0x0f, 0x03, 0xf4)
}

// be has a device subscribe to what is sent to it, say what it is, and how it is.
func (c *client) be(seq *uint64) error {
	if err := c.subscribe(wire.Topic(device.ID(c.id), "dn/#")); err != nil {
		return err
	}
	if err := c.say(wire.Topic(device.ID(c.id), wire.UpBirth), fridgeBirth); err != nil {
		return err
	}
	*seq++
	if err := c.say(wire.Topic(device.ID(c.id), wire.UpCtx), appendContext(nil, *seq, 4)); err != nil {
		return err
	}
	return c.document()
}

// document waits until a new device has been sent the home's document, and has acknowledged it: who leaves that
// unacknowledged does not stay connected.
func (c *client) document() error {
	c.SetReadDeadline(time.Now().Add(patience))
	defer c.SetReadDeadline(time.Time{})
	for c.got == 0 {
		kind, body, err := c.next()
		if err == nil && kind&0xf0 != kindPublish {
			err = fmt.Errorf("the gateway sent % x % x", kind, body)
		}
		if err == nil {
			_, err = c.received(kind, body)
		}
		if err != nil {
			return fmt.Errorf("%s waits for its document: %w", c.id, err)
		}
	}
	return c.flush()
}

package broker

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/wire"
	"porchlight/policy"
)

// BenchmarkContextToSocket is how long it takes from a context frame that opens the moment, as a fridge's door
// opens for which a message waits, to the frame that has it shown: from when the gateway has read the one to
// when it has written the other, and from when the device has written the one to when it has read the other.
// A thousand devices in 250 homes report once a second meanwhile, and in each home more messages wait for
// another day. Beside it stand, of the same run, how late a timer of 1 ms fires and how long it takes to
// write 4 KiB and have them on disk, which the claim of a message does once.
func BenchmarkContextToSocket(b *testing.B) {
	const homes, waiting, rounds = 250, 10, 4
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	log := slog.New(slog.DiscardHandler)
	dir := b.TempDir()
	must := func(err error) {
		if err != nil {
			b.Helper()
			b.Fatal(err)
		}
	}
	db, err := store.Open(ctx, filepath.Join(dir, "p.db"), store.Options{Project: delivery.Project, Clear: delivery.Clear})
	must(err)
	defer db.Close()
	desk, err := delivery.NewDesk(db, delivery.Options{FactsAtOnce: 1 << 20, Learner: delivery.LearnerOff}, log)
	must(err)
	clock := &deskClock{Desk: desk, links: map[delivery.Link]*clockedLink{}}
	door, err := New(clock, db, Options{Plain: "127.0.0.1:0", Limits: Limits{PerAddress: 5 * homes}}, log)
	must(err)
	done := make(chan error, 2)
	go func() { done <- delivery.NewCourier(desk).Run(ctx) }()
	go func() { done <- door.Run(ctx) }()
	defer func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				b.Error(err)
			}
		}
	}()

	brand := registry.Brand{ID: "acme", Name: "Acme", Purposes: []string{"marketing"}, Quota: 1 << 20}
	_, err = desk.AddBrand(ctx, brand)
	must(err)
	classes := []device.Class{device.Fridge, device.TV, device.Washer, device.Display}
	var fridges, all []*talker
	for i := range homes {
		spec := delivery.HomeSpec{Name: fmt.Sprint("oak-", i), Zone: "Europe/Zurich", Caps: []policy.Cap{}, Rooms: []string{"kitchen"}}
		for _, c := range classes {
			spec.Devices = append(spec.Devices, delivery.DeviceSpec{ID: device.ID(fmt.Sprintf("%s-%d", c, i)), Class: c, Room: "kitchen"})
		}
		_, devices, err := desk.AddHome(ctx, spec)
		must(err)
		must(desk.Choose(ctx, spec.Name, "", brand.ID, policy.Marketing, policy.Given))
		for _, e := range devices {
			t, err := dialTalker(door.Addr("mqtt").String(), e.ID, e.Class, e.Token)
			must(err)
			defer t.c.Close()
			if all = append(all, t); e.Class == device.Fridge {
				fridges = append(fridges, t)
			}
		}
	}
	number := 0
	push := func(s delivery.Submission) {
		number++
		s.Purpose, s.Texts, s.NotAfter = policy.Marketing, []delivery.SubmissionText{{Language: "en", Body: "Milk is cheap."}}, time.Now().Add(72*time.Hour)
		_, err := desk.Accept(ctx, brand, fmt.Sprint("k-", number), s)
		must(err)
	}
	later := time.Now().Add(48 * time.Hour)
	for range waiting {
		push(delivery.Submission{NotBefore: &later})
	}

	// The thousand report, spread over each second; none of it is awaited.
	var reports atomic.Int64
	reporting, stop := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer stop()
	tasks.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for next := 0; ; {
			select {
			case <-reporting.Done():
				return
			case <-tick.C:
			}
			for range len(all) / 100 {
				t := all[next]
				next = (next + 1) % len(all)
				t.report(reports.Add(1))
			}
		}
	})
	var late, synced []float64
	tasks.Go(func() {
		for reporting.Err() == nil {
			began := time.Now()
			time.Sleep(time.Millisecond)
			late = append(late, time.Since(began).Seconds()*1e6-1000)
		}
	})
	tasks.Go(func() {
		f, err := os.Create(filepath.Join(dir, "sync"))
		if err != nil {
			b.Error(err)
			return
		}
		defer f.Close()
		for page := make([]byte, 4096); reporting.Err() == nil; time.Sleep(50 * time.Millisecond) {
			began := time.Now()
			f.WriteAt(page, 0)
			f.Sync()
			synced = append(synced, time.Since(began).Seconds()*1e6)
		}
	})

	open, shut := map[string]any{"door.open": true, "power.state": "on"}, map[string]any{"door.open": false, "power.state": "on"}
	var inside, outside []float64
	one := func(t *talker, count bool) {
		clock.begin(t.id)
		began := time.Now()
		must(t.say(wire.UpCtx, wire.Context{Values: open}))
		select {
		case got := <-t.shown:
			if count {
				outside = append(outside, got.at.Sub(began).Seconds()*1e6)
				inside = append(inside, clock.end().Seconds()*1e6)
			}
			must(t.say(wire.UpEvt, wire.Event{Message: got.id, Kind: wire.Presented}))
			must(t.say(wire.UpEvt, wire.Event{Message: got.id, Kind: wire.TimedOut}))
			must(t.say(wire.UpCtx, wire.Context{Values: shut}))
		case <-time.After(30 * time.Second):
			b.Fatalf("%s was shown nothing", t.id)
		}
	}
	for b.Loop() {
		for round := range rounds {
			push(delivery.Submission{Classes: []device.Class{device.Fridge}, When: []delivery.SubmissionCondition{{Class: device.Fridge, Attribute: "door.open", Op: policy.EQ, Value: true}}})
			time.Sleep(time.Second) // every home has paired it, and reported
			for _, t := range fridges {
				one(t, round > 0)
				time.Sleep(4 * time.Millisecond)
			}
		}
	}
	stop()
	tasks.Wait()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(len(inside)), "moments")
	for name, list := range map[string][]float64{"gateway": inside, "device": outside, "timer": late, "fsync": synced} {
		slices.Sort(list)
		b.ReportMetric(list[len(list)/2], name+"-p50-us")
		b.ReportMetric(list[len(list)*99/100], name+"-p99-us")
	}
}

// deskClock is a Desk that says how long it took from a context frame of one device to the next message that
// was written to it.
type deskClock struct {
	*delivery.Desk
	mu    sync.Mutex
	links map[delivery.Link]*clockedLink
	watch device.ID
	took  time.Duration
	began time.Time
}

// clockedLink is a Link that tells its deskClock when a message was handed over.
type clockedLink struct {
	delivery.Link
	clock *deskClock
	id    device.ID
}

func (l *clockedLink) Send(f delivery.Frame) error {
	err := l.Link.Send(f)
	if now := time.Now(); f.Leaf == wire.DnMsg {
		l.clock.mu.Lock()
		if l.clock.watch == l.id && l.clock.took == 0 {
			l.clock.took = now.Sub(l.clock.began)
		}
		l.clock.mu.Unlock()
	}
	return err
}

func (d *deskClock) begin(id device.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watch, d.took, d.began = id, 0, time.Time{}
}

func (d *deskClock) end() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.took
}

func (d *deskClock) of(l delivery.Link) delivery.Link {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.links[l]
}

func (d *deskClock) Connected(dev device.ID, home device.HomeID, l delivery.Link) error {
	d.mu.Lock()
	mine := &clockedLink{l, d, dev}
	d.links[l] = mine
	d.mu.Unlock()
	return d.Desk.Connected(dev, home, mine)
}

func (d *deskClock) Context(dev device.ID, l delivery.Link, c wire.Context) error {
	now := time.Now()
	d.mu.Lock()
	if open, told := c.Values["door.open"]; d.watch == dev && told && open == true {
		d.began = now
	}
	mine := d.links[l]
	d.mu.Unlock()
	return d.Desk.Context(dev, mine, c)
}

func (d *deskClock) Subscribed(dev device.ID, l delivery.Link) error {
	return d.Desk.Subscribed(dev, d.of(l))
}
func (d *deskClock) Birth(dev device.ID, l delivery.Link, b wire.Birth) error {
	return d.Desk.Birth(dev, d.of(l), b)
}
func (d *deskClock) Event(dev device.ID, l delivery.Link, e wire.Event) error {
	return d.Desk.Event(dev, d.of(l), e)
}
func (d *deskClock) Acked(dev device.ID, l delivery.Link) { d.Desk.Acked(dev, d.of(l)) }
func (d *deskClock) Gone(dev device.ID, l delivery.Link)  { d.Desk.Gone(dev, d.of(l)) }

// talker is a device on a connection of its own: it acknowledges what it gets and hands on what it is to show.
type talker struct {
	id    device.ID
	class device.Class
	c     net.Conn
	shown chan shownAt

	mu     sync.Mutex
	packet uint16
	seq    uint64
}

type shownAt struct {
	id device.MessageID
	at time.Time
}

func dialTalker(addr string, id device.ID, class device.Class, token string) (*talker, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	t := &talker{id: id, class: class, c: c, shown: make(chan shownAt, 16)}
	if err := t.send(connectPacket(string(id), string(id), token)); err != nil {
		return nil, err
	}
	r := bufio.NewReader(c)
	for _, want := range []byte{packets.Connack, packets.Suback} {
		kind, body, err := readPacket(r)
		if err != nil || kind>>4 != want || body[len(body)-1] > 1 {
			return nil, fmt.Errorf("%s got packet %x %x, %v", id, kind, body, err)
		}
		if want == packets.Connack {
			err = t.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: 1,
				Filters: packets.Subscriptions{{Filter: wire.Topic(id, "dn/#"), Qos: 1}}})
			if err != nil {
				return nil, err
			}
		}
	}
	go t.listen(r)
	err = t.say(wire.UpBirth, wire.Birth{Model: wire.Model{Maker: "m", Name: "n"}, Class: class, Attributes: []string{"power.state"},
		Can: wire.Capabilities{Screen: []uint{1920, 1080, 1000}, Forms: []device.Form{device.Toast, device.List}, Languages: []string{"en"}}})
	return t, errors.Join(err, t.report(0))
}

// report says how it is, with something that changes.
func (t *talker) report(n int64) error {
	values := map[string]any{"power.state": "on"}
	switch t.class {
	case device.TV:
		values["state"], values["volume_level"] = "idle", float64(n%10)/10
	case device.Fridge:
		values["temperature"] = 4 + float64(n%3)
	case device.Washer:
		values["OperationalState"], values["CountdownTime"] = "Stopped", float64(n%60)
	}
	return t.say(wire.UpCtx, wire.Context{Values: values})
}

// say publishes with QoS 1.
func (t *talker) say(leaf wire.Leaf, frame any) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seq++
	switch f := frame.(type) {
	case wire.Context:
		f.Seq = t.seq
		frame = f
	case wire.Event:
		f.Seq = t.seq
		frame = f
	}
	payload, err := wire.Encode(frame)
	if err != nil {
		return err
	}
	t.packet = t.packet%60000 + 1
	return t.write(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, PacketID: t.packet, TopicName: wire.Topic(t.id, leaf), Payload: payload})
}

func (t *talker) send(pk packets.Packet) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.write(pk)
}

func (t *talker) write(pk packets.Packet) (err error) {
	pk.ProtocolVersion = 4
	var b bytes.Buffer
	switch pk.FixedHeader.Type {
	case packets.Connect:
		err = pk.ConnectEncode(&b)
	case packets.Subscribe:
		err = pk.SubscribeEncode(&b)
	case packets.Publish:
		err = pk.PublishEncode(&b)
	case packets.Puback:
		err = pk.PubackEncode(&b)
	}
	if err == nil {
		_, err = t.c.Write(b.Bytes())
	}
	return err
}

// listen takes what comes until the connection ends.
func (t *talker) listen(r *bufio.Reader) {
	for {
		kind, body, err := readPacket(r)
		if err != nil {
			return
		}
		now := time.Now()
		if kind>>4 != packets.Publish || len(body) < 2 {
			continue
		}
		n := 2 + int(body[0])<<8 + int(body[1])
		topic, rest := string(body[2:n]), body[n:]
		if kind>>1&3 > 0 {
			id := uint16(rest[0])<<8 | uint16(rest[1])
			rest = rest[2:]
			t.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: id})
		}
		if topic == wire.Topic(t.id, wire.DnMsg) {
			if p, _, err := wire.DecodeMsg(rest); err == nil && p != nil {
				t.shown <- shownAt{p.Message, now}
			}
		}
	}
}

func readPacket(r *bufio.Reader) (kind byte, body []byte, err error) {
	if kind, err = r.ReadByte(); err != nil {
		return 0, nil, err
	}
	n, _, err := packets.DecodeLength(r)
	if err != nil {
		return 0, nil, err
	}
	body = make([]byte, n)
	_, err = io.ReadFull(r, body)
	return kind, body, err
}

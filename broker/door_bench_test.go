package broker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/store"
	"porchlight/device/wire"
)

// doorForBench is a door with a real hall behind it, and so many homes with a fridge each.
func doorForBench(b *testing.B, fridges int) (*Door, []delivery.Enrolled) {
	b.Helper()
	must := func(err error) {
		if err != nil {
			b.Helper()
			b.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	log := slog.New(slog.DiscardHandler)
	db, err := store.Open(ctx, filepath.Join(b.TempDir(), "p.db"), store.Options{Project: delivery.Project, Clear: delivery.Clear})
	must(err)
	desk, err := delivery.NewDesk(db, delivery.Options{FactsAtOnce: 1 << 20, Learner: delivery.LearnerOff}, log)
	must(err)
	door, err := New(desk, db, Options{Plain: "127.0.0.1:0", Limits: Limits{PerAddress: 1 << 20, Frames: 1 << 30, Bytes: 1 << 40, HomeFrames: 1 << 30, HomeBytes: 1 << 40}}, log)
	must(err)
	done := make(chan error, 2)
	go func() { done <- delivery.NewCourier(desk).Run(ctx) }()
	go func() { done <- door.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				b.Error(err)
			}
		}
		db.Close()
	})
	var all []delivery.Enrolled
	for i := range fridges {
		_, devices, err := desk.AddHome(ctx, delivery.HomeSpec{Name: fmt.Sprint("oak-", i), Zone: "Europe/Zurich", Rooms: []string{"kitchen"},
			Devices: []delivery.DeviceSpec{{ID: device.ID(fmt.Sprint("fridge-", i)), Class: device.Fridge, Room: "kitchen"}}})
		must(err)
		all = append(all, devices...)
	}
	return door, all
}

// BenchmarkPublish is one context frame of QoS 1 through the door and the hall and its acknowledgement back,
// sixteen on their way at a time. The client allocates nothing: what is allocated is ours.
func BenchmarkPublish(b *testing.B) {
	door, fridges := doorForBench(b, 1)
	t, err := dialTalker(door.Addr("mqtt").String(), fridges[0].ID, fridges[0].Class, fridges[0].Token)
	if err != nil {
		b.Fatal(err)
	}
	defer t.c.Close()
	side, err := net.Dial("tcp", door.Addr("mqtt").String()) // beside it, for nothing but acknowledgements
	if err != nil {
		b.Fatal(err)
	}
	defer side.Close()
	pk := connectPacket(string(t.id)+"/bench", string(t.id), fridges[0].Token)
	pk.ProtocolVersion = 4
	var login bytes.Buffer
	if err := pk.ConnectEncode(&login); err != nil {
		b.Fatal(err)
	}
	side.Write(login.Bytes())
	in := bufio.NewReader(side)
	if kind, body, err := readPacket(in); err != nil || kind>>4 != packets.Connack || body[1] != 0 {
		b.Fatalf("CONNACK %x %x, %v", kind, body, err)
	}
	const window = 16
	topic := wire.Topic(t.id, wire.UpCtx)
	frame := append([]byte{0xa2, 0x00, 0x1a, 0, 0, 0, 0, 0x03, 0xa1, 0x6b}, "temperature\x00"...) // {0: number, 3: {"temperature": a small number}}
	var out []byte
	answers := make([]byte, 4*window)
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		n++
		out = append(out, 0x32, byte(4+len(topic)+len(frame)), 0, byte(len(topic)))
		out = append(append(out, topic...), 0, byte(n%window+1))
		from := len(out)
		out = append(out, frame...)
		binary.BigEndian.PutUint32(out[from+3:], uint32(n))
		out[len(out)-1] = byte(2 + n%8)
		if n%window != 0 {
			continue
		}
		side.Write(out)
		out = out[:0]
		if _, err := io.ReadFull(in, answers); err != nil || answers[0] != 0x40 || answers[1] != 2 {
			b.Fatalf("%x, %v", answers, err)
		}
	}
}

// BenchmarkIdle is what a device costs that is connected, subscribed and silent: its home, its link, and its
// goroutine's stack.
func BenchmarkIdle(b *testing.B) {
	const devices = 1000
	door, fridges := doorForBench(b, devices)
	size := func() uint64 {
		runtime.GC()
		runtime.GC()
		debug.FreeOSMemory()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	before := size()
	for b.Loop() {
		var all []net.Conn
		for _, f := range fridges {
			c, err := net.Dial("tcp", door.Addr("mqtt").String())
			if err != nil {
				b.Fatal(err)
			}
			all = append(all, c)
			var out bytes.Buffer
			pk := connectPacket(string(f.ID), string(f.ID), f.Token)
			pk.ProtocolVersion = 4
			err = pk.ConnectEncode(&out)
			pk = packets.Packet{ProtocolVersion: 4, FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: 1, Filters: packets.Subscriptions{{Filter: wire.Topic(f.ID, "dn/#"), Qos: 1}}}
			if err == nil {
				err = pk.SubscribeEncode(&out)
			}
			if err == nil {
				_, err = c.Write(out.Bytes())
			}
			if err == nil {
				_, err = io.ReadFull(c, make([]byte, 4+5)) // CONNACK and SUBACK
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric((float64(size())-float64(before))/devices, "B/device") // with our own side of the connection
		for _, c := range all {
			c.Close()
		}
	}
}

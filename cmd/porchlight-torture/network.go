//go:build linux

package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"porchlight/device/wire"
)

// The types of MQTT packets that are used here.
const (
	connect    = 1
	connack    = 2
	publish    = 3
	puback     = 4
	subscribe  = 8
	suback     = 9
	pingreq    = 12
	disconnect = 14
)

// packet is one MQTT packet, as it travels.
type packet []byte

func (p packet) kind() byte { return p[0] >> 4 }

// body is what follows the fixed header.
func (p packet) body() []byte {
	i := 1
	for p[i]&0x80 != 0 {
		i++
	}
	return p[i+1:]
}

// qos1 reports whether p is a PUBLISH with QoS 1.
func (p packet) qos1() bool { return p.kind() == publish && p[0]&6 == 2 }

// again is p as MQTT sends it a second time.
func (p packet) again() packet {
	q := append(packet{}, p...)
	q[0] |= 8
	return q
}

// published takes a PUBLISH of MQTT 5 apart.
func (p packet) published() (topic string, id uint16, payload []byte, ok bool) {
	b := p.body()
	take := func(n int) (x []byte) {
		if ok = n <= len(b); ok {
			x, b = b[:n], b[n:]
		}
		return x
	}
	n := take(2)
	if !ok {
		return
	}
	t := take(int(binary.BigEndian.Uint16(n)))
	if !ok {
		return
	}
	topic = string(t)
	if p.qos1() {
		if n = take(2); !ok {
			return
		}
		id = binary.BigEndian.Uint16(n)
	}
	props, m := binary.Uvarint(b)
	if ok = m > 0 && m+int(props) <= len(b); ok {
		payload = b[m+int(props):]
	}
	return
}

// leaf is the leaf that p is published to; "" for any other packet.
func (p packet) leaf() wire.Leaf {
	if p.kind() != publish {
		return ""
	}
	topic, _, _, _ := p.published()
	_, leaf, _ := wire.ParseTopic(topic)
	return leaf
}

// pack makes a packet.
func pack(head byte, parts ...[]byte) packet {
	n := 0
	for _, part := range parts {
		n += len(part)
	}
	p := binary.AppendUvarint(append(make(packet, 0, n+5), head), uint64(n)) // MQTT counts as varints do
	for _, part := range parts {
		p = append(p, part...)
	}
	return p
}

func text(s string) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...) }

func number(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

// connectPacket logs in with MQTT 5.
func connectPacket(id, user, password string) packet {
	return pack(connect<<4, text("MQTT"), []byte{5, 0xc2, 0, 60, 0}, text(id), text(user), text(password))
}

func publishPacket(topic string, qos byte, id uint16, payload []byte) packet {
	if qos == 0 {
		return pack(publish<<4, text(topic), []byte{0}, payload)
	}
	return pack(publish<<4|2, text(topic), number(id), []byte{0}, payload)
}

var errPacket = errors.New("not an MQTT packet")

// readPacket reads the next one.
func readPacket(r *bufio.Reader) (packet, error) {
	head, err := r.ReadByte()
	if err != nil {
		return nil, err
	}
	p := packet{head}
	n, shift := 0, 0
	for {
		b, err := r.ReadByte()
		if err != nil {
			return nil, err
		}
		p = append(p, b)
		n |= int(b&0x7f) << shift
		if shift += 7; b&0x80 == 0 {
			break
		}
		if shift > 21 {
			return nil, errPacket
		}
	}
	at := len(p)
	p = append(p, make([]byte, n)...)
	_, err = io.ReadFull(r, p[at:])
	return p, err
}

// network is what lies between the devices and the gateway. It carries packets, and does to them what a weather
// says.
type network struct {
	l     net.Listener
	to    atomic.Pointer[string] // the gateway's address
	since func() moment
	note  func(release)

	// The weather: chances are of 1000 packets.
	delay     atomic.Int64 // ms that a packet takes at most
	duplicate atomic.Int64 // QoS 1, once more with DUP
	late      atomic.Int64 // an earlier event or choice of the same connection, once more with DUP
	reorder   atomic.Int64 // behind the next one, where the protocol promises no order between the two
	cut       atomic.Int64 // of 100000: the connection ends, in the middle of the packet or behind it
	down      atomic.Bool  // nobody gets through

	// What was done to packets.
	delayed, duplicated, repeated, reordered, cuts, slowed atomic.Int64

	mu    sync.Mutex
	open  map[*wireConn]struct{}
	rng   *rand.Rand
	wg    sync.WaitGroup
	ended bool
}

// wireConn is one connection through the network.
type wireConn struct {
	n            *network
	device, gate net.Conn
	pause        atomic.Int64 // until when nothing is read from the gateway, a moment
	once         sync.Once
	done         chan struct{}
	random       *rand.Rand // of the packets to the gateway
	randomDown   *rand.Rand // of the packets to the device
	ring         [16]packet // events and choices that went by
	rung         int
}

// newNetwork listens at an address of its own.
func newNetwork(seed uint64, since func() moment, note func(release)) (*network, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	n := &network{l: l, since: since, note: note, open: map[*wireConn]struct{}{}, rng: rand.New(rand.NewPCG(seed, 77))}
	n.wg.Go(n.accept)
	return n, nil
}

func (n *network) addr() string { return n.l.Addr().String() }

// close ends all.
func (n *network) close() {
	n.l.Close()
	n.mu.Lock()
	n.ended = true
	n.mu.Unlock()
	n.cutAll(1)
	n.wg.Wait()
}

func (n *network) accept() {
	for {
		c, err := n.l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(10 * time.Millisecond)
			continue
		}
		n.wg.Go(func() { n.carry(c) })
	}
}

// carry is one connection.
func (n *network) carry(c net.Conn) {
	to := n.to.Load()
	if to == nil || n.down.Load() {
		c.Close()
		return
	}
	g, err := net.DialTimeout("tcp", *to, 2*time.Second)
	if err != nil {
		c.Close()
		return
	}
	n.mu.Lock()
	w := &wireConn{n: n, device: c, gate: g, done: make(chan struct{}), random: rand.New(rand.NewPCG(n.rng.Uint64(), 1)), randomDown: rand.New(rand.NewPCG(n.rng.Uint64(), 2))}
	if n.ended {
		n.mu.Unlock()
		w.end()
		return
	}
	n.open[w] = struct{}{}
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		delete(n.open, w)
		n.mu.Unlock()
	}()
	var wg sync.WaitGroup
	wg.Go(func() { w.pump(c, g, w.random, true) })
	wg.Go(func() { w.pump(g, c, w.randomDown, false) })
	wg.Wait()
}

// end cuts both sides.
func (w *wireConn) end() {
	w.once.Do(func() {
		close(w.done)
		w.device.Close()
		w.gate.Close()
	})
}

// reset cuts both sides as a broken cable does: what is on its way is lost.
func (w *wireConn) reset() {
	for _, c := range []net.Conn{w.device, w.gate} {
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0)
		}
	}
	w.end()
}

// cutAll cuts a share of the connections, and returns how many.
func (n *network) cutAll(share float64) (cut int) {
	n.mu.Lock()
	var all []*wireConn
	for w := range n.open {
		if n.rng.Float64() < share {
			all = append(all, w)
		}
	}
	n.mu.Unlock()
	for _, w := range all {
		w.reset()
	}
	n.cuts.Add(int64(len(all)))
	return len(all)
}

// slow has a share of the devices stop reading for a while.
func (n *network) slow(share float64, until moment) (slowed int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for w := range n.open {
		if n.rng.Float64() < share {
			w.pause.Store(int64(until))
			slowed++
		}
	}
	n.slowed.Add(int64(slowed))
	return slowed
}

// due is a packet that leaves at a time.
type due struct {
	packet
	at time.Time
}

// pump carries packets in one direction.
func (w *wireConn) pump(from, to net.Conn, rng *rand.Rand, up bool) {
	defer w.end()
	queue := make(chan due, 512)
	var wg sync.WaitGroup
	own := rand.New(rand.NewPCG(rng.Uint64(), 3))
	wg.Go(func() { w.write(queue, to, own, up) })
	defer wg.Wait()
	defer close(queue)
	r := bufio.NewReaderSize(from, 4096)
	var last time.Time
	for {
		late := false
		if !up {
			for p := moment(w.pause.Load()); p > w.n.since(); p = moment(w.pause.Load()) {
				select {
				case <-time.After(min(p-w.n.since(), 50*time.Millisecond)):
				case <-w.done:
					return
				}
			}
			late = w.pause.Load() != 0 && w.n.since() < moment(w.pause.Load())+2*time.Second
		}
		p, err := readPacket(r)
		if err != nil {
			return
		}
		now := time.Now()
		if !up && p.leaf() == wire.DnMsg {
			w.released(p, late)
		}
		if most := w.n.delay.Load(); most > 0 {
			now = now.Add(time.Duration(rng.Int64N(most*int64(time.Millisecond)) + 1))
			w.n.delayed.Add(1)
		}
		if now.Before(last) {
			now = last
		}
		last = now
		select {
		case queue <- due{p, now}:
		case <-w.done:
			return
		}
	}
}

// released tells that a message has left the gateway.
func (w *wireConn) released(p packet, late bool) {
	topic, _, payload, ok := p.published()
	id, _, yes := wire.ParseTopic(topic)
	if !ok || !yes {
		return
	}
	if m, _, err := wire.DecodeMsg(payload); err == nil && m != nil {
		w.n.note(release{Device: id, Message: m.Message, Epoch: m.Epoch, At: w.n.since(), Late: late})
	}
}

func of1000(rng *rand.Rand, n int64) bool { return n > 0 && rng.Int64N(1000) < n }

// write writes what is due, and plays the weather.
func (w *wireConn) write(queue <-chan due, to net.Conn, rng *rand.Rand, up bool) {
	defer w.end()
	n := w.n
	var kept packet // to go behind the next
	var out []byte
	for {
		var p due
		var ok bool
		if kept != nil {
			select {
			case p, ok = <-queue:
			case <-time.After(30 * time.Millisecond):
				out = append(out, kept...)
				kept = nil
				if _, err := to.Write(out); err != nil {
					return
				}
				out = out[:0]
				continue
			}
		} else {
			p, ok = <-queue
		}
		if !ok {
			if kept != nil {
				_, _ = to.Write(kept)
			}
			return
		}
		if wait := time.Until(p.at); wait > 0 {
			if len(out) > 0 {
				if _, err := to.Write(out); err != nil {
					return
				}
				out = out[:0]
			}
			select {
			case <-time.After(wait):
			case <-w.done:
				return
			}
		}
		if cut := n.cut.Load(); cut > 0 && rng.Int64N(100000) < cut {
			n.cuts.Add(1)
			_, _ = to.Write(p.packet[:rng.IntN(len(p.packet)+1)])
			if rng.IntN(2) == 0 {
				w.reset()
			}
			return
		}
		switch {
		case kept != nil && swappable(kept, p.packet, up):
			out = append(append(out, p.packet...), kept...)
			kept = nil
			n.reordered.Add(1)
		case kept != nil:
			out = append(append(out, kept...), p.packet...)
			kept = nil
		case of1000(rng, n.reorder.Load()) && movable(p.packet, up):
			kept = p.packet
		default:
			out = append(out, p.packet...)
		}
		if p.packet.qos1() && of1000(rng, n.duplicate.Load()) && kept == nil {
			out = append(out, p.packet.again()...)
			n.duplicated.Add(1)
		}
		if up {
			if l := p.packet.leaf(); l == wire.UpEvt || l == wire.UpTwin {
				w.ring[w.rung%len(w.ring)] = p.packet
				w.rung++
			}
			if of1000(rng, n.late.Load()) && w.rung > 0 && kept == nil {
				out = append(out, w.ring[rng.IntN(min(w.rung, len(w.ring)))].again()...)
				n.repeated.Add(1)
			}
		}
		if len(queue) > 0 && len(out) < 16<<10 {
			continue
		}
		if len(out) > 0 {
			if _, err := to.Write(out); err != nil {
				return
			}
			out = out[:0]
		}
	}
}

// movable reports whether p may come behind the next packet.
func movable(p packet, up bool) bool {
	switch l := p.leaf(); {
	case up:
		return p.kind() == puback || l == wire.UpEvt || l == wire.UpTwin
	default:
		return l == wire.DnTime || l == wire.DnMsg || l == wire.DnTwin
	}
}

// swappable reports whether two packets that follow each other may change places: MQTT promises an order only
// between those of one topic, and the order of acknowledgements. A context stays where it is, because a device
// counts its frames.
func swappable(a, b packet, up bool) bool {
	if !movable(b, up) || a.kind() == puback && b.kind() == puback {
		return false
	}
	return a.leaf() != b.leaf()
}

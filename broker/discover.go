package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// DiscoveryOptions say what is announced, and where.
type DiscoveryOptions struct {
	// Listener is where devices connect with TLS: Door.Addr("mqtts"). Only addresses at which
	// it can be reached are announced. Nil, or loopback: nothing is, and the log says why.
	Listener net.Addr

	// ID tells this gateway from the others on its network: 8 of a-z and 0-9, drawn at random
	// once for each gateway. Everybody on the network can read it.
	ID string

	// Interfaces are the names of the interfaces on which to announce, whatever addresses they
	// have; all these are announced. One that is not there is waited for. None: every interface
	// that is a network of the home's (see Discovery), and only its private addresses.
	Interfaces []string
}

// Discovery lets devices find the gateway: it announces MQTT over TLS by DNS-SD (RFC 6763) over
// multicast DNS (RFC 6762), as service _porchlight._tcp.
//
// In: what is asked on the home's networks, as untrusted bytes. Out: an instance name and a host
// name made of the ID, the port, the version of the contract and private addresses. Never: the
// machine's own name, a home, a person; a packet on an interface that was not chosen.
//
// Unless interfaces are named, those are chosen that have a private address (RFC 1918, 169.254/16,
// or unique local of IPv6) and no public one of IPv4. A global address of IPv6 beside it is usual
// at home and does no harm, but is not announced. fe80::/10 alone is too little: an interface has
// that before it knows where it is. Loopback and links with one other end, such as a VPN, are
// left out. The choice is made again every few seconds, so an interface that becomes public is
// silent after that time.
type Discovery struct {
	o      DiscoveryOptions
	listen netip.AddrPort
	log    *slog.Logger
	every  time.Duration // between two looks at the interfaces, on average

	own atomic.Pointer[map[netip.Addr]bool] // all addresses of this machine
}

var discoveryID = regexp.MustCompile(`^[a-z0-9]{8}$`)

// Discover checks o. Nothing is sent before Run.
func Discover(o DiscoveryOptions, log *slog.Logger) (*Discovery, error) {
	if !discoveryID.MatchString(o.ID) {
		return nil, fmt.Errorf("discovery: ID %q is not 8 of a-z and 0-9", o.ID)
	}
	if slices.Contains(o.Interfaces, "") {
		return nil, errors.New("discovery: an interface has no name")
	}
	d := &Discovery{o: o, log: log, every: 5 * time.Second}
	switch a := o.Listener.(type) {
	case nil:
	case *net.TCPAddr:
		p := a.AddrPort()
		d.listen = netip.AddrPortFrom(p.Addr().Unmap().WithZone(""), p.Port())
	default:
		return nil, fmt.Errorf("discovery: %s is not an address of TCP", a)
	}
	return d, nil
}

// Run announces the gateway until ctx is done, and then says goodbye. A network that is not
// there, or goes, is waited for; no network ends the gateway, so Run returns nil.
func (d *Discovery) Run(ctx context.Context) error {
	switch {
	case !d.listen.IsValid():
		d.log.Info("the gateway is not announced: it has no listener for MQTT over TLS", "setting", "mqtt.tls")
		<-ctx.Done()
		return nil
	case d.listen.Addr().IsLoopback() && len(d.o.Interfaces) == 0:
		d.log.Info("the gateway is not announced: MQTT over TLS listens on loopback only", "setting", "mqtt.tls")
		<-ctx.Done()
		return nil
	}
	voices := map[spot]*voice{}
	troubles := map[spot]trouble{}
	left := "-"
	for {
		chosen, out := d.look()
		for at, v := range voices {
			select {
			case <-v.over:
				delete(voices, at)
				troubles[at] = d.note(v, troubles[at])
			default:
				if s, ok := chosen[at]; !ok || !s.equal(v.segment) {
					v.end <- false // the interface is gone, no longer ours, or about to be announced anew
					<-v.over
					delete(voices, at)
				}
			}
		}
		last := left
		switch left = leftOut(out); {
		case len(chosen) > 0 && (left == "" || len(d.o.Interfaces) == 0):
			left = "-" // as it should be
		case left == last:
		case len(chosen) == 0:
			d.log.Info("the gateway is not announced on any network now", "left_out", left)
		default:
			d.log.Info("the gateway is not announced on every interface that was named", "left_out", left)
		}
		for at, s := range chosen {
			if voices[at] == nil {
				v := &voice{segment: s, six: at.six, notice: newNotice(d.o.ID, d.listen.Port(), s.tell), own: d.isOwn, log: d.log,
					end: make(chan bool, 1), over: make(chan struct{})}
				voices[at] = v
				go v.run()
			}
		}
		select {
		case <-ctx.Done():
			chosen, _ = d.look()
			for at, v := range voices {
				_, ours := chosen[at]
				v.end <- ours
			}
			for _, v := range voices {
				<-v.over
			}
			return nil
		case <-time.After(d.every/2 + rand.N(d.every)): // not in step with another gateway's
		}
	}
}

// trouble is what keeps a voice from speaking.
type trouble struct {
	text  string
	times int // in a row
}

// note logs, once, why v has ended. The first time of most errors is passed over: an address of
// IPv6 cannot be used in its first second or two.
func (d *Discovery) note(v *voice, last trouble) trouble {
	now := trouble{v.err.Error(), 1}
	if last.text == now.text && !v.told {
		now.times = last.times + 1
	}
	switch {
	case errors.Is(v.err, errTaken) && now.times == 1:
		d.log.Warn("another gateway on this network has the same ID; this one is not announced while the other is. Was the data folder copied?", "interface", v.name, "ip", v.version(), "id", d.o.ID)
	case !errors.Is(v.err, errTaken) && now.times == 2:
		d.log.Warn("cannot announce the gateway, trying again", "interface", v.name, "ip", v.version(), "err", v.err)
	}
	return now
}

func (d *Discovery) isOwn(a netip.Addr) bool { return (*d.own.Load())[a] }

// look reads the interfaces of this machine and chooses.
func (d *Discovery) look() (chosen map[spot]segment, out map[string]string) {
	all, err := nics()
	if err != nil {
		return nil, map[string]string{"all": err.Error()}
	}
	own := map[netip.Addr]bool{}
	for _, n := range all {
		for _, p := range n.nets {
			own[p.Addr()] = true
		}
	}
	d.own.Store(&own)
	segments, out := choose(all, d.o.Interfaces, d.listen.Addr())
	chosen = map[spot]segment{}
	for _, s := range segments {
		for _, p := range s.nets {
			chosen[spot{s.name, p.Addr().Is6()}] = s
		}
	}
	return chosen, out
}

func leftOut(out map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(out)) {
		all = append(all, name+": "+out[name])
	}
	return strings.Join(all, "; ")
}

// nic is an interface of this machine.
type nic struct {
	name  string
	index int
	flags net.Flags
	nets  []netip.Prefix // its addresses, with the length of their prefixes
}

func nics() ([]nic, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var all []nic
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		if err != nil {
			continue // it has just gone
		}
		n := nic{name: i.Name, index: i.Index, flags: i.Flags}
		for _, a := range addrs {
			if ipn, ok := a.(*net.IPNet); ok {
				ip, _ := netip.AddrFromSlice(ipn.IP)
				bits, _ := ipn.Mask.Size()
				n.nets = append(n.nets, netip.PrefixFrom(ip.Unmap(), bits))
			}
		}
		all = append(all, n)
	}
	return all, nil
}

// segment is an interface on which the gateway is announced.
type segment struct {
	nic
	tell []netip.Prefix // the addresses that are announced there, IPv4 first; 1 to mostAddresses
}

const (
	mostAddresses = 8  // so that everything fits into one packet
	mostQuestions = 16 // in one packet, about us
)

func (s segment) equal(t segment) bool { return s.index == t.index && slices.Equal(s.tell, t.tell) }

// spot is a segment in one version of IP. Each has a socket of its own.
type spot struct {
	name string
	six  bool
}

// choose judges on which interfaces the gateway is announced, with which addresses, and says of
// the others why not. named are the operator's, listen is where the listener is bound.
func choose(all []nic, named []string, listen netip.Addr) (segments []segment, out map[string]string) {
	out = map[string]string{}
	for _, name := range named {
		out[name] = "is not there"
	}
	for _, n := range all {
		asked := slices.Contains(named, n.name)
		if len(named) > 0 && !asked {
			continue
		}
		delete(out, n.name)
		tell, why := judge(n, asked, listen)
		if why != "" {
			out[n.name] = why
			continue
		}
		segments = append(segments, segment{n, tell})
	}
	return segments, out
}

func judge(n nic, asked bool, listen netip.Addr) (tell []netip.Prefix, why string) {
	switch {
	case n.flags&net.FlagUp == 0 || n.flags&net.FlagRunning == 0:
		return nil, "is down"
	case asked:
	case n.flags&net.FlagLoopback != 0:
		return nil, "is loopback"
	case n.flags&net.FlagPointToPoint != 0:
		return nil, "has one other end, as a VPN has"
	case n.flags&net.FlagMulticast == 0:
		return nil, "has no multicast"
	}
	home := asked
	for _, p := range n.nets {
		a := p.Addr()
		private := a.IsPrivate() || a.IsLinkLocalUnicast()
		if a.Is4() && !private && !asked {
			return nil, "has a public address"
		}
		home = home || a.IsPrivate() || a.Is4()
		if (private || asked) && reachable(a, listen) {
			tell = append(tell, p)
		}
	}
	if !home {
		return nil, "has no private address"
	}
	if len(tell) == 0 {
		return nil, "the gateway does not listen there"
	}
	wide := func(p netip.Prefix) bool { return !p.Addr().IsLinkLocalUnicast() }
	if slices.ContainsFunc(tell, wide) { // link-local is only better than nothing
		tell = slices.DeleteFunc(tell, func(p netip.Prefix) bool { return !wide(p) })
	}
	slices.SortFunc(tell, func(p, q netip.Prefix) int { return p.Addr().Compare(q.Addr()) })
	return tell[:min(len(tell), mostAddresses)], ""
}

// reachable reports whether a listener that is bound to listen takes connections to a.
func reachable(a, listen netip.Addr) bool {
	if listen.IsUnspecified() {
		return a.Is4() || listen.Is6() // :: takes both
	}
	return a == listen
}

// The names and lives of what is announced. The lives are those that RFC 6762 recommends.
const (
	serviceName  = "_porchlight._tcp.local."
	servicesName = "_services._dns-sd._udp.local."
	lifeOfName   = 75 * 60 // s, of records that do not depend on an address
	lifeOfHost   = 120     // s
	lifeOneShot  = 10      // s, at most, for those who do not keep to multicast DNS
	flush        = 1 << 15 // in a class: these records of this name are all there are
)

// mask is a set of a notice's records.
type mask uint32

// notice is what is announced on one segment.
type notice struct {
	records []dnsmessage.Resource
	all     mask
}

// The first records of every notice; the addresses follow.
const (
	recServices = iota
	recService
	recServer
	recText
	recAddresses
)

func newNotice(id string, port uint16, tell []netip.Prefix) notice {
	instance := dnsmessage.MustNewName("Porchlight " + id + "." + serviceName)
	host := dnsmessage.MustNewName("porchlight-" + id + ".local.")
	service := dnsmessage.MustNewName(serviceName)
	var n notice
	add := func(name dnsmessage.Name, t dnsmessage.Type, class dnsmessage.Class, life uint32, body dnsmessage.ResourceBody) {
		n.all |= 1 << len(n.records)
		n.records = append(n.records, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: name, Type: t, Class: class, TTL: life}, Body: body})
	}
	shared, unique := dnsmessage.ClassINET, dnsmessage.ClassINET|flush
	add(dnsmessage.MustNewName(servicesName), dnsmessage.TypePTR, shared, lifeOfName, &dnsmessage.PTRResource{PTR: service})
	add(service, dnsmessage.TypePTR, shared, lifeOfName, &dnsmessage.PTRResource{PTR: instance})
	add(instance, dnsmessage.TypeSRV, unique, lifeOfHost, &dnsmessage.SRVResource{Port: port, Target: host})
	add(instance, dnsmessage.TypeTXT, unique, lifeOfName, &dnsmessage.TXTResource{TXT: []string{"v=1", "hh=" + id}})
	for _, p := range tell {
		if a := p.Addr(); a.Is4() {
			add(host, dnsmessage.TypeA, unique, lifeOfHost, &dnsmessage.AResource{A: a.As4()})
		} else {
			add(host, dnsmessage.TypeAAAA, unique, lifeOfHost, &dnsmessage.AAAAResource{AAAA: a.As16()})
		}
	}
	return n
}

// pick returns copies of the records of m, each as edit leaves it.
func (n notice) pick(m mask, edit func(*dnsmessage.ResourceHeader)) (rs []dnsmessage.Resource) {
	for i, r := range n.records {
		if m&(1<<i) != 0 {
			edit(&r.Header)
			rs = append(rs, r)
		}
	}
	return rs
}

func asItIs(*dnsmessage.ResourceHeader) {}

// probe asks whether somebody else has our names already.
func (n notice) probe() dnsmessage.Message {
	m := dnsmessage.Message{}
	for _, i := range []int{recServer, recAddresses} {
		m.Questions = append(m.Questions, dnsmessage.Question{Name: n.records[i].Header.Name, Type: dnsmessage.TypeALL, Class: dnsmessage.ClassINET})
	}
	m.Authorities = n.pick(n.all&^(1<<recServices|1<<recService), func(h *dnsmessage.ResourceHeader) { h.Class &^= flush })
	return m
}

// answer tells m, and more besides.
func (n notice) answer(m, more mask) dnsmessage.Message {
	return dnsmessage.Message{
		Header:  dnsmessage.Header{Response: true, Authoritative: true},
		Answers: n.pick(m, asItIs), Additionals: n.pick(more&^m, asItIs),
	}
}

// goodbye takes everything back that is this gateway's alone.
func (n notice) goodbye() dnsmessage.Message {
	return dnsmessage.Message{
		Header:  dnsmessage.Header{Response: true, Authoritative: true},
		Answers: n.pick(n.all&^(1<<recServices), func(h *dnsmessage.ResourceHeader) { h.TTL = 0 }),
	}
}

// oneShot is the answer to a client that asked like a plain resolver and is told alone.
func (n notice) oneShot(h heard) dnsmessage.Message {
	edit := func(r *dnsmessage.ResourceHeader) {
		r.Class &^= flush
		r.TTL = min(r.TTL, lifeOneShot)
	}
	return dnsmessage.Message{
		Header:    dnsmessage.Header{ID: h.id, Response: true, Authoritative: true},
		Questions: h.questions,
		Answers:   n.pick(h.wanted, edit), Additionals: n.pick(h.more&^h.wanted, edit),
	}
}

// heard is what a packet says to the owner of a notice. The zero value is nothing.
type heard struct {
	wanted    mask // records asked for that the asker does not say it knows
	more      mask // records that spare it the next question
	id        uint16
	questions []dnsmessage.Question // those that we can answer
	probe     bool                  // somebody is about to take a name: answer at once
	taken     bool                  // somebody has one of our names, or in a probe wants it
}

// hear reads a packet. What cannot be read is passed over, as names with a dot inside are, which
// other services have. own reports whether an address is this machine's: what another of our
// own voices says is no theft of our name.
func (n notice) hear(b []byte, own func(netip.Addr) bool) (h heard) {
	var p dnsmessage.Parser
	head, err := p.Start(b)
	if err != nil || head.OpCode != 0 || head.RCode != 0 {
		return heard{}
	}
	h.id = head.ID
	for {
		q, err := p.Question()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			break
		} else if err != nil {
			if p.SkipQuestion() != nil {
				return heard{}
			}
			continue
		}
		if m := n.match(q); m != 0 && !head.Response && len(h.questions) < mostQuestions {
			h.wanted |= m
			h.questions = append(h.questions, q)
		}
	}
	if h.wanted&(1<<recService) != 0 {
		h.more |= n.all &^ (1<<recServices | 1<<recService)
	}
	if h.wanted&(1<<recServer) != 0 {
		h.more |= n.all &^ (1<<recAddresses - 1)
	}
	// Answers: of a question, those that the asker knows; of a response, what is so.
	broken := n.read(p.AnswerHeader, p.SkipAnswer, &p, func(r dnsmessage.Resource) {
		if head.Response {
			h.taken = h.taken || n.rival(r, own)
			return
		}
		for i, ours := range n.records {
			if same(r, ours) && r.Header.TTL >= ours.Header.TTL/2 {
				h.wanted &^= 1 << i
				h.more &^= 1 << i
			}
		}
	})
	if broken {
		return h
	}
	broken = n.read(p.AuthorityHeader, p.SkipAuthority, &p, func(r dnsmessage.Resource) {
		h.probe = !head.Response
		h.taken = h.taken || h.probe && n.rival(r, own)
	})
	if !broken && head.Response {
		n.read(p.AdditionalHeader, p.SkipAdditional, &p, func(r dnsmessage.Resource) { h.taken = h.taken || n.rival(r, own) })
	}
	return h
}

// match returns the records that q asks for.
func (n notice) match(q dnsmessage.Question) (m mask) {
	if class := q.Class &^ flush; class != dnsmessage.ClassINET && class != dnsmessage.ClassANY {
		return 0
	}
	for i, r := range n.records {
		if (q.Type == r.Header.Type || q.Type == dnsmessage.TypeALL) && sameName(q.Name, r.Header.Name) {
			m |= 1 << i
		}
	}
	return m
}

// read calls do with the records of one section that have a name of ours, and reports whether
// the packet ended too early.
func (n notice) read(header func() (dnsmessage.ResourceHeader, error), skip func() error, p *dnsmessage.Parser, do func(dnsmessage.Resource)) (broken bool) {
	for {
		h, err := header()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return false
		}
		var body dnsmessage.ResourceBody
		if err == nil && slices.ContainsFunc(n.records, func(r dnsmessage.Resource) bool { return sameName(r.Header.Name, h.Name) }) {
			body = readBody(p, h.Type)
		}
		if body != nil {
			do(dnsmessage.Resource{Header: h, Body: body})
		} else if skip() != nil {
			return true
		}
	}
}

// readBody reads the body of the record whose header was read last. It returns nil, with nothing
// read, if it is of no type of ours or makes no sense.
func readBody(p *dnsmessage.Parser, t dnsmessage.Type) dnsmessage.ResourceBody {
	switch t {
	case dnsmessage.TypePTR:
		if r, err := p.PTRResource(); err == nil {
			return &r
		}
	case dnsmessage.TypeSRV:
		if r, err := p.SRVResource(); err == nil {
			return &r
		}
	case dnsmessage.TypeTXT:
		if r, err := p.TXTResource(); err == nil {
			return &r
		}
	case dnsmessage.TypeA:
		if r, err := p.AResource(); err == nil {
			return &r
		}
	case dnsmessage.TypeAAAA:
		if r, err := p.AAAAResource(); err == nil {
			return &r
		}
	}
	return nil
}

func sameName(a, b dnsmessage.Name) bool {
	return a.Length == b.Length && bytes.EqualFold(a.Data[:a.Length], b.Data[:b.Length])
}

// same reports whether a and b say the same, for however long.
func same(a, b dnsmessage.Resource) bool {
	if a.Header.Type != b.Header.Type || !sameName(a.Header.Name, b.Header.Name) {
		return false
	}
	switch x := a.Body.(type) {
	case *dnsmessage.PTRResource:
		y, ok := b.Body.(*dnsmessage.PTRResource)
		return ok && sameName(x.PTR, y.PTR)
	case *dnsmessage.SRVResource:
		y, ok := b.Body.(*dnsmessage.SRVResource)
		return ok && x.Priority == y.Priority && x.Weight == y.Weight && x.Port == y.Port && sameName(x.Target, y.Target)
	case *dnsmessage.TXTResource:
		y, ok := b.Body.(*dnsmessage.TXTResource)
		return ok && slices.Equal(x.TXT, y.TXT)
	case *dnsmessage.AResource:
		y, ok := b.Body.(*dnsmessage.AResource)
		return ok && *x == *y
	case *dnsmessage.AAAAResource:
		y, ok := b.Body.(*dnsmessage.AAAAResource)
		return ok && *x == *y
	}
	return false
}

// rival reports whether r, which has a name of ours, is another gateway's.
func (n notice) rival(r dnsmessage.Resource, own func(netip.Addr) bool) bool {
	if r.Header.TTL == 0 {
		return false // somebody leaves
	}
	switch x := r.Body.(type) {
	case *dnsmessage.AResource:
		return sameName(r.Header.Name, n.records[recAddresses].Header.Name) && !own(netip.AddrFrom4(x.A))
	case *dnsmessage.AAAAResource:
		return sameName(r.Header.Name, n.records[recAddresses].Header.Name) && !own(netip.AddrFrom16(x.AAAA))
	case *dnsmessage.SRVResource, *dnsmessage.TXTResource:
		return sameName(r.Header.Name, n.records[recServer].Header.Name) && !same(r, n.records[recServer]) && !same(r, n.records[recText])
	}
	return false
}

var errTaken = errors.New("another gateway has this one's name")

// The times of RFC 6762.
const (
	probes        = 3
	announcements = 2
	betweenProbes = 250 * time.Millisecond
	betweenSame   = time.Second // multicasts of one record
	oneShots      = 10          // answers to one address in a second
)

// voice announces and answers on one spot.
type voice struct {
	segment
	six    bool
	notice notice
	own    func(netip.Addr) bool
	log    *slog.Logger

	end  chan bool     // takes one value: whether to say goodbye
	over chan struct{} // closed when the voice has ended
	err  error         // why it ended by itself; after over
	told bool          // it got as far as announcing; after over

	ear *ear
}

func (v *voice) version() int {
	if v.six {
		return 6
	}
	return 4
}

func (v *voice) run() {
	defer close(v.over)
	if v.ear, v.err = listenOn(v.nic, v.six); v.err != nil {
		return
	}
	packets, broken, done := make(chan datagram), make(chan error, 1), make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b := make([]byte, mostPacket)
		for {
			n, from, err := v.ear.read(b)
			if err != nil {
				broken <- err
				return
			}
			select {
			case packets <- datagram{bytes.Clone(b[:n]), from}:
			case <-done:
				return
			}
		}
	}()
	v.err = v.speak(packets, broken)
	close(done)
	v.ear.Close()
	<-ended
}

// datagram is what came in.
type datagram struct {
	b    []byte
	from netip.AddrPort
}

// speak probes, announces and answers until it is told to end, or something fails.
func (v *voice) speak(packets <-chan datagram, broken <-chan error) error {
	step := -probes // below 0: probes to come, 0: nobody objects, above: announcements made
	next := time.After(rand.N(betweenProbes))
	var due, more mask // to be told when it is time for it
	var later <-chan time.Time
	said := make(history, len(v.notice.records))
	var second time.Time // in which the last one-shot was answered
	var shots int
	var defended time.Time // when a probe was answered
	for {
		select {
		case bye := <-v.end:
			if bye && step > 0 {
				return v.say(v.notice.goodbye())
			}
			return nil

		case err := <-broken:
			return err

		case <-next:
			wait := betweenProbes
			if step < 0 {
				if err := v.say(v.notice.probe()); err != nil {
					return err
				}
			} else {
				if err := v.say(v.notice.answer(v.notice.all, 0)); err != nil {
					return err
				}
				said.add(time.Now(), v.notice.all)
				if !v.told {
					v.told = true
					v.log.Info("the gateway is announced", "interface", v.name, "ip", v.version())
				}
				wait = betweenSame
			}
			if step++; step < announcements {
				next = time.After(wait)
			} else {
				next = nil
			}

		case p := <-packets:
			h := v.notice.hear(p.b, v.own)
			switch {
			case h.taken && p.from.Port() == mdnsPort && (step <= 0 || !h.probe): // a probe is answered by who has the name
				return errTaken
			case step <= 0 || h.wanted == 0: // the names are not ours yet, or it is not about us

			case p.from.Port() != mdnsPort: // a client that does not speak multicast DNS in full
				if now := time.Now(); now.Sub(second) > time.Second {
					second, shots = now, 0
				}
				if shots++; shots <= oneShots && v.near(p.from.Addr()) {
					v.sayTo(v.notice.oneShot(h), p.from) // it asks again, or has gone
				}
			case h.probe: // no time to lose, and no question of having been told
				if time.Since(defended) < betweenProbes {
					break
				}
				defended = time.Now()
				if err := v.say(v.notice.answer(h.wanted, h.more)); err != nil {
					return err
				}
			default:
				due, more = due|h.wanted, more|h.more
				if later == nil { // others may ask the same now, or answer at the same time
					later = time.After(20*time.Millisecond + rand.N(100*time.Millisecond))
				}
			}

		case now := <-later:
			if due, more = said.before(now, due), said.before(now, more); due != 0 {
				if err := v.say(v.notice.answer(due, more)); err != nil {
					return err
				}
				said.add(now, due|more)
			}
			due, more, later = 0, 0, nil
		}
	}
}

// history is when each record was last told everybody.
type history []time.Time

func (h history) add(now time.Time, m mask) {
	for i := range h {
		if m&(1<<i) != 0 {
			h[i] = now
		}
	}
}

// before returns those of m that were last told so long ago that they may be told again.
func (h history) before(now time.Time, m mask) mask {
	for i := range h {
		if now.Sub(h[i]) < betweenSame {
			m &^= 1 << i
		}
	}
	return m
}

// near reports whether a is on the segment, so that nobody beyond it is ever sent anything.
func (v *voice) near(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return a.IsLinkLocalUnicast() || slices.ContainsFunc(v.tell, func(p netip.Prefix) bool { return p.Contains(a) })
}

// say tells everybody on the segment.
func (v *voice) say(m dnsmessage.Message) error {
	to := group(v.six)
	if v.six {
		to = to.WithZone(v.name)
	}
	return v.sayTo(m, netip.AddrPortFrom(to, mdnsPort))
}

func (v *voice) sayTo(m dnsmessage.Message, to netip.AddrPort) error {
	b, err := m.Pack()
	if err != nil {
		return err
	}
	return v.ear.write(b, net.UDPAddrFromAddrPort(to))
}

const (
	mdnsPort   = 5353
	mostPacket = 9000 // bytes, of multicast DNS
)

func group(six bool) netip.Addr {
	if six {
		return netip.AddrFrom16([16]byte{0xff, 0x02, 15: 0xfb})
	}
	return netip.AddrFrom4([4]byte{224, 0, 0, 251})
}

// ear is a socket that hears what is said to everybody on one interface, and speaks there alone.
type ear struct {
	net.PacketConn
	index int
	four  *ipv4.PacketConn
	six   *ipv6.PacketConn
}

// listenOn opens an ear. It is bound to the group's own address, which package net cannot do: a
// socket that is bound to every address would also take packets away that are meant for another
// program on this machine that speaks multicast DNS.
func listenOn(n nic, six bool) (_ *ear, err error) {
	var at syscall.Sockaddr = &syscall.SockaddrInet4{Port: mdnsPort, Addr: group(false).As4()}
	family := syscall.AF_INET
	if six {
		at, family = &syscall.SockaddrInet6{Port: mdnsPort, ZoneId: uint32(n.index), Addr: group(true).As16()}, syscall.AF_INET6
	}
	syscall.ForkLock.RLock()
	fd, err := syscall.Socket(family, syscall.SOCK_DGRAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "multicast DNS")
	defer f.Close() // FilePacketConn takes a copy
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return nil, os.NewSyscallError("setsockopt", err)
	}
	if err := syscall.Bind(fd, at); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	c, err := net.FilePacketConn(f)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	e := &ear{PacketConn: c, index: n.index}
	to := &net.UDPAddr{IP: group(six).AsSlice()}
	if six {
		e.six = ipv6.NewPacketConn(c)
		return e, errors.Join(e.six.JoinGroup(&net.Interface{Index: n.index}, to), e.six.SetControlMessage(ipv6.FlagInterface, true),
			e.six.SetMulticastHopLimit(255), e.six.SetHopLimit(255), e.six.SetMulticastLoopback(true))
	}
	e.four = ipv4.NewPacketConn(c)
	return e, errors.Join(e.four.JoinGroup(&net.Interface{Index: n.index}, to), e.four.SetControlMessage(ipv4.FlagInterface, true),
		e.four.SetMulticastTTL(255), e.four.SetTTL(255), e.four.SetMulticastLoopback(true))
}

// read waits for the next packet that came by this interface. Others come too: the groups that
// any program here has joined on another.
func (e *ear) read(b []byte) (n int, from netip.AddrPort, err error) {
	for {
		var index int
		var addr net.Addr
		if e.six != nil {
			var cm *ipv6.ControlMessage
			if n, cm, addr, err = e.six.ReadFrom(b); cm != nil {
				index = cm.IfIndex
			}
		} else {
			var cm *ipv4.ControlMessage
			if n, cm, addr, err = e.four.ReadFrom(b); cm != nil {
				index = cm.IfIndex
			}
		}
		if err != nil {
			return 0, netip.AddrPort{}, err
		}
		if udp, ok := addr.(*net.UDPAddr); ok && index == e.index {
			return n, udp.AddrPort(), nil
		}
	}
}

// write sends b by this interface, whatever the routes say.
func (e *ear) write(b []byte, to net.Addr) (err error) {
	if e.six != nil {
		_, err = e.six.WriteTo(b, &ipv6.ControlMessage{IfIndex: e.index}, to)
	} else {
		_, err = e.four.WriteTo(b, &ipv4.ControlMessage{IfIndex: e.index}, to)
	}
	return err
}

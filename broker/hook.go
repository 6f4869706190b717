package broker

import (
	"errors"
	"strings"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/wire"
)

const (
	aliasMaximum = 8 // topic aliases that a peer may set

	keepAliveLeast = 5   // seconds
	keepAliveMost  = 120 // seconds; also what 0 becomes
)

// peer is who is behind a connection, once it has logged in: a device's link, a side
// connection, or a brand.
type peer interface {
	name() string // for logs: IDs only
	// publish takes in one PUBLISH. The error is for ack.
	publish(topic string, payload []byte) (leaf wire.Leaf, seq uint64, err error)
	// allow judges one filter of a SUBSCRIBE; why says why not.
	allow(filter string, qos byte) (ok bool, why string)
	// processed comes after the answer to a SUBSCRIBE or UNSUBSCRIBE, with the filters that were granted, or
	// are no more.
	processed(subscribe bool, filters []string)
	// acked takes a PUBACK; it reports whether it was waited for.
	acked(id uint16, code byte) bool
	spend(now time.Time, frames, bytes int) (limit string)
	rushed()
	// complain tells the peer what was wrong, where MQTT itself has no words for it.
	complain(seq uint64, leaf wire.Leaf, code packets.Code, why string)
	retry()
	end()
}

// hook is the one hook: it lets peers in. What it refuses it refuses itself.
type hook struct {
	mqtt.HookBase
	door *Door
}

func (h *hook) ID() string { return "door" }

func (h *hook) Provides(b byte) bool {
	switch b {
	case mqtt.OnConnect, mqtt.OnConnectAuthenticate, mqtt.OnSessionEstablished, mqtt.OnPacketRead, mqtt.OnPacketEncode:
		return true
	}
	return false
}

// denied is a CONNECT that is refused: MQTT 5 code, 3.1.1 code, and why.
type denied struct {
	code  packets.Code
	old   byte
	label string
	why   string
}

func (e *denied) Error() string { return "connection refused: " + e.why }

// ownFault reports whether the peer is to blame, so that its address is turned away if it goes on.
func (e *denied) ownFault() bool {
	switch e.label {
	case "will", "method", "credential", "client-id":
		return true
	}
	return false
}

var errBusy = &denied{packets.ErrServerUnavailable, packets.Err3ServerUnavailable.Code, "unavailable", "the gateway cannot look just now; try again"}

// OnConnect does the whole log-in. If it returns nil, the connection has a peer.
func (h *hook) OnConnect(cl *mqtt.Client, pk packets.Packet) error {
	c := of(cl)
	if c == nil {
		return errors.New("a connection that did not come through the door")
	}
	c.client = cl
	c.most = cl.Properties.Props.MaximumPacketSize
	c.terse = cl.Properties.Props.RequestProblemInfoFlag && cl.Properties.Props.RequestProblemInfo == 0
	c.keepAlive = keepAlive(pk.Connect.Keepalive)
	err := h.admit(c, cl, pk)
	if err == nil {
		c.guard.open = true
		h.door.settled(c.raw)
		if !c.direct.ready() && c.feed == nil {
			c.raw.SetReadDeadline(time.Time{}) // from now on it is the keep-alive's, which is not set below WebSocket
		}
		return nil
	}
	no := errBusy
	if !errors.As(err, &no) {
		h.door.fault("cannot log anybody in", "error", err)
	}
	c.judged = true
	if no.ownFault() {
		h.door.failed(c.raw)
	}
	h.door.count.refused.WithLabelValues(no.label).Inc()
	h.door.note("connection refused", "why", no.label, "claims", claim(pk.Connect.ClientIdentifier))
	if no != errBusy {
		h.door.refuseLogin(c, claim(pk.Connect.ClientIdentifier), "connect: "+no.label)
	}
	reply := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connack}, ReasonCode: no.code.Code}
	if cl.Properties.ProtocolVersion < 5 {
		reply.ReasonCode = no.old
	}
	reply.Properties.ReasonString = no.why
	cl.WritePacket(reply)
	return no.code
}

// claim is a client ID as a log may carry it.
func claim(id string) string {
	id, _, _ = strings.Cut(id, "/")
	if _, err := device.ParseID(id); err != nil {
		return "something that is not an ID"
	}
	return id
}

// admit checks the CONNECT, finds out who it is, and takes the place of an earlier connection.
func (h *hook) admit(c *conn, cl *mqtt.Client, pk packets.Packet) error {
	old := packets.Err3NotAuthorized.Code
	p := pk.Connect
	switch {
	case p.WillFlag:
		return &denied{packets.ErrImplementationSpecificError, old, "will", "wills are not supported: connect without one, the gateway sees for itself when you are gone"}
	case pk.Properties.AuthenticationMethod != "":
		return &denied{packets.ErrBadAuthenticationMethod, old, "method", "enhanced authentication is not supported"}
	case c.identity == nil && !p.UsernameFlag, c.identity == nil && !p.PasswordFlag && string(p.Username) != applicantUser:
		return &denied{packets.ErrNotAuthorized, old, "credential", "user name and password are needed"}
	}
	cl.State.Keepalive = c.keepAlive
	cl.State.ServerKeepalive = cl.State.Keepalive != p.Keepalive
	cl.Properties.Clean = true
	cl.Properties.Props.SessionExpiryInterval = 0
	cl.Properties.Props.SessionExpiryIntervalFlag = true
	cl.Properties.Props.TopicAliasMaximum = 0
	cl.State.TopicAliases.Outbound = mqtt.NewOutboundTopicAliases(0)
	cl.State.Inflight.ResetSendQuota(0) // the library sends nothing of its own accord

	user, secret := string(p.Username), string(p.Password)
	badID := &denied{packets.ErrClientIdentifierNotValid, packets.Err3ClientIdentifierNotValid.Code, "client-id", "the client ID must be the device's ID, which is also the user name, or <device>/<suffix> to publish only; for a brand it is b-<brand> or b-<brand>-<suffix>"}
	if len(p.ClientIdentifier) > 64 || p.ClientIdentifier == mqtt.InlineClientId {
		return badID
	}
	switch {
	case c.identity != nil && secret == "":
		return h.admitKey(c, cl, user)
	case user == applicantUser && device.IsApplicant(p.ClientIdentifier):
		return h.admitApplicant(c, cl)
	}
	if id, err := device.ParseID(user); err == nil {
		if p.ClientIdentifier == user {
			return h.admitDevice(c, cl, id, registry.Token(secret))
		}
		if besideOf(p.ClientIdentifier, user) {
			return h.admitSide(c, cl, id, registry.Token(secret))
		}
	}
	id, err := device.ParseBrandID(user)
	if suffix, ok := strings.CutPrefix(p.ClientIdentifier, "b-"+user); err != nil || !ok || suffix != "" && suffix[0] != '-' {
		return badID
	}
	cl.ID = "brand:" + user + ":" + p.ClientIdentifier // no device can have it, and no other brand
	return h.admitBrand(c, cl, id, secret)
}

func keepAlive(asked uint16) uint16 {
	if asked == 0 {
		return keepAliveMost
	}
	return min(max(asked, keepAliveLeast), keepAliveMost)
}

// denyUnknown turns a refusal of the registry into one of the protocol.
func denyUnknown(err error) error {
	if errors.Is(err, registry.ErrUnknown) {
		return &denied{packets.ErrNotAuthorized, packets.Err3NotAuthorized.Code, "credential", "ID and secret are not known together"}
	}
	return err
}

// OnConnectAuthenticate says again what OnConnect decided: only a connection with a peer is in.
func (h *hook) OnConnectAuthenticate(cl *mqtt.Client, _ packets.Packet) bool {
	c := of(cl)
	return c != nil && c.peer != nil && c.guard.open
}

// OnSessionEstablished takes the client away from the library: it is ours to find, and what comes
// from it is for the session.
func (h *hook) OnSessionEstablished(cl *mqtt.Client, _ packets.Packet) {
	h.door.server.Clients.Delete(cl.ID)
	if t, ok := cl.Net.Conn.(*throat); ok {
		t.through = true
	}
}

// of is the connection of a client of the library's, nil for one that did not come through the door.
func of(cl *mqtt.Client) *conn {
	if t, ok := cl.Net.Conn.(*throat); ok {
		return t.conn
	}
	return nil
}

// OnPacketRead counts the CONNECT, which is all that the library reads.
func (h *hook) OnPacketRead(_ *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	h.door.count.packets.WithLabelValues(packets.PacketNames[pk.FixedHeader.Type]).Inc()
	return pk, nil
}

// OnPacketEncode makes CONNACK tell the truth.
func (h *hook) OnPacketEncode(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	switch {
	case pk.FixedHeader.Type == packets.Connack && pk.ReasonCode == 0:
		pk.SessionPresent = false
		p := &pk.Properties
		p.MaximumPacketSize = maxPacket
		p.TopicAliasMaximum = aliasMaximum
		p.SessionExpiryInterval, p.SessionExpiryIntervalFlag = 0, true
		p.RetainAvailable, p.RetainAvailableFlag = 0, true
		p.SharedSubAvailable, p.SharedSubAvailableFlag = 0, true
		p.SubIDAvailable, p.SubIDAvailableFlag = 0, true
	case pk.FixedHeader.Type == packets.Connack && pk.ProtocolVersion < 5 && pk.ReasonCode == packets.ErrUnspecifiedError.Code:
		pk.ReasonCode = packets.Err3ClientIdentifierNotValid.Code // of an empty one, without a clean session
	case pk.FixedHeader.Type == packets.Connack && pk.ProtocolVersion == 5 && pk.Properties.ReasonString == packets.ErrProtocolViolationFlagNoPassword.Reason:
		pk.ReasonCode, pk.Properties.ReasonString = packets.ErrNotAuthorized.Code, "the password is empty" // which is no error of the protocol
	case pk.FixedHeader.Type == packets.Connack && pk.ProtocolVersion < 5 && pk.ReasonCode > packets.Err3NotAuthorized.Code:
		pk.ReasonCode = packets.Err3NotAuthorized.Code // the library has its own opinion of a CONNECT, in codes of MQTT 5
	}
	if !roomForReason(&pk, cl.Properties.Props.MaximumPacketSize) {
		pk.Properties.ReasonString = ""
	}
	return pk
}

// roomForReason reports whether a reason fits a packet of most bytes; 0 is any size. The library
// leaves one out that does not, but is a few bytes out: then it sends nothing at all.
func roomForReason(pk *packets.Packet, most uint32) bool {
	return most == 0 || len(pk.Properties.ReasonString)+besideReason <= int(most)
}

// besideReason is more than what a packet that carries a reason has beside it, in bytes.
const besideReason = 32

// label is a leaf as a metric or log may carry it.
func label(leaf wire.Leaf) string {
	if leaf == "" {
		return "foreign"
	}
	return string(leaf)
}

// refused is a publish that was understood and is not taken: it would be refused again.
type refused struct {
	code packets.Code
	why  string
}

func (e *refused) Error() string { return e.why }

// codeOf is the reason code of a refusal; ok is false for what is ours to mend, or another
// connection's to send again.
func codeOf(err error) (code packets.Code, ok bool) {
	var no *refused
	switch {
	case errors.As(err, &no):
		return no.code, true
	case errors.Is(err, wire.ErrFrame), errors.Is(err, registry.ErrInvalid):
		return packets.ErrPayloadFormatInvalid, true
	case errors.Is(err, delivery.ErrForbidden), errors.Is(err, registry.ErrUnknown):
		return packets.ErrNotAuthorized, true
	case errors.Is(err, delivery.ErrOften), errors.Is(err, delivery.ErrFull):
		return packets.ErrQuotaExceeded, true
	case errors.Is(err, delivery.ErrClosed):
		return packets.ErrNotAuthorized, true
	case errors.Is(err, delivery.ErrStale):
		return packets.ErrImplementationSpecificError, true
	}
	return packets.ErrRejectPacket, false
}

// reason spells err for the firmware engineer, in what a packet of any peer can hold.
func reason(err error) string {
	s := err.Error()
	if len(s) > 120 {
		s = strings.ToValidUTF8(s[:120], "") + "..."
	}
	return s
}

// ack turns our error into what a PUBACK says. A refusal travels in it where MQTT can carry one
// (negative); elsewhere the publish is acknowledged, because it would be refused again, and complain
// is true. ErrRejectPacket leaves it without acknowledgement.
func ack(err error, negative bool) (answer packets.Code, complain bool) {
	if err == nil {
		return packets.CodeSuccess, false
	}
	code, refusal := codeOf(err)
	switch {
	case !refusal:
		return packets.ErrRejectPacket, false
	case negative:
		return packets.Code{Code: code.Code, Reason: reason(err)}, false
	}
	return packets.CodeSuccess, true
}

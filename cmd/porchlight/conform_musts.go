package main

// must is one numbered duty of a device. device/wire/CONTRACT.md gives the reason for each.
type must struct {
	id   string
	text string
	// how it is seen: by the run alone, with somebody's hands on the device, or not at all (yet).
	seen string
}

const (
	alone   = ""
	byHand  = "needs hands on the device: see --hands"
	notHere = "cannot be seen from the gateway's side, or is not looked for yet"
)

// musts are the duties, in the words of CONTRACT.md.
var musts = []must{
	{"M1", "It connects with its ID as client ID, with its certificate, or its ID as user name and its token as password, and without a will.", alone},
	{"M2", "On every connection it subscribes to its dn/msg and dn/twin with QoS 1 and to its dn/time, best of all to dn/# with QoS 1.", alone},
	{"M3", "The first frame that it publishes on a connection is up/birth, with seq 0.", alone},
	{"M4", "Its birth names the class that it is registered as, and that of a car lists ux.driving.", alone},
	{"M5", "When a connection ends it connects again by itself.", alone},
	{"M6", "The seq of a frame is higher than that of the frame before it on the same connection.", alone},
	{"M7", "It publishes only frames of contract.cddl, on its own up/ topics, not retained, with QoS 0 or 1.", alone},
	{"M8", "After every birth that lists attributes it publishes up/ctx with what it knows.", alone},
	{"M9", "Every value of an attribute in the table has the type given there, and every word is one of those given.", alone},
	{"M10", "It repeats each value before the value is older than its lifetime in the table.", alone},
	{"M11", "It acknowledges every frame that comes with QoS 1, also one that it cannot read, within 20 s.", alone},
	{"M12", "A frame that it cannot read changes nothing and does not end its connection.", alone},
	{"M13", "Keys and topics below dn/ that it does not know it passes over.", alone},
	{"M14", "On a connection it puts nothing onto the screen before the first beacon of that connection.", alone},
	{"M15", "It answers every present, and with presented when the message is on the screen.", alone},
	{"M16", "A message in a form that it does not have it declines, with the reason unsupported-form.", alone},
	{"M17", "A message of which a guard does not hold, or names what the device does not know, it declines, with the reason guard-failed.", alone},
	{"M18", "When a guard stops holding while the message is on the screen, it takes the message off and answers declined, with the reason guard-failed.", byHand},
	{"M19", "It shows no message after its valid-until on the clock of the beacons, takes off one that is shown, and answers expired.", alone},
	{"M20", "It takes a message off when its life, counted from receipt, is over, and answers expired.", alone},
	{"M21", "It takes a message off when its display time is over, and answers timed-out.", alone},
	{"M22", "It keeps a message while beacons that name it come within its lease.", alone},
	{"M23", "It takes a message off when its lease is over, and answers expired.", alone},
	{"M24", "What a beacon does not name it takes off at once, and answers cancelled.", alone},
	{"M25", "It takes off what is cancelled and answers every cancel with cancelled, also for a message that it does not have.", alone},
	{"M26", "A present with an epoch below the highest fence that it has seen it declines, with the reason stale.", alone},
	{"M27", "It still knows the fence after a power cut.", byHand},
	{"M28", "A message that was on the screen once is not put there again; a present of it is answered with the last event of the message.", alone},
	{"M29", "It still knows after a power cut which messages were on the screen, and what became of them.", byHand},
	{"M30", "It sends an event with QoS 1, again on the next connection until it is acknowledged.", alone},
	{"M31", "Its birth lists the messages that are on the device, presented or not, and no others.", alone},
	{"M32", "It takes in the whole document of dn/twin unless it holds a later one of this connection, and its next birth names the version.", alone},
	{"M33", "A choice made on the device goes out as up/twin, with the version that the person saw as its base.", byHand},
	{"M34", "A button that is pressed takes the message off and is answered with responded and the button's id.", byHand},
	{"M35", "A message that a person puts away is answered with dismissed.", byHand},
	{"M36", "It sends up/bye before it ends a connection on purpose, unless it comes back at once with a new key.", byHand},
	{"M37", "Once it has an identity, it talks over TLS only to a gateway whose certificate an authority that it was given has signed, for the name that it was given or connects to.", alone},
	{"M38", "It measures lease, life and display time on a clock that nobody can set.", notHere},
	{"M39", "It has written down that a message was on the screen before anybody can see it there.", notHere},
	{"M40", "Fence, ledger, events that are owed, and document belong to its ID, and a new ID begins without them.", notHere},
	{"M41", "It shows a message's texts as texts: it follows no link in them and fetches nothing for them.", notHere},
	{"M42", "An application commits to a nonce, and the nonce is revealed only after the gateway's challenge.", alone},
	{"M43", "It reveals a nonce to one challenge of one authority only; for any other it makes a new one.", alone},
	{"M44", "While it is being let in it takes for the gateway's authority only the last certificate of a chain that holds and that begins with a server's.", alone},
	{"M45", "It shows or speaks the six digits of its application, leading zeros too, and no longer than the application lasts.", byHand},
	{"M46", "It refuses to be admitted when the first of the authorities is not the one of its application, and applies anew.", alone},
	{"M47", "Once admitted it connects with the ID and the credential that it was issued, within 10 minutes.", alone},
	{"M48", "It applies again with the same key, if it has one, while an answer may be lost.", alone},
	{"M49", "For a new certificate it makes a new key.", alone},
	{"M50", "It keeps its credential until a new one has been accepted, and goes on with it when the new one is refused.", alone},
	{"M51", "When it knows that its certificate has ended it connects with it and publishes nothing but up/key.", alone},
	{"M52", "Told to wipe, it clears its screen, erases what it knows, and publishes up/bye with wiped before it ends the connection.", alone},
	{"M53", "After a wipe it does not connect with its old ID any more, but applies.", alone},
	{"M54", "When a person resets it while it is connected it publishes up/bye with reset, and then erases the same as for a wipe.", byHand},
	{"M55", "After a wipe or reset nothing of the old identity is used: another key, no document, no messages, no events of before.", alone},
	{"M56", "It forgets its identity only after three refusals with 0x87 (3.1.1: 5) over 10 minutes or more, and for no other refusal or fault.", alone},
	{"M57", "It publishes up/join only for what a person has just done on it.", notHere},
	{"M58", "Keys and nonces come from a generator that nobody can foretell, keys are made on the device, and their private halves never leave it.", notHere},
	{"M59", "The secret on its label has 80 random bits or more, is its own, and follows from nothing else about it.", notHere},
	{"M60", "Of a message it uses only what key 18 allows, and makes no sound where key 18 does not say so.", notHere},
	{"M61", "It fetches pictures only from its gateway, and shows one only if number of bytes and SHA-256 are those of the message.", notHere},
	{"M62", "In a list that a person changes on it, every entry that they did not touch goes back as it came, with the keys that it does not know.", notHere},
	{"M63", "A question of dn/ask it draws with all its controls in the order in which they came, yes and no alike in size, weight, colour and distance, each one press or one word away.", notHere},
	{"M64", "On a question nothing is chosen beforehand, no time that runs off is shown, and where there is a focus it begins on more, without it on the text.", notHere},
	{"M65", "It answers drawn, with the controls as it has drawn them, once a question is on the screen or is being said, and before any other answer.", notHere},
	{"M66", "It answers yes only when a person has chosen the control yes of that question, and no only for the control no.", notHere},
	{"M67", "A question that ends in any other way is answered with deferred and why, once; time, silence, back and another channel are never a yes.", notHere},
	{"M68", "A spoken question is put once; a yes is said back before it counts, a no is taken at once, and a voice that it does not know is answered with deferred, unsure.", notHere},
	{"M69", "In a car it draws a question only while ux.driving is parked, and takes it off with deferred, driving, when that ends.", notHere},
	{"M70", "It puts a question nowhere where it may show no message, nor over one, nor below the fence, and answers deferred, driving or device.", notHere},
	{"M71", "A question that was drawn once is not drawn again; the same ID is answered with its last answer again.", notHere},
	{"M72", "It sends an answer with QoS 1, again on the next connection until it is acknowledged.", notHere},
	{"M73", "In presence.who it names only people of the newest document, each as sure as it is, and says null for what it does not know.", notHere},
	{"M74", "Who is there it tells the gateway and nobody else, and keeps no longer than its lifetime.", notHere},
	{"M75", "It publishes up/why only when somebody has asked on it, and shows the lines that come as they are.", notHere},
	{"M76", "It passes on in up/sig only what somebody has chosen, as it was spelled, and again when that changes or is taken back.", notHere},
	{"M77", "It says that something has stopped only when dn/word has said so.", notHere},
	{"M78", "Of a message with a bit in key 19 it shows from the first moment no more and no brighter than that bit says: dim is darker than anything else that it shows at that hour, minimal is who it is from and nothing else, until a person asks for the rest.", notHere},
	{"M79", "A message with a bit in key 19 that its birth does not name it declines, with the reason unsupported-form.", alone},
}

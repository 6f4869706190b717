#!/bin/sh
# Plays a fridge by hand, with nothing but Debian's mosquitto_sub and mosquitto_pub:
#
#   ID=... TOKEN=... configs/play-a-device.sh
#
# ID and TOKEN are what `porchlight device add --home HOME --class fridge` prints. Besides:
#
#   HOST     where the gateway is             default localhost
#   PORT     its port                         default 1883, or 8883 with CAFILE
#   VERSION  mqttv311 or mqttv5               default mqttv5
#   CAFILE   certificate to trust, for TLS    the gateway's is <data>/ca/ca.crt
#   LIMIT    seconds that a step may take     default 60
#
# It says that the fridge is there, opens its door, waits for a message (`porchlight push`),
# says that it is on the screen, waits until it is called back (`porchlight consent withdraw`),
# and says that it is gone. Exit status 0: every step was seen.
#
# A real device does more. It takes a message off when dn/time no longer names it or nothing
# was heard for the length of its lease, checks the message's guards, remembers what it has
# shown, and repeats its context before that grows old.
set -eu

ID=${ID:?is not set: use what porchlight device add prints}
TOKEN=${TOKEN:?is not set: use what porchlight device add prints}
CAFILE=${CAFILE:-}
HOST=${HOST:-localhost}
PORT=${PORT:-${CAFILE:+8883}}
PORT=${PORT:-1883}
VERSION=${VERSION:-mqttv5}
LIMIT=${LIMIT:-60}
frames=$(dirname "$0")/frames
timeout=$(command -v timeout || true) # not every system has it

listener=
work=$(mktemp -d)
clean() {
	[ -z "$listener" ] || kill "$listener" 2>/dev/null || true
	rm -rf "$work"
}
trap clean EXIT
trap 'exit 1' HUP INT TERM

step() { printf '\n# %s\n' "$*"; }
fail() {
	printf 'play-a-device: %s\n' "$*" >&2
	exit 1
}

# within WHAT COMMAND... repeats a command until it succeeds, for LIMIT seconds.
within() {
	what=$1
	shift
	tries=$((LIMIT * 5))
	until "$@"; do
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || fail "$what"
		sleep 0.2
	done
}

# client NAME OPTION... becomes mosquitto_sub or mosquitto_pub, with what both need to log in.
# Other users of this machine can see -P; where that matters, it belongs into the files
# mosquitto_sub and mosquitto_pub under ~/.config.
client() {
	name=$1
	shift
	set -- -V "$VERSION" -h "$HOST" -p "$PORT" ${CAFILE:+--cafile "$CAFILE"} -u "$ID" "$@"
	printf '$ %s -P "$TOKEN"' "$name" >&2
	for word; do
		case $word in *' '*) word="'$word'" ;; esac
		printf ' %s' "$word" >&2
	done
	printf '\n' >&2
	set -- "$name" -P "$TOKEN" "$@"
	[ "$name" = mosquitto_sub ] || set -- ${timeout:+"$timeout" "$LIMIT"} "$@"
	exec "$@"
}

# listen is the device's own connection: its client ID is the device's ID. It prints a line of
# topic and payload, in hexadecimal, for each frame.
listen() { client mosquitto_sub -i "$ID" -q 1 -t "pl/1/$ID/dn/#" -F '%t %x'; }

# publish LEAF OPTION... is a connection beside it: the device's ID, a slash, and anything.
# What it publishes the gateway takes as the device's. MQTT 5 says at once what is wrong with a
# frame, and mosquitto_pub calls that a warning; MQTT 3.1.1 cannot, so it comes on dn/err.
publish() (
	leaf=$1
	shift
	(client mosquitto_pub -i "$ID/pub" -q 1 -t "pl/1/$ID/up/$leaf" "$@") 2>"$work/told" && status=0 || status=$?
	cat "$work/told" >&2
	[ "$status" = 0 ] && ! grep -q '^Warning' "$work/told"
)

listening() { kill -0 "$listener" 2>/dev/null || fail "mosquitto_sub has ended: $(cat "$work/said")"; }

# heard PATTERN finds the first frame on dn/ that begins so, and leaves its payload in $payload.
heard() {
	! complaint=$(grep "^pl/1/$ID/dn/err " "$work/heard") || fail "the gateway complains: $complaint"
	listening
	payload=$(grep -m 1 "^pl/1/$ID/dn/$1" "$work/heard") && payload=${payload#* }
}

# CBOR, as much of it as is needed here. An item is a byte of major type (upper three bits) and
# argument (lower five; 24 to 27: it follows in 1, 2, 4 or 8 bytes).

# take N moves N bytes from $payload to $taken.
take() {
	taken=
	n=$1
	while [ "$n" -gt 0 ]; do
		rest=${payload#??}
		taken=$taken${payload%"$rest"}
		payload=$rest
		n=$((n - 1))
	done
}

# item reads $major and $argument off $payload; of a string also its bytes, into $taken.
item() {
	take 1
	major=$((0x$taken >> 5))
	argument=$((0x$taken & 31))
	if [ "$argument" -ge 24 ]; then
		take $((1 << (argument - 24)))
		argument=$((0x$taken))
	fi
	case $major in 2 | 3) take "$argument" ;; esac
}

# bytes turns hexadecimal into what it stands for.
bytes() (
	payload=$1
	while [ -n "$payload" ]; do
		take 1
		printf "\\$(printf %03o "0x$taken")"
	done
)

step "The fridge listens. Until it is connected, connections beside it are refused."
listen >"$work/heard" 2>"$work/said" &
listener=$!
within "mosquitto_sub does not start" test -s "$work/said"
cat "$work/said"

step "Birth: what it is, what it can do, and the names of what it will tell."
birth() { listening && publish birth -f "$frames/fridge-birth.cbor"; }
within "the gateway does not take the birth" birth

step "Context: it is on, the door is closed, no alarm. Then somebody opens the door."
publish ctx -f "$frames/fridge-calm.cbor" || fail "the gateway does not take the context"
publish ctx -f "$frames/fridge-door-open.cbor" || fail "the gateway does not take the context"
within "the gateway sends no beacon" heard "time "

step "It waits for a message: dn/msg, a map whose key 0 is 1 (present) and key 1 the ID."
within "no message came within $LIMIT seconds" heard 'msg [ab].00010150'
printf '%s\n' "$payload"
item # the map
pairs=$argument
while [ "$pairs" -gt 0 ]; do
	item
	key=$argument
	item
	case $key in
	1) id=$taken ;;
	6) text=$taken && break ;;
	esac
	pairs=$((pairs - 1))
done
printf 'The fridge shows: %s\n' "$(bytes "$text")"

step "Receipt: {0: 1, 1: ID, 2: 2}, its first event, of this message, presented."
bytes "a300010150${id}0202" | publish evt -s || fail "the gateway does not take the receipt"

step "It waits until the message is called back: key 0 is 2 (cancel)."
within "nothing was called back within $LIMIT seconds" heard "msg [ab].00020150$id"
printf '%s\n' "$payload"
printf 'The fridge shows nothing.\n'

step "Receipt: {0: 2, 1: ID, 2: 8}, its second event, cancelled."
bytes "a300020150${id}0208" | publish evt -s || fail "the gateway does not take the receipt"

step "Somebody closes the door. That was all."
publish ctx -f "$frames/fridge-door-closed.cbor" || fail "the gateway does not take the context"
heard "time " # and nothing was wrong

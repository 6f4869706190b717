#!/bin/sh
# Plays a fridge by hand, with nothing but mosquitto_sub and mosquitto_pub:
#
#   ID=... TOKEN=... configs/play-a-device.sh
#
# ID and TOKEN are what `porchlight device add --home HOME --class fridge` prints. Optional:
#
#   HOST     where the gateway is                     default localhost
#   PORT     its port                                 default 1883, with CAFILE 8883
#   VERSION  mqttv311 or mqttv5                       default mqttv5
#   CAFILE   certificate to trust; with it, TLS       <data>/ca/ca.crt of the gateway
#   LIMIT    seconds that each step may take          default 60
#
# It tells the gateway that the fridge is there and that its door opens, waits for a message,
# says that it is on the screen, waits until the gateway takes it back (try `porchlight consent
# withdraw`), and says that it is gone. Exit status 0 means that each step was seen.
#
# A real device does more: it keeps its screen only as long as dn/time names the message
# (otherwise the lease ends), checks the message's guards, and remembers what it has shown.
set -eu

HOST=${HOST:-localhost}
CAFILE=${CAFILE:-}
PORT=${PORT:-$([ -n "$CAFILE" ] && echo 8883 || echo 1883)}
VERSION=${VERSION:-mqttv5}
LIMIT=${LIMIT:-60}
ID=${ID:?the ID that porchlight device add prints}
TOKEN=${TOKEN:?the token that porchlight device add prints}
FRAMES=$(dirname "$0")/frames

work=$(mktemp -d)
listener=
clean() {
	[ -z "$listener" ] || kill "$listener" 2>/dev/null || true
	rm -rf "$work"
}
trap clean EXIT
trap 'exit 1' HUP INT TERM

say() { printf '\n# %s\n' "$*" >&2; }
fail() {
	printf 'play-a-device: %s\n' "$*" >&2
	exit 1
}

# client NAME OPTION... becomes mosquitto_pub or mosquitto_sub, with what every connection needs.
# (Other users of this machine can see -P. Where that matters, write it into
# ~/.config/mosquitto_pub and ~/.config/mosquitto_sub.)
client() {
	name=$1
	shift
	set -- -V "$VERSION" -h "$HOST" -p "$PORT" ${CAFILE:+--cafile "$CAFILE"} -u "$ID" -q 1 "$@"
	# shellcheck disable=SC2016 # the token is not for the terminal
	printf '$ %s -P "$TOKEN" %s\n' "$name" "$*" >&2
	exec "$name" -P "$TOKEN" "$@"
}

# publish LEAF OPTION... sends one frame. The listener has the device's own client ID, so this is
# a connection beside it: <device>/<anything>. It may publish, and the gateway takes what it
# says for the device's.
publish() {
	leaf=$1
	shift
	(client mosquitto_pub -i "$ID/pub" -t "pl/1/$ID/up/$leaf" "$@") 2>"$work/told" &
	within "no answer to what was published" ended $!
	cat "$work/told" >&2
	! grep -v '^\$ ' "$work/told" >/dev/null || return 1
}

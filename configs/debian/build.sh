#!/bin/sh
# Makes a Debian package of a porchlight that was built before; dpkg-deb is needed, root is not.
#
#   make build
#   configs/debian/build.sh build/porchlight 1.0 build    # writes build/porchlight_1.0_ARCH.deb
#
# The package brings the program, the systemd unit, a configuration file and the licences. Its user is
# porchlight, its data folder /var/lib/porchlight, which nobody else can look into.
set -eu
binary=${1:?usage: build.sh BINARY VERSION FOLDER}
version=${2:?usage: build.sh BINARY VERSION FOLDER}
out=${3:?usage: build.sh BINARY VERSION FOLDER}
here=$(cd "$(dirname "$0")" && pwd)
configs=$(dirname "$here")

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 0755 "$root"
put() { install -D -m "$1" "$2" "$root/$3"; }
put 0755 "$binary" usr/bin/porchlight
put 0644 "$configs/systemd/porchlight.service" usr/lib/systemd/system/porchlight.service
put 0644 "$configs/porchlight.yaml" etc/porchlight/porchlight.yaml
put 0644 "$configs/LICENSES.md" usr/share/doc/porchlight/LICENSES.md
put 0644 "$here/copyright" usr/share/doc/porchlight/copyright
put 0644 "$configs/../README.md" usr/share/doc/porchlight/README.md
put 0644 "$configs/safety.json" usr/share/doc/porchlight/examples/safety.json
put 0644 "$configs/prometheus/alerts.yaml" usr/share/doc/porchlight/examples/alerts.yaml
put 0644 "$configs/grafana/porchlight.json" usr/share/doc/porchlight/examples/grafana.json
gzip -9n > "$root/usr/share/doc/porchlight/changelog.Debian.gz" <<EOF
porchlight ($version) stable; urgency=medium

  * Version $version. CONTRIBUTING.md and the repository say what has changed.

 -- Porchlight <porchlight@localhost>  $(date -R -u -d "@${SOURCE_DATE_EPOCH:-0}")
EOF
chmod 0644 "$root/usr/share/doc/porchlight/changelog.Debian.gz"
for script in postinst prerm postrm; do put 0755 "$here/$script" "DEBIAN/$script"; done
echo /etc/porchlight/porchlight.yaml > "$root/DEBIAN/conffiles"

# The newest version of glibc that the program asks for.
libc=$(grep -ao 'GLIBC_2\.[0-9]*' "$binary" | sort -Vu | tail -n 1 | cut -d_ -f2)
architecture=$(dpkg --print-architecture)
sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@LIBC@/${libc:-2.34}/" \
  -e "s/@SIZE@/$(du -sk --apparent-size "$root" | cut -f1)/" "$here/control.in" > "$root/DEBIAN/control"
(cd "$root" && find usr -type f -print0 | sort -z | xargs -0 md5sum) > "$root/DEBIAN/md5sums"
chmod 0644 "$root"/DEBIAN/control "$root"/DEBIAN/conffiles "$root"/DEBIAN/md5sums
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-0} dpkg-deb --root-owner-group -Zxz -z1 --build "$root" "$out/porchlight_${version}_$architecture.deb"

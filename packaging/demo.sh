#!/usr/bin/env bash
# Shows ocinet's main job with a real container, in namespaces of its own: the machine's own network is not touched.
set -euo pipefail
cd "$(dirname "$0")/.."

ocinet=${OCINET_BIN:-$PWD/target/bin/ocinet}
exporter=${OCINET_EXPORTER_BIN:-$PWD/target/bin/ocinet-exporter}
name=ocinet-demo-$$
on() { nsenter --net="/run/netns/$name-$1" "${@:2}"; }
show() { printf '\n\033[1m$ %s\033[0m\n' "$*"; }
step() { printf '\n\033[1m# %s\033[0m\n' "$*"; }
runtime() { on host runc --root "$work/runc" "$@"; }
# Asks a question again until the answer is yes, for at most half a minute: the machine may be busy.
until_true() {
	local end=$((SECONDS + 30))
	until "$@"; do
		(( SECONDS < end )) || { echo "this did not come true: $*" >&2; return 1; }
		sleep 0.05
	done
}

# Started as commands of this very shell: a function in the background would be a shell of its own, and its program would outlive it.
children=() work=''
mounted=$(mountpoint -q /run/netns && echo yes || echo no)
tidy() {
	trap '' INT TERM HUP
	set +e
	(( ${#children[@]} == 0 )) || kill "${children[@]}" 2>/dev/null
	wait
	runtime delete -f "$name" >/dev/null 2>&1
	for namespace in host lan wan; do ip netns del "$name-$namespace" 2>/dev/null; done
	# `ip netns` makes this folder a mount of its own.
	if [[ $mounted == no && -d /run/netns && -z $(ls -A /run/netns) ]]; then umount /run/netns && rmdir /run/netns; fi
	rm -rf "/tmp/$name".*
}
trap tidy EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
work=$(mktemp -d "/tmp/$name.XXXXXX")
export OCINET_STATE_DIR=$work/state

step "A host, a neighbour on its LAN, and something that stands for the internet"
for namespace in host lan wan; do ip netns add "$name-$namespace"; ip -n "$name-$namespace" link set lo up; done
ip -n "$name-wan" -batch - <<-END
	link add lan type bridge mcast_snooping 0
	link add host type veth peer name eth0 netns $name-host
	link add peer type veth peer name eth0 netns $name-lan
	link set host master lan up
	link set peer master lan up
	addr add 198.51.100.1/24 dev lan
	addr add 2001:db8:1::1/64 dev lan nodad
	addr add 203.0.113.1/32 dev lo
	addr add 2001:db8:cafe::1/128 dev lo nodad
	link set lan up
END
for end in host:10 lan:20; do
	ip -n "$name-${end%:*}" -batch - <<-END
		addr add 198.51.100.${end#*:}/24 dev eth0
		addr add 2001:db8:1::${end#*:}/64 dev eth0 nodad
		link set eth0 up
		route add default via 198.51.100.1
		route add default via 2001:db8:1::1
	END
done
ip -br -n "$name-host" address show dev eth0

step "A bundle: busybox serves a page on port 80, and keeps a secret on port 81"
bundle=$work/web
mkdir -p "$bundle"/rootfs/{bin,dev,etc,proc,run,sys,tmp,www} "$work/internet"
cp "$(command -v busybox)" "$bundle/rootfs/bin/busybox"
for applet in sh httpd wget nc sleep; do ln -s busybox "$bundle/rootfs/bin/$applet"; done
echo "hello from the container" >"$bundle/rootfs/www/index.html"
echo "hello from the internet" >"$work/internet/index.html"
nsenter --net="/run/netns/$name-wan" busybox httpd -f -p '[::]:80' -h "$work/internet" &
children+=($!)
(cd "$bundle" && runc spec)
jq --arg ocinet "$ocinet" --arg state "$OCINET_STATE_DIR" '
	.process.terminal = false | .process.rlimits = [] |
	.process.args = ["sh", "-c", "httpd -p [::]:81 -h /www; exec httpd -f -p [::]:80 -h /www"] |
	.annotations = {"net.driver": "bridge", "net.subnet": "10.90.0.0/16,fd00:90::/64", "net.ports": "8080:80"} |
	.hooks = {
		createRuntime: [{path: $ocinet, args: ["ocinet", "createRuntime"], env: ["OCINET_STATE_DIR=" + $state]}],
		poststop: [{path: $ocinet, args: ["ocinet", "poststop"], env: ["OCINET_STATE_DIR=" + $state]}]
	}' "$bundle/config.json" >"$bundle/new.json"
mv "$bundle/new.json" "$bundle/config.json"
jq -c .annotations "$bundle/config.json"

show "ocinet plan --bundle web"
on host "$ocinet" plan --bundle "$bundle"

show "runc run -d web"
runtime run -d -b "$bundle" "$name" </dev/null >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
answers() { on "$1" curl -s -o /dev/null -m 5 "$2"; }
until_true answers host http://127.0.0.1:8080/
until_true answers wan http://127.0.0.1/

fetch() {
	show "$1\$ curl $2"
	answer=$(on "$1" curl -gsS -m 20 "$2")
	echo "$answer"
	[[ $answer == "$3" ]]
}
fetch lan http://198.51.100.10:8080/ "hello from the container"
fetch lan 'http://[2001:db8:1::10]:8080/' "hello from the container"
fetch host http://127.0.0.1:8080/ "hello from the container"

step "Port 81 is not published: not by the host's address, nor by the container's own"
address=$(on host "$ocinet" list --json | jq -r '.[0].attachments[0].addresses[0]' | cut -d/ -f1)
ip -n "$name-lan" route add 10.90.0.0/16 via 198.51.100.10
for closed in "http://198.51.100.10:81/" "http://$address:81/" "http://$address:80/"; do
	if on lan curl -s -m 1 "$closed"; then echo "$closed answered"; exit 1; fi
	echo "lan\$ curl $closed: no answer"
done

show "web\$ wget http://203.0.113.1/ (masqueraded)"
answer=$(runtime exec "$name" wget -q -O - http://203.0.113.1/)
echo "$answer"
[[ $answer == "hello from the internet" ]]

show "ocinet list"
on host "$ocinet" list
show "ocinet inspect web"
on host "$ocinet" inspect "$name"

nsenter --net="/run/netns/$name-host" "$exporter" --web.listen-address=127.0.0.1:9477 2>"$work/exporter.log" &
children+=($!)
metrics() { on host curl -sS -m 20 -o "$work/metrics" http://127.0.0.1:9477/metrics; }
show "ocinet-exporter & curl http://127.0.0.1:9477/metrics | grep published_port"
until_true answers host http://127.0.0.1:9477/healthz
metrics
grep '^ocinet_published_port' "$work/metrics"
grep -q '^ocinet_published_port_connections_total{id="'"$name"'".* [3-9]' "$work/metrics"

show "runc delete -f web"
runtime delete -f "$name"
links_are_gone() { [[ $(ip -o -n "$name-host" link | wc -l) == 2 ]]; }
until_true links_are_gone
show "ocinet list; ip -br link"
on host "$ocinet" list
ip -br -n "$name-host" link
[[ $(on host "$ocinet" list --json) == "[]" ]]
[[ -z $(find "$OCINET_STATE_DIR"/{containers,leases,networks,ports} -type f 2>/dev/null) ]]
metrics
if grep -F "$name" "$work/metrics"; then echo "the exporter still tells of it"; exit 1; fi
step "Nothing is left but the tables, which have no elements of containers"

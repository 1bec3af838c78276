# Containers of every runtime, all of one image: a web server that says its name and who asks, and writes both down.
# shellcheck shell=bash

bundles=/var/lib/machine/bundles
rootfs=/var/lib/machine/rootfs
# Seconds that an answer may take: the machine is emulated, and shares its processors.
patience=10

# Port 80 is published by some checks and port 81 by none.
serve='mkdir -p /log; httpd -p [::]:81 -h /www; exec httpd -f -p [::]:80 -h /www'

make_image() {
	local applet
	mkdir -p "$rootfs"/{bin,dev,etc,log,proc,run,sys,tmp,www/cgi-bin}
	cp /bin/busybox "$rootfs/bin/busybox"
	for applet in $(busybox --list); do [[ $applet == busybox ]] || ln -sf busybox "$rootfs/bin/$applet"; done
	install -m 0755 who "$rootfs/www/cgi-bin/who"
	tar -C "$rootfs" -cf /var/lib/machine/image.tar .
	podman import -q /var/lib/machine/image.tar machine >/dev/null
}

# start RUNTIME NAME [KEY=VALUE]…: the runtime is runc, crun, podman-runc or podman-crun, the rest are annotations.
start() {
	local runtime=$1 name=$2
	shift 2
	mkdir -p "$bundles/$name"
	echo "$runtime" >"$bundles/$name/runtime"
	case $runtime in
	podman-*) podman --runtime "${runtime#podman-}" run -d --network=none --name "$name" --hostname "$name" \
		"${@/#/--annotation=}" machine sh -c "$serve" ;;
	*) write_bundle "$runtime" "$name" "$@"
		"$runtime" run -d -b "$bundles/$name" "$name" </dev/null >"$bundles/$name/said" 2>&1 ||
			{ local code=$?; cat "$bundles/$name/said"; return $code; } ;;
	esac
}

# A bundle as `runc spec` makes it, with what README tells to put into config.json.
write_bundle() {
	local runtime=$1 name=$2 bundle=$bundles/$2
	shift 2
	rm -rf "$bundle/config.json" "$bundle/came"
	mkdir -p "$bundle/log"
	echo "$name" >"$bundle/log/name"
	(cd "$bundle" && "$runtime" spec)
	jq --arg root "$rootfs" --arg serve "$serve" --arg log "$bundle/log" --arg name "$name" '
		.process.terminal = false | .process.args = ["sh", "-c", $serve] | .root = {path: $root, readonly: true} | .hostname = $name |
		.mounts += [{destination: "/log", type: "bind", source: $log, options: ["rbind", "rw"]}] |
		.annotations = ($ARGS.positional | map(capture("^(?<key>[^=]*)=(?<value>.*)$")) | from_entries) |
		.hooks = {
			createRuntime: [{path: "/usr/bin/ocinet", args: ["ocinet", "createRuntime"]}],
			poststop: [{path: "/usr/bin/ocinet", args: ["ocinet", "poststop"]}]
		}' "$bundle/config.json" --args "$@" >"$bundle/new"
	mv "$bundle/new" "$bundle/config.json"
}

runtime_of() { cat "$bundles/$1/runtime"; }

# stop NAME…: ends containers and removes them, with their networks.
stop() {
	local name runtime
	for name; do
		runtime=$(runtime_of "$name")
		case $runtime in
		podman-*) podman rm -f -t 0 "$name" >/dev/null ;;
		docker) docker rm -f "$name" >/dev/null ;;
		*) "$runtime" delete -f "$name" ;;
		esac
	done
}

# Ends whatever a check has left, so that the next has a clean host. Faults have been told by then.
stop_all() {
	local name
	for name in "$bundles"/*; do stop "${name##*/}" >/dev/null 2>&1; done
	[[ -z $(podman ps -aq) ]] || podman pod rm -af -t 0 >/dev/null 2>&1
	[[ -z $(podman ps -aq) ]] || podman rm -af -t 0 >/dev/null 2>&1
	rm -rf "${bundles:?}"
	mkdir -p "$bundles"
}

pid_of() {
	local runtime
	runtime=$(runtime_of "$1")
	case $runtime in
	podman-*) podman inspect --format '{{.State.Pid}}' "$1" ;;
	docker) docker inspect --format '{{.State.Pid}}' "$1" ;;
	*) "$runtime" state "$1" | jq .pid ;;
	esac
}

# The id by which ocinet knows a container.
id_of() {
	case $(runtime_of "$1") in
	podman-*) podman inspect --format '{{.Id}}' "$1" ;;
	*) echo "$1" ;;
	esac
}

# address NAME FAMILY [INTERFACE]: the address that a container has.
address() {
	from "$1" ip -j "-$2" address show dev "${3:-eth0}" scope global | jq -r '.[].addr_info[].local' | head -n 1
}

# from lan|host|NAME COMMAND…: runs this machine's own program in the network of the neighbour, the host or a container.
from() {
	local where=$1 pid
	shift
	case $where in
	host) "$@" ;;
	lan) nsenter --net=/run/netns/lan "$@" ;;
	*) pid=$(pid_of "$where")
		nsenter --net="/proc/$pid/ns/net" "$@" ;;
	esac
}

# within NAME COMMAND…: runs the container's own program in it.
within() {
	local name=$1 runtime
	runtime=$(runtime_of "$name")
	shift
	case $runtime in
	podman-*) podman exec "$name" "$@" ;;
	docker) docker exec "$name" "$@" ;;
	*) "$runtime" exec "$name" "$@" ;;
	esac
}

# Everybody who came to a server: the token of the question, and the address that the server saw.
visitors() {
	case $1 in
	internet) cat /log/came ;;
	*) nsenter --mount="/proc/$(pid_of "$1")/ns/mnt" /bin/cat /log/came ;;
	esac
}

# reaches FROM SERVER ADDRESS:PORT [SEEN_AS]: the server answers, by its name, and saw who asked.
reaches() {
	local who=$1 server=$2 at=$3 seen_as=${4:-} answer
	answer=$(from "$who" curl -gsS -m "$patience" --retry 8 --retry-delay 1 --retry-connrefused "http://$at/cgi-bin/who?open")
	expect_in "the answer to $who at $at" "$server " "$answer"
	[[ -z $seen_as ]] || expect "who $server saw at $at" "$server $seen_as" "$answer"
}

# is_closed FROM SERVER ADDRESS:PORT: the server, which does answer others, has never seen the question.
is_closed() {
	local who=$1 server=$2 at=$3 token=closed-$RANDOM$RANDOM seen
	from "$who" curl -gs -m 2 "http://$at/cgi-bin/who?$token" && { echo "$at answered $who"; return 1; }
	seen=$(visitors "$server" 2>/dev/null || true)
	[[ $seen != *$token* ]] || { echo "$server saw $who at $at"; return 1; }
}

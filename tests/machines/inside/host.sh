# The host, as it was and as it should be.
# shellcheck shell=bash

# What containers have added to the sets and maps of ocinet's table of a family: their keys.
elements_of() {
	nft -j list table "$1" ocinet 2>/dev/null | jq -r '
		.nftables[] | (.set // .map // empty) | .name as $name | (.elem // [])[] |
		if type == "array" then .[0] else . end | if type == "object" and has("elem") then .elem.val else . end | "\($name) \(tojson)"' | sort
}

# Everything of the host that ocinet may change, but what it says of itself. Elements of sets stay in; counters and handles do not.
host_state() {
	echo "-- links"; ip -o link | sed -E 's/^[0-9]+: //; s/ (state|qdisc|mode|group default|qlen) [^ ]+//g; s/<[^>]*>//; s/link-netnsid [0-9]+//' | sort
	echo "-- addresses"; ip -o address | awk '{print $2, $3, $4}' | sort
	echo "-- routes"; { ip route show table all; ip -6 route show table all; } | grep -v 'proto kernel' | sort
	echo "-- rules"; ip rule; ip -6 rule
	echo "-- forwarding"; sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding
	echo "-- elements"; elements_of inet; elements_of bridge
	echo "-- others' rules"; nft -s list ruleset 2>/dev/null | sed '/^table \(inet\|bridge\) ocinet {/,/^}/d' | grep -v '^#'
	echo "-- state"; find /run/ocinet/{containers,leases,networks,ports} -type f 2>/dev/null | sort
}

# same_host_as FILE: the host is as it was when `host_state >FILE` looked at it.
same_host_as() {
	local now
	for _ in $(seq 8); do
		now=$(diff <(cat "$1") <(host_state) || true)
		[[ -n $now ]] || return 0
		sleep 0.5
	done
	echo "the host differs from before:"
	echo "$now"
	return 1
}

# Nothing is wrong, by ocinet's own word. udev has finished with the links by then.
nothing_is_wrong() {
	udevadm settle -t 30
	ocinet check
	ocinet doctor
}

# As an administrator does what doctor says, until it is content.
obey_doctor() {
	local commands
	for _ in 1 2 3; do
		ocinet doctor >/run/checks/doctor && return 0
		cat /run/checks/doctor
		commands=$(sed -n 's/^ *\$ //p' /run/checks/doctor)
		[[ -n $commands ]] || return 1
		bash -ec "$commands"
	done
	ocinet doctor
}

no_unit_failed() { expect "failed units" "" "$(systemctl list-units --failed --plain --no-legend)"; }

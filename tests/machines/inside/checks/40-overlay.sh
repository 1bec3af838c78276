# An overlay of two hosts: this machine, and a second host of ocinet's in the neighbour's namespace.
# shellcheck shell=bash
topic vxlan

second=/run/second-host
overlay="net.driver=vxlan net.vni=7 net.subnet=10.94.0.0/24,fd00:94::/64"

# A container on the second host, with a state folder of that host's own.
start_there() {
	local name=$1
	shift
	mkdir -p "$second"
	write_bundle runc "$name" "$@"
	jq --arg state "OCINET_STATE_DIR=$second/state" '.hooks |= map_values(map(. + {env: [$state]}))' "$bundles/$name/config.json" >"$bundles/$name/new"
	mv "$bundles/$name/new" "$bundles/$name/config.json"
	nsenter --net=/run/netns/lan runc --root "$second/runc" run -d -b "$bundles/$name" "$name" </dev/null >"$bundles/$name/said" 2>&1 ||
		{ cat "$bundles/$name/said"; return 1; }
}

both_start() {
	# shellcheck disable=SC2086
	start crun web $overlay net.peers=198.51.100.1 net.ip=10.94.0.11,fd00:94::11 net.ports=8080:80
	# shellcheck disable=SC2086
	start_there far $overlay net.parent=switch net.peers=198.51.100.10 net.ip=10.94.0.12,fd00:94::12
}

from_far() { nsenter --net="/proc/$(runc --root "$second/runc" state far | jq .pid)/ns/net" "$@"; }

meet_across_hosts() {
	reaches web far 10.94.0.12:80 10.94.0.11
	reaches web far '[fd00:94::12]:81' fd00:94::11
	expect_in "web's answer" "web " "$(from_far curl -gsS -m "$patience" http://10.94.0.11:81/cgi-bin/who)"
	expect_in "web's answer" "web " "$(from_far curl -gsS -m "$patience" 'http://[fd00:94::11]:80/cgi-bin/who')"
}

port_and_internet() {
	reaches lan web 198.51.100.10:8080 198.51.100.1
	reaches web internet 203.0.113.1:80 198.51.100.10
}

end_without_a_trace() {
	nsenter --net=/run/netns/lan runc --root "$second/runc" delete -f far
	stop web
	same_host_as /run/checks/before
}

host_state >/run/checks/before
check "a container on each of two hosts starts" both_start
check "they reach each other, IPv4 and IPv6" meet_across_hosts
check "its own host's port and the internet" port_and_internet
check "nothing is wrong" nothing_is_wrong
check "both end without a trace" end_without_a_trace
nsenter --net=/run/netns/lan runc --root "$second/runc" delete -f far >/dev/null 2>&1
nsenter --net=/run/netns/lan nft flush ruleset
stop_all

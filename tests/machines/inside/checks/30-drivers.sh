# Every driver by packets, with plain runc and crun in turn, on a host whose link is called eth0, as the containers' is.
# shellcheck shell=bash
topic drivers

dual=10.90.0.0/16,fd00:90::/64
routed_dual=10.92.0.0/24,fd00:92::/64

# The neighbour on the LAN, the internet and a port of the host's, by both families.
port_in_and_internet_out() {
	reaches lan web 198.51.100.10:8080 198.51.100.1
	reaches lan web '[2001:db8:1::10]:8080' 2001:db8:1::1
	reaches host web 127.0.0.1:8080
	reaches web internet 203.0.113.1:80 198.51.100.10
	reaches web internet '[2001:db8:cafe::1]:80' 2001:db8:1::10
}

neighbours_meet() {
	reaches web db "$(address db 4):81"
	reaches db web "[$(address web 6)]:81"
}

is_closed_to_the_lan() {
	local family own
	from lan ip route replace 10.88.0.0/13 via 198.51.100.10
	from lan ip route replace fd00::/16 via 2001:db8:1::10
	for family in 4 6; do
		own=$(address web "$family")
		[[ $family == 4 ]] || own="[$own]"
		is_closed lan web "$own:81"
		is_closed lan web "$own:80"
	done
	is_closed lan web 198.51.100.10:81
	reaches lan web 198.51.100.10:8080
}

is_apart_from() {
	is_closed "$1" web "$(address web 4):81"
	is_closed "$1" web "[$(address web 6)]:81"
	reaches "$1" internet 203.0.113.1:80
	reaches db web "$(address web 4):81"
}

# A container on the LAN is a neighbour there with addresses of its own.
is_on_the_lan() {
	reaches lan "$1" "$2:80" 198.51.100.1
	reaches lan "$1" "[$3]:80" 2001:db8:1::1
	reaches "$1" internet 203.0.113.1:80 "$2"
	reaches "$1" internet '[2001:db8:cafe::1]:80' "$3"
}

each_other() {
	reaches web db "$(address db 4):80"
	reaches db web "[$(address web 6)]:80"
}

not_each_other() {
	is_closed web db "$(address db 4):80"
	is_closed db web "[$(address web 6)]:80"
	reaches lan db "$(address db 4):80"
	reaches lan web "[$(address web 6)]:80"
}

ends_without_a_trace() {
	stop "$@"
	same_host_as /run/checks/before
}

# The switch gives frames back by the port that they came by, or not.
switch_reflects() { from lan bridge link set dev port0 hairpin "$1"; }

host_state >/run/checks/before

for driver in bridge veth; do
	subnet=$dual
	[[ $driver == bridge ]] || subnet=$routed_dual
	check "$driver: a container of runc's starts" start runc web net.driver=$driver net.subnet=$subnet net.ports=8080:80
	check "$driver: a container of crun's starts" start crun db net.driver=$driver net.subnet=$subnet
	check "$driver: a published port and the internet, IPv4 and IPv6" port_in_and_internet_out
	check "$driver: neighbours reach each other" neighbours_meet
	check "$driver: closed to the LAN otherwise" is_closed_to_the_lan
	check "$driver: a container of another network starts" \
		start runc stranger net.network=other net.subnet=10.93.0.0/24,fd00:93::/64
	check "$driver: networks are apart" is_apart_from stranger
	check "$driver: nothing is wrong" nothing_is_wrong
	check "$driver: all end without a trace" ends_without_a_trace web db stranger
	stop_all
done

for mode in bridge private vepa; do
	check "macvlan $mode: containers of crun's and runc's start" eval "
		start crun web net.driver=macvlan net.mode=$mode net.ip=198.51.100.130,2001:db8:1::130
		start runc db net.driver=macvlan net.mode=$mode net.ip=198.51.100.131,2001:db8:1::131"
	check "macvlan $mode: on the LAN, IPv4 and IPv6" is_on_the_lan web 198.51.100.130 2001:db8:1::130
	case $mode in
	bridge) check "macvlan $mode: they reach each other" each_other ;;
	private)
		switch_reflects on
		check "macvlan $mode: they do not reach each other" not_each_other
		switch_reflects off
		;;
	vepa)
		check "macvlan $mode: they do not reach each other by a switch that does not reflect" not_each_other
		switch_reflects on
		check "macvlan $mode: they reach each other by a switch that does" each_other
		switch_reflects off
		;;
	esac
	check "macvlan $mode: nothing is wrong" nothing_is_wrong
	check "macvlan $mode: both end without a trace" ends_without_a_trace web db
	stop_all
done

host_and_container_meet() {
	local host
	host=$(ip -j -4 address | jq -r '.[] | select(.ifname != "eth0") | .addr_info[] | select(.local | startswith("198.51.100.")) | .local')
	reaches host web 198.51.100.161:80 "$host"
	is_on_the_lan web 198.51.100.161 2001:db8:1::a1
}

check "macvlan host-access: starts" start runc web net.driver=macvlan net.host-access=true \
	net.ip-range=198.51.100.160/28,2001:db8:1::a0/124 net.ip=198.51.100.161,2001:db8:1::a1
check "macvlan host-access: the host and the container reach each other" host_and_container_meet
check "macvlan host-access: ends without a trace" ends_without_a_trace web
stop_all

lan_range=net.subnet=198.51.100.0/24,2001:db8:1::/64
check "macvlan passthru: a container has eth1 for itself" start crun web net.driver=macvlan net.mode=passthru net.parent=eth1 \
	$lan_range net.gateway=198.51.100.1,2001:db8:1::1 net.ip=198.51.100.140,2001:db8:1::140
check "macvlan passthru: on the LAN, IPv4 and IPv6" is_on_the_lan web 198.51.100.140 2001:db8:1::140
check "macvlan passthru: a second is refused" refused 1 "" start runc db net.driver=macvlan net.mode=passthru net.parent=eth1 \
	$lan_range net.ip=198.51.100.141
check "macvlan passthru: ends without a trace" ends_without_a_trace web
stop_all

# Above Ethernet nobody answers for a container's address: the LAN is told the way.
tell_the_lan_the_way() {
	from lan ip route replace 198.51.100.130 via 198.51.100.10
	from lan ip route replace 2001:db8:1::130 via 2001:db8:1::10
	from lan ip route replace 198.51.100.131 via 198.51.100.10
	from lan ip route replace 2001:db8:1::131 via 2001:db8:1::10
}

forget_the_way() { from lan ip route flush proto boot to root 198.51.100.128/29; from lan ip -6 route flush proto boot to root 2001:db8:1::130/127; }

for mode in l2 l3 l3s; do
	check "ipvlan $mode: containers of runc's and crun's start" eval "
		start runc web net.driver=ipvlan net.mode=$mode net.ip=198.51.100.130,2001:db8:1::130
		start crun db net.driver=ipvlan net.mode=$mode net.ip=198.51.100.131,2001:db8:1::131"
	[[ $mode == l2 ]] || tell_the_lan_the_way
	check "ipvlan $mode: on the LAN, IPv4 and IPv6" is_on_the_lan web 198.51.100.130 2001:db8:1::130
	check "ipvlan $mode: they reach each other" each_other
	check "ipvlan $mode: nothing is wrong" nothing_is_wrong
	check "ipvlan $mode: both end without a trace" ends_without_a_trace web db
	forget_the_way
	stop_all
done

# Nobody asks for an address that he knows: who knew it elsewhere has to be told.
takes_an_address_over() {
	local own
	start runc db net.driver=macvlan net.ip=198.51.100.130,2001:db8:1::130
	is_on_the_lan db 198.51.100.130 2001:db8:1::130
	stop db
	start crun web net.driver=ipvlan net.ip=198.51.100.130,2001:db8:1::130
	for own in 198.51.100.130 2001:db8:1::130; do
		expect "where the LAN sends for $own" "$(cat /sys/class/net/eth0/address)" \
			"$(from lan ip -j neighbour show "$own" | jq -r '.[0].lladdr')"
	done
	is_on_the_lan web 198.51.100.130 2001:db8:1::130
}

check "ipvlan l2: an address that a macvlan had is its own at once" takes_an_address_over
check "ipvlan l2: it ends without a trace" ends_without_a_trace web
stop_all

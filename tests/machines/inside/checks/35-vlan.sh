# A VLAN as parent, and as the host's other way out.
# shellcheck shell=bash
topic vlan

vlan_is_on() {
	ip link add link eth0 name eth0.42 type vlan id 42
	ip address add 198.51.142.10/24 dev eth0.42
	ip address add 2001:db8:42::10/64 dev eth0.42 nodad
	ip link set eth0.42 up
	eventually 20 from host curl -gsS -m 5 "http://[2001:db8:42::1]/cgi-bin/who"
}

is_on_the_vlan() {
	reaches lan web 198.51.142.130:80 198.51.142.1
	reaches lan web '[2001:db8:42::130]:80' 2001:db8:42::1
	reaches web internet 198.51.142.1:80 198.51.142.130
	reaches web internet '[2001:db8:42::1]:80' 2001:db8:42::130
}

port_by_the_vlan() {
	reaches lan web 198.51.142.10:8080 198.51.142.1
	reaches lan web '[2001:db8:42::10]:8080' 2001:db8:42::1
	reaches lan web 198.51.100.10:8080
	reaches web internet 198.51.142.1:80 198.51.142.10
}

ends_without_a_trace() {
	stop "$@"
	same_host_as /run/checks/before
}

check "eth0.42 is there and its neighbour answers" vlan_is_on
host_state >/run/checks/before
for kind in macvlan:bridge macvlan:private macvlan:vepa ipvlan:l2; do
	check "${kind/:/ }: a container on eth0.42 starts" start crun web net.driver="${kind%:*}" net.mode="${kind#*:}" net.parent=eth0.42 \
		net.gateway=198.51.142.1,2001:db8:42::1 net.ip=198.51.142.130,2001:db8:42::130
	check "${kind/:/ }: it is a neighbour on the VLAN, IPv4 and IPv6" is_on_the_vlan
	check "${kind/:/ }: nothing is wrong" nothing_is_wrong
	check "${kind/:/ }: it ends without a trace" ends_without_a_trace web
	stop_all
done
check "macvlan passthru: a container has eth0.42 for itself" start runc web net.driver=macvlan net.mode=passthru net.parent=eth0.42 \
	net.gateway=198.51.142.1,2001:db8:42::1 net.ip=198.51.142.130,2001:db8:42::130
check "macvlan passthru: it is a neighbour on the VLAN" is_on_the_vlan
check "macvlan passthru: it ends without a trace" ends_without_a_trace web
stop_all
check "bridge: a container with a published port starts" start runc web net.subnet=10.90.0.0/16,fd00:90::/64 net.ports=8080:80
check "bridge: its port is reached by the VLAN and by eth0, and it leaves by the VLAN" port_by_the_vlan
check "bridge: it ends without a trace" ends_without_a_trace web
stop_all
ip link del eth0.42

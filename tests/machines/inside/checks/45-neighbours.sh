# Docker's, podman's own and anybody's virtual networks go on beside ocinet, whichever came first, and after its last container.
# shellcheck shell=bash
topic neighbours

docker_starts() {
	local name=$1 port=$2
	mkdir -p "$bundles/$name"
	echo docker >"$bundles/$name/runtime"
	docker run -d --name "$name" --hostname "$name" -p "$port:80" machine sh -c "$serve"
}

# podman's own network: netavark's.
podman_starts() {
	local name=$1 port=$2
	mkdir -p "$bundles/$name"
	echo podman-crun >"$bundles/$name/runtime"
	podman run -d --name "$name" --hostname "$name" -p "$port:80" machine sh -c "$serve"
}

# What libvirt, incus and many by hand do: a bridge, and behind it somebody whom the host routes for.
guest_starts() {
	ip netns add guest
	ip link add virbr0 type bridge
	ip address add 192.168.122.1/24 dev virbr0
	ip link set virbr0 up
	ip link add vnet0 type veth peer name eth0 netns guest
	ip link set vnet0 master virbr0 up
	ip -n guest address add 192.168.122.2/24 dev eth0
	ip -n guest link set eth0 up
	ip -n guest route add default via 192.168.122.1
	from lan ip route replace 192.168.122.0/24 via 198.51.100.10
}

guest_ends() {
	ip netns del guest 2>/dev/null
	ip link del virbr0 2>/dev/null
	from lan ip route del 192.168.122.0/24 2>/dev/null
}

# is_served NAME PORT: from outside by its port, from the host, and outwards.
is_served() {
	reaches lan "$1" "198.51.100.10:$2"
	reaches host "$1" "198.51.100.10:$2"
	reaches "$1" internet 203.0.113.1:80 198.51.100.10
}

guest_reaches_the_lan() {
	local answer
	answer=$(ip netns exec guest curl -gsS -m "$patience" http://203.0.113.1/cgi-bin/who)
	expect "who the internet saw" "internet 192.168.122.2" "$answer"
}

guest_listens() { [[ -n $(ip netns exec guest ss -Hltn "sport = :7777") ]]; }

guest_is_reached() {
	nsenter --net=/run/netns/guest socat TCP4-LISTEN:7777,reuseaddr,fork SYSTEM:'echo guest' &
	local server=$! answer
	eventually 20 guest_listens
	answer=$(from lan socat -T "$patience" - TCP4:192.168.122.2:7777,connect-timeout="$patience" </dev/null) || true
	kill "$server"
	expect "the guest's answer" guest "$answer"
}

# All others, and ocinet's own with its port.
all_are_served() {
	is_served dock 8090
	is_served pod 8091
	guest_reaches_the_lan
	is_served web 8080
}

others_are_served() {
	is_served dock 8090
	is_served pod 8091
	guest_reaches_the_lan
}

forwarding() { sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding | tr '\n' ' '; }

# Docker gives the forward chain the policy DROP where it turns forwarding on itself.
forget_docker() {
	systemctl stop docker.service docker.socket containerd.service
	nft flush ruleset
	ip link del docker0 2>/dev/null
	sysctl -qw net.ipv4.ip_forward=0
}

# -- ocinet first, on a host that does not forward
sysctl -qw net.ipv4.ip_forward=0
check "guests: ocinet's container starts on a host that does not forward" start runc web net.ports=8080:80
check "guests: a guest on a bridge starts after it" guest_starts
check "guests: it reaches out and is reached" eval "guest_reaches_the_lan; guest_is_reached"
check "guests: podman's own container starts after it" podman_starts pod 8091
check "guests: podman's container and ocinet's are served" eval "is_served pod 8091; is_served web 8080"
check "guests: nothing is wrong" nothing_is_wrong
check "guests: also after nft flush and reload" eval "nft delete table inet ocinet; ocinet reload; guest_reaches_the_lan; is_served web 8080"
check "guests: ocinet's last container ends" stop web
check "guests: the others are served after it" eval "is_served pod 8091; guest_reaches_the_lan; guest_is_reached"
check "guests: also after ocinet's gc" eval "ocinet gc; is_served pod 8091; guest_reaches_the_lan"
stop pod >/dev/null 2>&1
guest_ends
stop_all

# -- ocinet first, then Docker
sysctl -qw net.ipv4.ip_forward=0
check "docker second: ocinet's container starts" start crun web net.ports=8080:80
check "docker second: Docker starts" eval "systemctl start docker; docker import /var/lib/machine/image.tar machine"
check "docker second: its container starts" docker_starts dock 8090
check "docker second: both are served" eval "is_served dock 8090; obey_doctor; is_served web 8080; is_served dock 8090"
check "docker second: Docker's is served after ocinet's last" eval "stop web; is_served dock 8090"
check "docker second: a new one of Docker's is served" eval "stop dock; docker_starts dock 8090; is_served dock 8090"
stop_all
forget_docker

# -- Docker first
check "docker first: Docker and its container start" eval "systemctl start docker; docker_starts dock 8090"
check "docker first: podman's own container and a guest start" eval "podman_starts pod 8091; guest_starts"
# Docker's policy DROP is for everybody: its administrator lets the others pass.
for bridge in virbr0 podman0; do
	iptables -I DOCKER-USER -i "$bridge" -j ACCEPT
	iptables -I DOCKER-USER -o "$bridge" -j ACCEPT
done
check "docker first: all but ocinet's are served" others_are_served
forwarding >/run/checks/forwarding
check "docker first: ocinet's container starts" start podman-crun web net.driver=bridge net.ports=8080:80
check "docker first: what doctor tells to do about Docker's chain fixes it" obey_doctor
check "docker first: all are served" all_are_served
check "docker first: ocinet's ends and the others are served" eval "stop web; others_are_served"
check "docker first: the host forwards as before" eval 'expect forwarding "$(cat /run/checks/forwarding)" "$(forwarding)"'
stop_all
guest_ends
forget_docker

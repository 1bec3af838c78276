# What an administrator does with a container of podman's in its life.
# shellcheck shell=bash
topic podman

restarts() {
	local before
	before=$(address web 4)
	podman restart -t 0 web
	reaches lan web 198.51.100.10:8080 198.51.100.1
	expect "its address" "$before" "$(address web 4)"
}

stops_and_starts() {
	podman stop -t 0 web
	expect "list while it is stopped" "[]" "$(ocinet list --json)"
	podman start web
	reaches lan web 198.51.100.10:8080
}

is_killed_and_starts() {
	podman kill web
	podman wait web
	podman start web
	reaches lan web 198.51.100.10:8080
}

has_both_families() {
	reaches lan six 198.51.100.10:8082 198.51.100.1
	reaches lan six '[2001:db8:1::10]:8082' 2001:db8:1::1
	reaches six internet '[2001:db8:cafe::1]:80' 2001:db8:1::10
	reaches six web "$(address web 4):81"
}

port_is_taken() {
	refused 126 "" podman run -d --network=none --name other --annotation net.ports=8080:80 machine sleep 60
	podman rm -f other
	journalctl --sync
	journalctl -t ocinet -b --no-pager | grep "failed: cannot publish port 8080/tcp: container"
	reaches lan web 198.51.100.10:8080
}

short_lives_leave_nothing() {
	for _ in 1 2 3; do podman run --rm --network=none --annotation net.driver=bridge machine true; done
	stop web
	eventually 30 same_host_as /run/checks/before
}

# A pod is one network namespace: one of its containers brings the network.
pod_is_reached() {
	podman pod create --network=none --name pod --infra-image machine --infra-command "sleep 3600"
	podman run -d --pod pod --name web --annotation net.ports=8080:80 machine sh -c "$serve"
	podman run -d --pod pod --name mate machine sleep 3600
	podman exec mate ip address
	curl -gsS -m "$patience" --retry 8 --retry-delay 1 --retry-connrefused http://198.51.100.10:8080/cgi-bin/who
	podman pod rm -f -t 0 pod
	eventually 30 same_host_as /run/checks/before
}

host_state >/run/checks/before
start podman-crun web net.driver=bridge net.ports=8080:80 net.subnet="10.90.0.0/16 fd00:90::/64" >/dev/null 2>&1
check "podman restart gives it its address and port again" restarts
check "podman stop and start" stops_and_starts
check "podman kill and start" is_killed_and_starts
check "a second with the same port is refused" port_is_taken
check "a second container with IPv4 and IPv6 starts" \
	start podman-runc six net.ports=8082:80
check "it is reached by both families and reaches its neighbour" has_both_families
check "nothing is wrong" nothing_is_wrong
stop six >/dev/null 2>&1
check "short lives leave nothing" short_lives_leave_nothing
stop_all
check "a pod is reached and leaves nothing" pod_is_reached

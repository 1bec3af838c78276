# A container on the default bridge with a published port, by every runtime: README's own example.
# shellcheck shell=bash
topic runtimes

is_reached() {
	reaches lan web 198.51.100.10:8080 198.51.100.1
	reaches host web 127.0.0.1:8080
	reaches host web 198.51.100.10:8080
	reaches web web 198.51.100.10:8080
}

leaves_by_the_host() { reaches web internet 203.0.113.1:80 198.51.100.10; }

is_closed_otherwise() {
	local own
	own=$(address web 4)
	from lan ip route replace 10.90.0.0/16 via 198.51.100.10
	is_closed lan web 198.51.100.10:81
	is_closed lan web "$own:81"
	is_closed lan web "$own:80"
	reaches host web "$own:81"
	reaches lan web 198.51.100.10:8080
}

is_told_of() {
	local id
	id=$(id_of web)
	expect "list" "$id" "$(ocinet list --json | jq -r '.[].id')"
	ocinet list
	ocinet inspect "$id"
}

# The host's name server, or what a user gave instead, and the container's own name. podman 5 writes /etc/hosts anew before
# the program runs, and poststart tells the name again right after.
resolves() {
	local answer
	answer=$(within web nslookup internet.example)
	expect_in "nslookup" 203.0.113.1 "$answer"
	eventually 30 knows_its_name
}

knows_its_name() {
	local lines
	lines=$(within web grep -w web /etc/hosts)
	expect "its name in /etc/hosts" "$(address web 4)" "$(cut -f 1 <<<"$lines")"
}

ends_without_a_trace() {
	stop web
	same_host_as /run/checks/before
}

# The first container makes the tables, which stay.
start runc first >/dev/null 2>&1
stop first
host_state >/run/checks/before
for runtime in runc crun podman-runc podman-crun; do
	check "$runtime: a container starts" start "$runtime" web net.driver=bridge net.ports=8080:80
	check "$runtime: its port is reached from the LAN, the host and itself" is_reached
	check "$runtime: it reaches the internet behind the host's address" leaves_by_the_host
	check "$runtime: it is closed otherwise" is_closed_otherwise
	check "$runtime: list and inspect tell of it" is_told_of
	case $runtime in podman-*) check "$runtime: it resolves names by the host's name server" resolves ;; esac
	check "$runtime: nothing is wrong" nothing_is_wrong
	check "$runtime: it ends without a trace" ends_without_a_trace
	stop_all
done

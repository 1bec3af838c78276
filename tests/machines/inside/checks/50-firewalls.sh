# Beside nftables.service, firewalld and ufw, with what doctor tells to do.
# shellcheck shell=bash
topic firewalls

web_starts() {
	start runc web net.ports=8080:80
	reaches lan web 198.51.100.10:8080
}

# A published port, and the way out.
is_served() {
	reaches lan web 198.51.100.10:8080 198.51.100.1
	reaches host web 127.0.0.1:8080
	reaches web internet 203.0.113.1:80 198.51.100.10
}

stays_closed() {
	is_closed lan web 198.51.100.10:81
	reaches lan web 198.51.100.10:8080
}

# -- nftables.service empties the whole rule set
check "nftables.service: a container starts" web_starts
check "nftables.service: served after its start" eval "systemctl start nftables; eventually 30 is_served"
check "nftables.service: served after its reload" eval "systemctl reload nftables; eventually 30 is_served"
check "nftables.service: served after its restart" eval "systemctl restart nftables; eventually 30 is_served"
check "nftables.service: nothing is wrong" nothing_is_wrong
check "nftables.service: closed otherwise" stays_closed
systemctl stop nftables
check "nftables.service: served after its stop" eventually 60 is_served
check "a flush by hand is fixed by the timer" eval "nft flush ruleset; eventually 60 is_served"
stop_all

# -- firewalld
# systemd calls firewalld started as soon as it has its name on the bus; its rules come some seconds later.
firewalld_runs() { eventually 60 firewall-cmd --state; }
doctor_names() { refused 1 "it belongs to $1" ocinet doctor; }

check "firewalld: it starts, and then a container" eval "systemctl start firewalld; firewalld_runs; start crun web net.ports=8080:80"
check "firewalld: doctor names it" doctor_names firewalld
check "firewalld: what doctor tells to do fixes it" obey_doctor
check "firewalld: served" is_served
check "firewalld: served after its reload, and doctor is content" eval "firewall-cmd --reload; firewalld_runs; eventually 30 is_served; ocinet doctor"
check "firewalld: served after its restart, and doctor is content" eval "systemctl restart firewalld; firewalld_runs; eventually 30 is_served; ocinet doctor"
check "firewalld: closed otherwise" stays_closed
check "firewalld: a further container needs nothing more" eval "start runc more net.ports=8083:80; reaches lan more 198.51.100.10:8083; reaches more internet 203.0.113.1:80; ocinet doctor"
systemctl stop firewalld
check "firewalld: served after its stop" eventually 60 is_served
stop_all

# -- ufw
check "ufw: it is enabled, and then a container starts" eval "ufw --force enable; start crun web net.ports=8080:80"
check "ufw: doctor names it" doctor_names ufw
check "ufw: what doctor tells to do fixes it" obey_doctor
check "ufw: served" is_served
check "ufw: served after its reload, and doctor is content" eval "ufw reload; eventually 30 is_served; ocinet doctor"
check "ufw: closed otherwise" stays_closed
ufw --force disable >/dev/null
check "ufw: served after it is disabled" eventually 60 is_served
stop_all
ufw --force reset >/dev/null
nft flush ruleset

# -- a flowtable of somebody else's on the uplink
fast_router() {
	local uplink
	uplink=$(ip -o route get 203.0.113.1 | sed 's/.* dev \([^ ]*\) .*/\1/')
	nft -f - <<-EOF
		table inet router {
			flowtable fast { hook ingress priority 0; devices = { $uplink }; }
			chain forward { type filter hook forward priority 10; $1 ct state established flow add @fast; }
		}
	EOF
}
# The first packets may arrive: nothing that comes later does.
stops() { ! from lan curl -gs -m 3 "http://198.51.100.10:8080/cgi-bin/who?stops"; }
doctor_names_the_flowtable() { refused 1 "containers' connections into the flowtable fast" ocinet doctor; }
others_only='iifgroup & 0xff000000 != 0x6f000000 oifgroup & 0xff000000 != 0x6f000000'

check "a flowtable: a container starts" web_starts
check "a flowtable: it stops the container's connections, and doctor names it" eval "fast_router ''; stops; doctor_names_the_flowtable"
check "a flowtable: what doctor tells to do fixes it" eval "obey_doctor; is_served; nft delete table inet router"
check "a flowtable: with the condition that doctor tells, it is in nobody's way" eval "fast_router '$others_only'; is_served; nothing_is_wrong"
stop_all
nft flush ruleset

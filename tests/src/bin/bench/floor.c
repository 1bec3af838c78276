/*
 * The floor: what createRuntime and poststop ask of the kernel for one IPv4 container with one published port, and
 * nothing else. No state, no leases, no parsing, no checks. What it takes is what the kernel takes.
 *
 *   floor up PID HOSTLINK BRIDGE ADDRESS PREFIX GATEWAY HOSTPORT PORT
 *   floor down HOSTLINK BRIDGE ADDRESS HOSTPORT PORT last|more
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/pkt_cls.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_mirred.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static char buffer[16384];
static size_t used;
static unsigned sequence;

static void die(const char *what) {
	perror(what);
	exit(1);
}

static struct nlmsghdr *message(int type, int flags, const void *body, size_t length) {
	struct nlmsghdr *header = (void *)(buffer + used);
	memset(header, 0, NLMSG_LENGTH(length));
	header->nlmsg_type = type;
	header->nlmsg_flags = NLM_F_REQUEST | flags;
	header->nlmsg_seq = ++sequence;
	header->nlmsg_len = NLMSG_LENGTH(length);
	memcpy(NLMSG_DATA(header), body, length);
	used += NLMSG_ALIGN(header->nlmsg_len);
	return header;
}

static struct nlattr *attribute(struct nlmsghdr *header, int type, const void *data, size_t length) {
	struct nlattr *a = (void *)((char *)header + NLMSG_ALIGN(header->nlmsg_len));
	a->nla_type = type;
	a->nla_len = NLA_HDRLEN + length;
	if (length) memcpy((char *)a + NLA_HDRLEN, data, length);
	header->nlmsg_len = NLMSG_ALIGN(header->nlmsg_len) + NLA_ALIGN(a->nla_len);
	used = (char *)header - buffer + header->nlmsg_len;
	return a;
}

static void end(struct nlmsghdr *header, struct nlattr *nest) {
	nest->nla_len = (char *)header + header->nlmsg_len - (char *)nest;
}

static void text(struct nlmsghdr *h, int type, const char *s) { attribute(h, type, s, strlen(s) + 1); }

static int open_netlink(int protocol) {
	int s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	if (s < 0 || connect(s, (void *)&kernel, sizeof kernel)) die("netlink");
	return s;
}

/* Sends what was built and reads every answer; returns the interface index of a link in them. */
static int exchange(int s) {
	static char answers[65536];
	int index = 0;
	ssize_t n;
	if (send(s, buffer, used, 0) != (ssize_t)used) die("send");
	used = 0;
	while ((n = recv(s, answers, sizeof answers, MSG_DONTWAIT)) > 0) {
		for (struct nlmsghdr *h = (void *)answers; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
			if (h->nlmsg_type == RTM_NEWLINK) index = ((struct ifinfomsg *)NLMSG_DATA(h))->ifi_index;
			if (h->nlmsg_type == NLMSG_ERROR) {
				errno = -((struct nlmsgerr *)NLMSG_DATA(h))->error;
				if (errno && errno != ENODEV) die("the kernel refuses");
			}
		}
	}
	return index;
}

static int find(int s, const char *name) {
	struct ifinfomsg link = {0};
	unsigned mask = RTEXT_FILTER_SKIP_STATS;
	struct nlmsghdr *h = message(RTM_GETLINK, 0, &link, sizeof link);
	text(h, IFLA_IFNAME, name);
	attribute(h, IFLA_EXT_MASK, &mask, sizeof mask);
	return exchange(s);
}

static void write_sysctl(const char *link, const char *name, const char *value) {
	char path[128];
	snprintf(path, sizeof path, "/proc/sys/net/%s", name);
	char *at = strstr(path, "LINK");
	if (at) snprintf(path, sizeof path, "/proc/sys/net/%.*s%s%s", (int)(strstr(name, "LINK") - name), name, link, strstr(name, "LINK") + 4);
	int file = open(path, O_WRONLY | O_CLOEXEC);
	if (file < 0 || write(file, value, 1) != 1) die(path);
	close(file);
}

/* The link group of the network, one of ocinet's. */
static const unsigned group = 0x6f000001;
/* The Ethernet address of the bridge, and of the host's ends on it. */
static const unsigned char gateway_mac[6] = {2, 0x6e, 1, 2, 3, 4};

/* The network of a first container: its bridge, with the gateway's address. */
static int make_bridge(int s, const char *name, in_addr_t gateway, int prefix) {
	struct ifinfomsg none = {0};
	unsigned zero = 0;
	unsigned char off = 0;
	struct nlmsghdr *h = message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, &none, sizeof none);
	text(h, IFLA_IFNAME, name);
	attribute(h, IFLA_ADDRESS, gateway_mac, 6);
	attribute(h, IFLA_GROUP, &group, 4);
	struct nlattr *info = attribute(h, IFLA_LINKINFO, NULL, 0);
	text(h, IFLA_INFO_KIND, "bridge");
	struct nlattr *data = attribute(h, IFLA_INFO_DATA, NULL, 0);
	attribute(h, IFLA_BR_FORWARD_DELAY, &zero, 4);
	attribute(h, IFLA_BR_STP_STATE, &zero, 4);
	attribute(h, IFLA_BR_MCAST_SNOOPING, &off, 1);
	end(h, data);
	end(h, info);
	exchange(s);
	int index = find(s, name);
	const char *settings[][2] = {{"ipv4/conf/LINK/route_localnet", "1"}, {"ipv4/conf/LINK/rp_filter", "1"},
		{"ipv4/conf/LINK/send_redirects", "0"}, {"ipv6/conf/LINK/accept_ra", "0"},
		{"ipv6/conf/LINK/accept_dad", "0"}, {"ipv6/conf/LINK/disable_ipv6", "1"}};
	for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) write_sysctl(name, settings[i][0], settings[i][1]);
	struct ifaddrmsg a = {.ifa_family = AF_INET, .ifa_prefixlen = prefix, .ifa_index = index};
	h = message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK, &a, sizeof a);
	attribute(h, IFA_LOCAL, &gateway, 4);
	attribute(h, IFA_ADDRESS, &gateway, 4);
	struct ifinfomsg up = {.ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
	message(RTM_SETLINK, NLM_F_ACK, &up, sizeof up);
	exchange(s);
	return index;
}

static void make_link(int s, const char *host, int bridge, int ns, const unsigned char *mac) {
	struct ifinfomsg up = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP}, none = {0};
	int one = 1;
	struct nlmsghdr *h = message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, &up, sizeof up);
	text(h, IFLA_IFNAME, host);
	attribute(h, IFLA_ADDRESS, gateway_mac, 6);
	attribute(h, IFLA_MASTER, &bridge, sizeof bridge);
	attribute(h, IFLA_NUM_TX_QUEUES, &one, sizeof one);
	attribute(h, IFLA_NUM_RX_QUEUES, &one, sizeof one);
	struct nlattr *info = attribute(h, IFLA_LINKINFO, NULL, 0);
	text(h, IFLA_INFO_KIND, "veth");
	struct nlattr *data = attribute(h, IFLA_INFO_DATA, NULL, 0);
	struct nlattr *peer = attribute(h, VETH_INFO_PEER, &none, sizeof none);
	text(h, IFLA_IFNAME, "eth0");
	attribute(h, IFLA_ADDRESS, mac, 6);
	attribute(h, IFLA_NET_NS_FD, &ns, sizeof ns);
	attribute(h, IFLA_NUM_TX_QUEUES, &one, sizeof one);
	attribute(h, IFLA_NUM_RX_QUEUES, &one, sizeof one);
	end(h, peer);
	end(h, data);
	end(h, info);
	unsigned char hairpin = 1;
	h = message(RTM_NEWLINK, NLM_F_ACK, &none, sizeof none);
	text(h, IFLA_IFNAME, host);
	info = attribute(h, IFLA_LINKINFO, NULL, 0);
	text(h, IFLA_INFO_SLAVE_KIND, "bridge");
	data = attribute(h, IFLA_INFO_SLAVE_DATA, NULL, 0);
	attribute(h, IFLA_BRPORT_MODE, &hairpin, 1);
	end(h, data);
	end(h, info);
	exchange(s);
}

#define LOAD(size, at) BPF_STMT(BPF_LD | BPF_ABS | size, at)
/* Another value ends the program with a verdict. */
#define ONLY(value, verdict) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 1, 0), BPF_STMT(BPF_RET | BPF_K, verdict)
#define UNLESS(value, verdict) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1), BPF_STMT(BPF_RET | BPF_K, verdict)
#define PASS BPF_STMT(BPF_RET | BPF_K, -1)
/* An IPv4 packet of the container's own, as ocinet's filters look at one. */
#define OWN_IPV4(mac, ip, verdict) \
	LOAD(BPF_W, SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT), ONLY(0, verdict), LOAD(BPF_W, 6), ONLY(mac, verdict), LOAD(BPF_H, 10), \
	ONLY(ip & 0xffff, verdict), LOAD(BPF_H, 12), ONLY(ETH_P_IP, verdict), BPF_STMT(BPF_LD | BPF_LEN | BPF_W, 0), \
	BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 34, 1, 0), BPF_STMT(BPF_RET | BPF_K, verdict), LOAD(BPF_W, 26), ONLY(ip, verdict), \
	LOAD(BPF_W, 30), BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xff000000), UNLESS(127u << 24, verdict), PASS

static void filter(int index, unsigned parent, int handle, const struct sock_filter *program, unsigned short length, int bridge) {
	struct tcmsg t = {.tcm_ifindex = index, .tcm_parent = parent, .tcm_handle = handle, .tcm_info = 1 << 16 | htons(ETH_P_ALL)};
	struct nlmsghdr *h = message(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_REPLACE, &t, sizeof t);
	text(h, TCA_KIND, "bpf");
	struct nlattr *options = attribute(h, TCA_OPTIONS, NULL, 0);
	attribute(h, TCA_BPF_OPS_LEN, &length, sizeof length);
	attribute(h, TCA_BPF_OPS, program, length * sizeof *program);
	if (bridge) {
		struct tc_mirred to = {.action = TC_ACT_STOLEN, .eaction = TCA_INGRESS_REDIR, .ifindex = bridge};
		struct nlattr *actions = attribute(h, TCA_BPF_ACT, NULL, 0), *action = attribute(h, 1, NULL, 0);
		text(h, TCA_ACT_KIND, "mirred");
		struct nlattr *of_kind = attribute(h, TCA_ACT_OPTIONS, NULL, 0);
		attribute(h, TCA_MIRRED_PARMS, &to, sizeof to);
		end(h, of_kind);
		end(h, action);
		end(h, actions);
	} else {
		unsigned direct = TCA_BPF_FLAG_ACT_DIRECT;
		attribute(h, TCA_BPF_FLAGS, &direct, sizeof direct);
	}
	end(h, options);
}

/* The filters on the host's end, and where the bridge finds the container. */
static void filters(int s, const char *host, int bridge, const unsigned char *mac, in_addr_t address) {
	int index = if_nametoindex(host);
	unsigned ip = ntohl(address), source = 0x026f0000 | ip >> 16;
	struct sock_filter sender[] = {LOAD(BPF_H, 12), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_ARP, 0, 17), LOAD(BPF_W, 14),
		ONLY(1 << 16 | ETH_P_IP, 2), LOAD(BPF_H, 18), ONLY(6 << 8 | 4, 2), LOAD(BPF_W, 22), ONLY(source, 2), LOAD(BPF_H, 26),
		ONLY(ip & 0xffff, 2), LOAD(BPF_W, 28), ONLY(ip, 2), LOAD(BPF_W, 14), PASS, OWN_IPV4(source, ip, 2)};
	struct sock_filter receiver[] = {LOAD(BPF_W, 6), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x026e0102, 0, 7), LOAD(BPF_H, 10),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x0304, 0, 5), LOAD(BPF_W, SKF_AD_OFF + SKF_AD_MARK),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x20000000, 3, 0), LOAD(BPF_H, 12), ONLY(ETH_P_ARP, 2), PASS};
	struct sock_filter shortcut[] = {LOAD(BPF_W, 0), ONLY(0x026e0102, 0), LOAD(BPF_H, 4), ONLY(0x0304, 0), OWN_IPV4(source, ip, 0)};
	struct ndmsg n = {.ndm_family = PF_BRIDGE, .ndm_ifindex = index, .ndm_state = NUD_NOARP, .ndm_flags = NTF_MASTER | NTF_STICKY};
	attribute(message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &n, sizeof n), NDA_LLADDR, mac, 6);
	struct tcmsg t = {.tcm_ifindex = index, .tcm_parent = TC_H_CLSACT, .tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0)};
	text(message(RTM_NEWQDISC, NLM_F_CREATE, &t, sizeof t), TCA_KIND, "clsact");
	filter(index, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS), 1, sender, sizeof sender / sizeof *sender, 0);
	filter(index, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS), 1, receiver, sizeof receiver / sizeof *receiver, 0);
	filter(index, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS), 2, shortcut, sizeof shortcut / sizeof *shortcut, bridge);
	exchange(s);
}

static void configure(int s, in_addr_t address, int prefix, in_addr_t gateway) {
	int index = find(s, "eth0");
	struct ifinfomsg lo = {.ifi_index = 1, .ifi_flags = IFF_UP, .ifi_change = IFF_UP}, eth = lo;
	eth.ifi_index = index;
	message(RTM_SETLINK, NLM_F_ACK, &lo, sizeof lo);
	message(RTM_SETLINK, NLM_F_ACK, &eth, sizeof eth);
	struct ifaddrmsg a = {.ifa_family = AF_INET, .ifa_prefixlen = prefix, .ifa_index = index};
	struct nlmsghdr *h = message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK, &a, sizeof a);
	attribute(h, IFA_LOCAL, &address, 4);
	attribute(h, IFA_ADDRESS, &address, 4);
	struct rtmsg r = {.rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_BOOT, .rtm_type = RTN_UNICAST};
	h = message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, &r, sizeof r);
	attribute(h, RTA_GATEWAY, &gateway, 4);
	attribute(h, RTA_OIF, &index, 4);
	exchange(s);
}

static void control(int type) {
	struct nfgenmsg g = {.res_id = htons(NFNL_SUBSYS_NFTABLES)};
	message(type, 0, &g, sizeof g);
}

static void element(int type, int flags, int family, const char *set, const void *key, size_t length, const void *value) {
	struct nfgenmsg g = {.nfgen_family = family};
	struct nlmsghdr *h = message(NFNL_SUBSYS_NFTABLES << 8 | type, flags, &g, sizeof g);
	text(h, NFTA_SET_ELEM_LIST_TABLE, "ocinet");
	text(h, NFTA_SET_ELEM_LIST_SET, set);
	struct nlattr *list = attribute(h, NFTA_SET_ELEM_LIST_ELEMENTS | NLA_F_NESTED, NULL, 0);
	struct nlattr *item = attribute(h, NFTA_LIST_ELEM | NLA_F_NESTED, NULL, 0);
	struct nlattr *k = attribute(h, NFTA_SET_ELEM_KEY | NLA_F_NESTED, NULL, 0);
	attribute(h, NFTA_DATA_VALUE, key, length);
	end(h, k);
	if (value) {
		k = attribute(h, NFTA_SET_ELEM_DATA | NLA_F_NESTED, NULL, 0);
		attribute(h, NFTA_DATA_VALUE, value, 8);
		end(h, k);
	}
	end(h, item);
	end(h, list);
}

static void elements(int s, int add, const char *host, in_addr_t ip, int host_port, int port) {
	int type = add ? NFT_MSG_NEWSETELEM : NFT_MSG_DELSETELEM, make = add ? NLM_F_CREATE : 0;
	char source[28] = {0}, member[8], publish[8] = {6}, counter[16] = {0}, to[8] = {0};
	unsigned short hp = htons(host_port), p = htons(port);
	strncpy(source, host, 15);
	source[16] = 2, source[17] = 0x6f;
	memcpy(source + 18, &ip, 4), memcpy(source + 24, &ip, 4);
	memcpy(member, &group, 4), memcpy(member + 4, &ip, 4);
	memcpy(publish + 4, &hp, 2), memcpy(to, &ip, 4), memcpy(to + 4, &p, 2);
	memcpy(counter, &ip, 4), counter[4] = 6, memcpy(counter + 8, &p, 2), memcpy(counter + 12, &hp, 2);
	control(NFNL_MSG_BATCH_BEGIN);
	element(type, make, NFPROTO_BRIDGE, "links", source, 16, NULL);
	element(type, make, NFPROTO_BRIDGE, "source4", source, 28, NULL);
	element(type, make, NFPROTO_INET, "member4", member, 8, NULL);
	element(type, make, NFPROTO_INET, "sent4", &ip, 4, NULL);
	element(type, make, NFPROTO_INET, "received4", &ip, 4, NULL);
	element(type, make, NFPROTO_INET, "masquerade4", &ip, 4, NULL);
	element(type, add ? make | NLM_F_EXCL : 0, NFPROTO_INET, "publish4", publish, 8, add ? to : NULL);
	element(type, make, NFPROTO_INET, "port_in4", counter, 16, NULL);
	element(type, make | NLM_F_ACK, NFPROTO_INET, "port_out4", counter, 16, NULL);
	control(NFNL_MSG_BATCH_END);
	exchange(s);
}

static void network_elements(int s, int add) {
	int type = add ? NFT_MSG_NEWSETELEM : NFT_MSG_DELSETELEM, make = add ? NLM_F_CREATE : 0;
	unsigned key[2] = {group, group};
	control(NFNL_MSG_BATCH_BEGIN);
	element(type, make | NLM_F_ACK, NFPROTO_INET, "within", key, 8, NULL);
	control(NFNL_MSG_BATCH_END);
	exchange(s);
}

int main(int argc, char **argv) {
	int route = open_netlink(NETLINK_ROUTE), nft = open_netlink(NETLINK_NETFILTER);
	if (argc == 10 && !strcmp(argv[1], "up")) {
		char path[64];
		in_addr_t ip = inet_addr(argv[5]);
		unsigned char mac[6] = {2, 0x6f};
		memcpy(mac + 2, &ip, 4);
		snprintf(path, sizeof path, "/proc/%s/ns/net", argv[2]);
		int home = open("/proc/self/ns/net", O_RDONLY), ns = open(path, O_RDONLY);
		int bridge = find(route, argv[4]);
		if (!bridge) {
			network_elements(nft, 1);
			bridge = make_bridge(route, argv[4], inet_addr(argv[7]), atoi(argv[6]));
		}
		elements(nft, 1, argv[3], ip, atoi(argv[8]), atoi(argv[9]));
		make_link(route, argv[3], bridge, ns, mac);
		filters(route, argv[3], bridge, mac, ip);
		if (setns(ns, CLONE_NEWNET)) die("setns");
		int sysctl = open("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", O_WRONLY);
		if (sysctl < 0 || write(sysctl, "1", 1) != 1) die("disable_ipv6");
		int inside = open_netlink(NETLINK_ROUTE);
		if (setns(home, CLONE_NEWNET)) die("setns");
		configure(inside, ip, atoi(argv[6]), inet_addr(argv[7]));
		return 0;
	}
	if (argc == 8 && !strcmp(argv[1], "down")) {
		elements(nft, 0, argv[2], inet_addr(argv[4]), atoi(argv[5]), atoi(argv[6]));
		if (!strcmp(argv[7], "last")) {
			struct ifinfomsg none = {0};
			text(message(RTM_DELLINK, NLM_F_ACK, &none, sizeof none), IFLA_IFNAME, argv[3]);
			exchange(route);
			network_elements(nft, 0);
		}
		if (!fork()) {
			syscall(SYS_close_range, 0, nft - 1, 0);
			syscall(SYS_close_range, nft + 1, ~0U, 0);
			_exit(0);
		}
		return 0;
	}
	return 2;
}

"""The LAN's name server: every name of it that ends in .example is the internet's address, and there is no other."""

import socket
import struct

INTERNET = {1: socket.inet_aton("203.0.113.1"), 28: socket.inet_pton(socket.AF_INET6, "2001:db8:cafe::1")}


def answer(query):
    """A DNS answer to a query with one question."""
    end, labels = 12, []
    while query[end]:
        labels.append(query[end + 1 : end + 1 + query[end]].lower())
        end += 1 + query[end]
    question = query[12 : end + 5]
    (kind,) = struct.unpack("!H", question[-4:-2])
    known = labels[-1:] == [b"example"]
    data = INTERNET.get(kind) if known else None
    flags = 0x8180 if known else 0x8183
    head = query[:2] + struct.pack("!5H", flags, 1, 1 if data else 0, 0, 0)
    record = b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(data)) + data if data else b""
    return head + question + record


def main():
    server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    server.bind(("::", 53))
    while True:
        query, client = server.recvfrom(512)
        server.sendto(answer(query), client)


main()

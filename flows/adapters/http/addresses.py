"""Which IP addresses are public, for requests that must not reach internal services."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
# The only IPv6 block from which IANA has assigned unicast addresses. Outside it are IPv4-compatible and
# -translated, local NAT64, site-local and SRv6 addresses, some of which `ipaddress` considers global.
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NOT_GLOBAL = (
    IPv6Network("3fff::/20"),  # documentation (RFC 9637)
    IPv4Network("192.0.0.0/24"),  # protocol assignments (RFC 6890)
    IPv4Network("192.88.99.0/24"),  # former 6to4 relays (RFC 7526)
)


def is_public(address: str) -> bool:
    """Return whether `address` is a public unicast address; an embedded IPv4 address decides, if any.

    >>> is_public("93.184.215.14"), is_public("10.0.0.1"), is_public("64:ff9b::10.0.0.1")
    (True, False, False)
    """
    ip: IPv4Address | IPv6Address = ip_address(address)
    if isinstance(ip, IPv6Address):
        embedded = IPv4Address(ip.packed[-4:]) if ip in _NAT64 else ip.ipv4_mapped or ip.sixtofour
        ip = embedded or ip
    if isinstance(ip, IPv6Address) and ip not in _GLOBAL_UNICAST:
        return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _NOT_GLOBAL)

"""Requests that are answered: those of pages of this server, opened under a name of this machine.

A page of another site can have its own name resolved to 127.0.0.1 (DNS rebinding). Its requests then
name that site as their host, and are refused.
"""

from collections.abc import Collection, Mapping

NAMES = ("127.0.0.1", "localhost", "[::1]")
"""Names of this machine under which the server may be opened."""

_OWN = ("same-origin", "none")
"""Values of Sec-Fetch-Site for requests of the own pages, and of the address bar."""


def allowed_hosts(port: int) -> frozenset[str]:
    """Return the hosts that requests to a port of this machine may name."""
    hosts = {f"{name}:{port}" for name in NAMES}
    return frozenset(hosts | set(NAMES) if port == 80 else hosts)


def refusal(headers: Mapping[str, str], hosts: Collection[str]) -> str:
    """Return why a request is refused; "" = it is answered.

    Args:
        headers: Headers of the request, by name in lower case.
        hosts: Hosts that a request may name.

    Example:
        >>> hosts = allowed_hosts(8642)
        >>> refusal({"host": "localhost:8642"}, hosts)
        ''
        >>> refusal({"host": "example.org:8642"}, hosts)[:42]
        'Host: expected 127.0.0.1:8642, [::1]:8642,'
    """
    host = headers.get("host", "")
    if host.lower() not in hosts:
        known = ", ".join(sorted(hosts))
        return (
            f"Host: expected {known}, got {host!r:.100}; to open the dashboard of another machine, "
            "forward the same port by ssh"
        )

    origin = headers.get("origin")
    if origin is not None and origin.lower() not in {f"http://{each}" for each in hosts}:
        return f"Origin: expected a page of this server, got {origin!r:.100}"

    # A link on another page may open the dashboard; no other page may load a part of it.
    opens = (
        headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    )
    site = headers.get("sec-fetch-site", "none")
    if site not in _OWN and not opens:
        return f"Sec-Fetch-Site: expected a page of this server, got {site!r:.100}"
    return ""

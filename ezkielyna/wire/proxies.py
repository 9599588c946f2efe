"""The proxy of the environment: HTTP_PROXY, HTTPS_PROXY and NO_PROXY, read once."""

from __future__ import annotations

import ipaddress
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from ezkielyna.wire.target import Origin


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy to connect to; `authorization` is the value of `Proxy-Authorization` or ""."""

    origin: Origin
    authorization: str

    @classmethod
    def at(cls, url: str) -> Proxy:
        """Return the proxy that a URL such as `http://name:secret@proxy:3128` names.

        Raises ValueError, without the URL in it, for anything else: to connect directly in its
        place would go round what the operator asked for.
        """
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("a proxy must be given as http://host:port or https://host:port")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        authorization = ""
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = "Basic " + b64encode(pair.encode()).decode("ascii")
        return cls(Origin(parts.scheme, parts.hostname, port), authorization)


class Proxies:
    """Which proxy stands before an origin, if any.

    Lower-case names win over upper-case ones, as in curl. NO_PROXY takes `*`, host names (their
    subdomains included), addresses, networks such as `10.0.0.0/8`, each with an optional `:port`.
    """

    __slots__ = ("_by_scheme", "_bypassed")

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._by_scheme: dict[str, Proxy] = {}
        for scheme in ("http", "https"):
            # HTTP_PROXY in upper case is what a CGI server makes of a header named `Proxy`.
            name = f"{scheme}_proxy"
            url = environment.get(name)
            if url is None and not (scheme == "http" and "REQUEST_METHOD" in environment):
                url = environment.get(name.upper())
            if url:
                self._by_scheme[scheme] = Proxy.at(url)
        bypassed = environment.get("no_proxy", environment.get("NO_PROXY", ""))
        self._bypassed = [entry for item in bypassed.split(",") if (entry := item.strip().lower())]

    def before(self, origin: Origin) -> Proxy | None:
        """Return the proxy to this origin, None for a direct connection."""
        proxy = self._by_scheme.get(origin.scheme)
        if proxy is None or any(_covers(entry, origin) for entry in self._bypassed):
            return None
        return proxy


def _covers(entry: str, origin: Origin) -> bool:
    """True when an entry of NO_PROXY names the origin."""
    if entry == "*":
        return True
    if _within(entry, origin.host):
        return True
    name, colon, port = entry.rpartition(":")
    if colon and port.isdigit() and "]" not in port and (name.count(":") == 0 or name[-1] == "]"):
        if int(port) != origin.port:
            return False
        entry = name
    name = entry.strip("[]").lstrip(".")
    return origin.host == name or origin.host.endswith("." + name)


def _within(entry: str, host: str) -> bool:
    """True when the entry is a network and the host an address in it."""
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False

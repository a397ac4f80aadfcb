"""Connections to the page: limited in number, and silent ones are dropped."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

_MOST_CONNECTIONS = 32
_HEAD_SECONDS = 5.0
_RETRY_SECONDS = 0.2
_BACKLOG = 100


@dataclass(slots=True)
class _Connection:
    """An accepted connection.

    Attributes:
        address: IP address of the peer.
        transport: closed by the side that finishes first.
        deadline: drops the connection unless a whole request head comes before; None once it has.
    """

    address: str
    transport: asyncio.Transport
    deadline: asyncio.TimerHandle | None

    @property
    def is_open(self) -> bool:
        """True while the connection takes up a file descriptor."""
        return bool(self.transport.get_extra_info("socket").fileno() >= 0)

    def drop(self) -> None:
        """Close without an answer."""
        if self.deadline is not None:
            self.deadline.cancel()
        self.transport.abort()


class Listener:
    """Accepts connections one by one and keeps their number small.

    Servers of asyncio accept as many connections as the system queues, and wait forever for a request, so
    that a stranger could use up every file descriptor that recordings need. Here a connection has
    `_HEAD_SECONDS` to send a request head. If there is no room for a new connection, it replaces the
    oldest one that has not sent a head; if there is none, it is dropped.

    Args:
        host: address or name to listen on.
        port: the port; 0 for any free one.

    Attributes:
        port: the port in use.

    Raises:
        OSError: the address cannot be bound.
    """

    def __init__(self, host: str, port: int) -> None:
        self._sockets: list[socket.socket] = []
        self._connections: dict[object, _Connection] = {}
        self.port = port
        self._most = _most_connections()
        self._most_per_address = max(1, self._most // 2)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, _, _, _, address in dict.fromkeys(found):
                place = (str(address[0]), self.port, *address[2:])
                listening = socket.create_server(place, family=family, backlog=_BACKLOG)
                listening.setblocking(False)
                self._sockets.append(listening)
                self.port = int(listening.getsockname()[1])
        except OSError:
            self.close()
            raise

    async def serve(self, protocol: Callable[[], asyncio.Protocol]) -> None:
        """Accept connections until cancelled.

        Args:
            protocol: creates the protocol of a connection.
        """
        await asyncio.gather(*(self._accept(listening, protocol) for listening in self._sockets))

    def head_arrived(self, protocol: object) -> None:
        """Record that a connection has sent a complete request head, and is no longer timed."""
        connection = self._connections.get(protocol)
        if connection is not None and connection.deadline is not None:
            connection.deadline.cancel()
            connection.deadline = None

    def close(self) -> None:
        """Stop listening; connections stay."""
        for listening in self._sockets:
            listening.close()

    async def _accept(self, listening: socket.socket, protocol: Callable[[], asyncio.Protocol]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, peer = await loop.sock_accept(listening)
            except OSError:  # no file descriptor left, or the peer has gone already
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            address = str(peer[0])
            if not self._make_room(address):
                accepted.close()
                continue
            with suppress(OSError):
                # The protocol is known here before it reads anything, since both run on this loop.
                transport, talk = await loop.connect_accepted_socket(protocol, accepted)
                deadline = loop.call_later(_HEAD_SECONDS, transport.abort)
                self._connections[talk] = _Connection(address, transport, deadline)

    def _make_room(self, address: str) -> bool:
        """Drop a silent connection if there are too many; return whether another one may come."""
        self._connections = {key: c for key, c in self._connections.items() if c.is_open}
        counts = Counter(c.address for c in self._connections.values())
        if counts[address] >= self._most_per_address:
            return self._drop_silent(address)
        if counts.total() >= self._most:
            return self._drop_silent(None)
        return True

    def _drop_silent(self, address: str | None) -> bool:
        for key, connection in self._connections.items():  # the oldest first
            if connection.deadline is not None and address in (None, connection.address):
                connection.drop()
                del self._connections[key]
                return True
        return False


def _most_connections() -> int:
    """Connections allowed at once: at most a quarter of the file descriptors that the process may have."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return _MOST_CONNECTIONS
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_CONNECTIONS if soft < 0 else max(2, min(_MOST_CONNECTIONS, soft // 4))

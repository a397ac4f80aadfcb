"""What each browser is sent: the newest pictures alone, no faster than it draws them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict

from aiohttp import WSMsgType, web

from rtdeblur.live.displays import Command, LivePicture, LiveStatus

# One message travels while another is drawn.
_UNDRAWN = 2
_DRAWN = "drawn"
_REQUESTS = {c.value: c for c in Command if c is not Command.QUIT}
_MOST_BYTES = 64  # of a message from a browser

Encode = Callable[[LivePicture], tuple[bytes, bytes]]


class Newest:
    """The newest picture and status, and who waits for them; all on the server's event loop.

    Args:
        encode: gives the blurred and the restored picture as JPEG; called in another thread, once a
            picture, and only while some browser is ready for it.
    """

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._picture: LivePicture | None = None
        self._status: LiveStatus | None = None
        self._pictures = self._changes = 0
        self._encoded: tuple[int, asyncio.Future[tuple[bytes, bytes]]] | None = None
        self._changed = asyncio.Event()

    def put(self, picture: LivePicture | None, status: LiveStatus) -> None:
        """Take a picture, or None for the last one, and a status."""
        if picture is None and status == self._status:
            return
        if picture is not None:
            self._picture = picture
            self._pictures += 1
        self._status = status
        self._changes += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def after(self, changes: int, pictures: int) -> tuple[int, int, bytes]:
        """Wait for more than was sent; give the new counts and the message.

        A message is the length of its head (4 bytes, little-endian), the head (JSON: the status, and the
        lengths of two pictures) and the blurred and the restored picture, empty where they did not change.
        """
        while self._changes == changes:
            await self._changed.wait()
        changes, newest, status, pair = self._changes, self._pictures, self._status, (b"", b"")
        assert status is not None
        if newest != pictures:
            pair = await self._jpegs()
        head = json.dumps({**asdict(status), "bytes": [len(pair[0]), len(pair[1])]}).encode()
        return changes, newest, len(head).to_bytes(4, "little") + head + pair[0] + pair[1]

    async def _jpegs(self) -> tuple[bytes, bytes]:
        """Encode the newest picture, once for all who ask."""
        if self._encoded is None or self._encoded[0] != self._pictures:
            assert self._picture is not None
            encoding = asyncio.get_running_loop().run_in_executor(None, self._encode, self._picture)
            self._encoded = self._pictures, encoding
        return await asyncio.shield(self._encoded[1])


async def serve(socket: web.WebSocketResponse, newest: Newest, request: Callable[[Command], None]) -> None:
    """Send to one browser until it goes, and hand on what it asks for."""
    room = asyncio.BoundedSemaphore(_UNDRAWN)
    sending = asyncio.create_task(_send(socket, newest, room))
    try:
        async for message in socket:
            if message.type is not WSMsgType.TEXT or len(message.data) > _MOST_BYTES:
                break
            if message.data == _DRAWN:
                room.release()
            elif message.data in _REQUESTS:
                request(_REQUESTS[message.data])
            else:
                break
    except ValueError:  # more was drawn than was sent
        pass
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _send(socket: web.WebSocketResponse, newest: Newest, room: asyncio.BoundedSemaphore) -> None:
    changes = pictures = 0
    while True:
        await room.acquire()
        changes, pictures, message = await newest.after(changes, pictures)
        await socket.send_bytes(message)

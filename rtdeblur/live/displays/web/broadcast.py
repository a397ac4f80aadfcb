"""Broadcast to browsers: each gets only the newest pictures, no faster than it draws them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from aiohttp import WSMsgType, web

from rtdeblur.live.displays import Action, LivePicture, LiveStatus
from rtdeblur.live.displays.web.requests import parse

# One message travels while another is drawn.
_UNDRAWN = 2
_DRAWN = "drawn"
_MOST_SAVED = 6

Encode = Callable[[LivePicture], tuple[bytes, bytes]]
Offer = Callable[[Path], dict[str, str | int]]


class Broadcast:
    """The newest picture and status, for all browsers; used only on the server's event loop.

    Args:
        encode: returns the blurred and the restored picture as JPEG; called in another thread, once per
            picture, and only while some browser is ready for it.
        offer: describes a saved file for the page.
    """

    def __init__(self, encode: Encode, offer: Offer) -> None:
        self._encode, self._offer = encode, offer
        self._picture: LivePicture | None = None
        self._status: LiveStatus | None = None
        self._pictures = self._changes = 0
        self._encoded: tuple[int, asyncio.Future[tuple[bytes, bytes]]] | None = None
        self._changed = asyncio.Event()

    def put(self, picture: LivePicture | None, status: LiveStatus) -> None:
        """Take a status and a picture, or None to keep the last one."""
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
        """Wait for something newer than what was sent.

        Args:
            changes: count of changes sent so far, 0 at first.
            pictures: count of pictures sent so far, 0 at first.

        Returns:
            The new counts, and the message: the length of its head (4 bytes, little-endian), the head (JSON:
            the status, and the lengths of two JPEGs in bytes), then the blurred and the restored picture;
            both are empty if the picture did not change.
        """
        while self._changes == changes:
            await self._changed.wait()
        changes, newest, status, pair = self._changes, self._pictures, self._status, (b"", b"")
        assert status is not None
        if newest != pictures:
            pair = await self._jpegs()
        saved = [self._offer(path) for path in status.saved[-_MOST_SAVED:]]
        fields = {**asdict(status), "quality": status.quality, "saved": saved}
        head = json.dumps({**fields, "bytes": [len(pair[0]), len(pair[1])]}).encode()
        return changes, newest, len(head).to_bytes(4, "little") + head + pair[0] + pair[1]

    async def _jpegs(self) -> tuple[bytes, bytes]:
        """Encode the newest picture, once for all browsers."""
        if self._encoded is None or self._encoded[0] != self._pictures:
            assert self._picture is not None
            encoding = asyncio.get_running_loop().run_in_executor(None, self._encode, self._picture)
            self._encoded = self._pictures, encoding
        return await asyncio.shield(self._encoded[1])


async def talk(
    socket: web.WebSocketResponse, broadcast: Broadcast, request: Callable[[Action], None]
) -> None:
    """Send to one browser until it goes, and pass on what its user requests.

    A message that the page never sends ends the connection.
    """
    room = asyncio.BoundedSemaphore(_UNDRAWN)
    sending = asyncio.create_task(_send(socket, broadcast, room))
    try:
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            if message.data == _DRAWN:
                room.release()
                continue
            action = parse(message.data)
            if action is None:
                break
            request(action)
    except ValueError:  # more was drawn than was sent
        pass
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _send(socket: web.WebSocketResponse, broadcast: Broadcast, room: asyncio.BoundedSemaphore) -> None:
    changes = pictures = 0
    while True:
        await room.acquire()
        changes, pictures, message = await broadcast.after(changes, pictures)
        await socket.send_bytes(message)

"""Callers who leave before they have heard anything: what was begun for them ends at once."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

T = TypeVar("T")
GONE = 499  # status of an answer to a caller who has left, which nobody reads


async def unless_gone(request: Request, coming: Awaitable[T]) -> T:
    """What comes, unless the caller leaves before.

    Raises:
        ClientDisconnect: the caller has left.
    """
    wanted = asyncio.ensure_future(coming)
    left = asyncio.ensure_future(_leaving(request))
    try:
        await asyncio.wait({wanted, left}, return_when=asyncio.FIRST_COMPLETED)
        if not wanted.done():
            raise ClientDisconnect
        return wanted.result()
    finally:
        wanted.cancel()
        left.cancel()


async def _leaving(request: Request) -> None:
    """Wait until the caller of a request that was read has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass

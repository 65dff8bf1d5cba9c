"""Asks an application in this process, without its start and without a server."""

import asyncio
from typing import Any

import httpx

_HOST = httpx.URL("http://localhost")


def asked(app: Any, method: str, path: str, **options: Any) -> httpx.Response:
    """Return the answer to a request; the path is sent as it is."""

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            return await client.request(method, _HOST.copy_with(raw_path=path.encode()), **options)

    return asyncio.run(ask())

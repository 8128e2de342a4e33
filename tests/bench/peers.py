"""What the journal is compared with, over the same HTTP: an answer alone, an INSERT, a chain by trigger.

    python -m tests.bench.peers KIND PORT [DSN]     KIND: bare, plain or chained

Each is what one would write with aiohttp, uvloop, msgspec and asyncpg; none checks a credential, encrypts or signs.
"""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
import uvloop
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CONNECTIONS = 8
ROUTE = "/v1/categories/{category}/events"
# As many bytes as a receipt.
ANSWER = b'{"receipts":["%b"]}' % (b"x" * 900)
INSERT = {
    "plain": "INSERT INTO peer.plain (tenant, category, event_id, body) VALUES ($1, $2, $3, $4) RETURNING id",
    "chained": "INSERT INTO peer.chained (tenant, category, event_id, body) VALUES ($1, $2, $3, $4) RETURNING index",
}
INSERT_MANY = {
    name: f"INSERT INTO peer.{name} (tenant, category, event_id, body) "
    f"SELECT $1, $2, e.* FROM unnest($3::text[], $4::text[]) AS e RETURNING {key}"
    for name, key in (("plain", "id"), ("chained", "index"))
}

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def make_handler(kind: str, pool: asyncpg.Pool) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return the handler of a peer that writes."""
    one, many = INSERT[kind], INSERT_MANY[kind]

    async def post(request: web.Request) -> web.Response:
        tenant, category = request.headers["Authorization"].split()[1], request.match_info["category"]
        given: Any = _decode(await request.read())
        if isinstance(given, dict):
            body = _encode(given).decode()
            keys = [await pool.fetchval(one, tenant, category, given["id"], body)]
        else:
            bodies = [_encode(event).decode() for event in given]
            rows = await pool.fetch(many, tenant, category, [event["id"] for event in given], bodies)
            keys = [row[0] for row in rows]
        return web.Response(status=201, body=_encode({"recorded": keys}), content_type="application/json")

    return post


async def bare(request: web.Request) -> web.Response:
    """Answer."""
    await request.read()
    return web.Response(status=201, body=ANSWER, content_type="application/json")


async def make_app(kind: str, dsn: str) -> web.Application:
    """Return the application."""
    app = web.Application(client_max_size=1 << 26)
    if kind == "bare":
        app.router.add_post(ROUTE, bare)
    else:
        pool = await asyncpg.create_pool(dsn, min_size=CONNECTIONS, max_size=CONNECTIONS)
        app.router.add_post(ROUTE, make_handler(kind, pool))
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    return app


def main() -> None:
    """Serve until killed."""
    kind, port, dsn = [*sys.argv[1:], ""][:3]
    uvloop.install()
    web.run_app(make_app(kind, dsn), host="127.0.0.1", port=int(port), access_log=None, print=None)


if __name__ == "__main__":
    main()

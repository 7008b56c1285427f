"""How much one visitor may ask for: upload sizes, queue, deadlines and a rate limit."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

MAX_UPLOAD = "50mb"
QUEUE_SIZE = 32
HEAVY = {"concurrency_id": "heavy", "concurrency_limit": 1}
"""One heavy job at a time on a machine, whichever endpoint it came through."""
FIT_SECONDS = {"fast": 60, "default": 150, "full": 600}
"""GPU seconds that a fit asks ZeroGPU for."""
DEADLINES = {"fast": 600.0, "default": 1200.0, "full": 3600.0}
"""Seconds after which a fit is stopped, on the slowest machine that is meant to run it."""
ANIMATE_DEADLINE = 1800.0
"""The same for a video or an export."""
REQUESTS_A_MINUTE = 120
"""POST requests of one visitor; a person clicking makes a few dozen. ``ONESHOT_RATE`` changes it, 0 switches it off."""
MAX_VISITORS = 10_000

Scope = MutableMapping[str, Any]


def fit_deadline(quality: str) -> float:
    """Seconds after which a fit is stopped."""
    return DEADLINES.get(quality, DEADLINES["default"])


class RateLimit:
    """ASGI middleware: a token bucket per visitor for everything that makes work (POST).

    A courtesy limit, not a wall: behind a proxy the visitor is who ``X-Forwarded-For`` says, which can be forged.

    Args:
        app: the application behind.
        per_minute: requests a minute, and how many may come at once; 0 for no limit.
        behind_proxy: read the visitor from ``X-Forwarded-For``, as on a Space.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], per_minute: int, behind_proxy: bool = False) -> None:
        self._app, self._rate, self._behind_proxy = app, per_minute, behind_proxy
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Pass a request on, or answer it with 429."""
        if scope["type"] == "http" and scope["method"] == "POST" and self._rate:
            wait = self.wait(self._visitor(scope), time.monotonic())
            if wait > 0:
                return await _refuse(send, wait)
        await self._app(scope, receive, send)

    def wait(self, visitor: str, now: float) -> float:
        """Take one token of a visitor; 0, or the seconds until there is one."""
        with self._lock:
            left, then = self._buckets.pop(visitor, (float(self._rate), now))
            left = min(float(self._rate), left + (now - then) * self._rate / 60)
            granted = left >= 1
            self._buckets[visitor] = (left - granted, now)
            while len(self._buckets) > MAX_VISITORS:
                self._buckets.popitem(last=False)
            return 0.0 if granted else (1 - left) * 60 / self._rate

    def _visitor(self, scope: Scope) -> str:
        if self._behind_proxy:
            for name, value in scope.get("headers", ()):
                if name == b"x-forwarded-for":
                    return value.decode("latin-1").split(",")[0].strip()[:64]
        return (scope.get("client") or ("unknown",))[0]


async def _refuse(send: Any, wait: float) -> None:
    seconds = max(1, round(wait + 0.5))
    body = json.dumps({"detail": f"That was too many requests at once; try again in {seconds} s."}).encode()
    headers = [(b"content-type", b"application/json"), (b"retry-after", str(seconds).encode())]
    await send({"type": "http.response.start", "status": 429, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def middleware() -> list[Any]:
    """What ``launch(app_kwargs={"middleware": ...})`` takes."""
    from starlette.middleware import Middleware

    rate = int(os.environ.get("ONESHOT_RATE", REQUESTS_A_MINUTE))
    return [Middleware(RateLimit, per_minute=rate, behind_proxy=bool(os.environ.get("SPACE_ID")))]  # type: ignore[arg-type]

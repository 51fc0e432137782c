"""Who may ask: pages of this server alone, by the names of this machine."""

from __future__ import annotations

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HOST = re.compile(r"(127\.0\.0\.1|localhost)(:\d{1,5})?")
# Nothing from elsewhere, no script in the page itself, no form that leads away; framed by notebooks on this machine only.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self' http://localhost:* http://127.0.0.1:* vscode-webview:"
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """Rejects requests under another name, as DNS rebinding makes them, and those that pages from elsewhere make; adds the headers.

    The port is free: a tunnel to this machine may have another one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        reason = _rejection(Headers(scope=scope))
        answer = self._app if reason is None else PlainTextResponse(reason, 403)
        await answer(scope, receive, send_with_headers)


def _rejection(headers: Headers) -> str | None:
    """Why a request is rejected; None where it is not."""
    host, origin = headers.get("host", ""), headers.get("origin")
    if not _HOST.fullmatch(host):
        return "This server answers to 127.0.0.1 and localhost only."
    if origin is not None and origin != f"http://{host}":
        return "This server answers to its own pages only."
    # what another site loads into its page; following a link to this one, or framing it, is navigation
    if headers.get("sec-fetch-site") in ("cross-site", "same-site") and headers.get("sec-fetch-mode") != "navigate":
        return "This server answers to its own pages only."
    return None

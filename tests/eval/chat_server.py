"""A server on this machine that speaks the chat API, and misbehaves as it is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias


@dataclass(frozen=True)
class Raw:
    """An answer of any kind."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    """Between the headers and the body, of which each byte then takes as long."""


Says: TypeAlias = Callable[[dict[str, Any]], "str | int | bytes | Raw | None"]
"""From a request's body to what the model says, an HTTP status, a raw body, more than that, or nothing for a closed
connection."""


class ChatServer:
    """Remembers what it was asked, and how."""

    def __init__(self) -> None:
        self.says: Says = lambda body: "8 4\nThe first is better."
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.methods: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.methods.append("GET")
                self.send_error(404)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.methods.append("POST")
                outer.bodies.append(body)
                outer.headers.append(dict(self.headers))
                outer.paths.append(self.path)
                with suppress(OSError):  # who asked has gone
                    self._answer(outer.says(body))

            def _answer(self, said: str | int | bytes | Raw | None) -> None:
                if said is None:
                    self.close_connection = True
                    return
                raw = _raw(said)
                self.send_response(raw.status)
                for name, value in raw.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                for place in range(len(raw.body)) if raw.seconds else ():
                    time.sleep(raw.seconds)
                    self.wfile.write(raw.body[place : place + 1])
                self.wfile.write(b"" if raw.seconds else raw.body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def question(self, number: int) -> str:
        """The text of the last message of a request."""
        return text_of(self.bodies[number])


def text_of(body: dict[str, Any]) -> str:
    """The words of the last message."""
    content = body["messages"][-1]["content"]
    return str(content if isinstance(content, str) else content[-1]["text"])


def _raw(said: str | int | bytes | Raw) -> Raw:
    if isinstance(said, Raw):
        return said
    if isinstance(said, int):
        return Raw(said, b"an explanation")
    if isinstance(said, bytes):
        return Raw(body=said)
    return Raw(body=json.dumps({"choices": [{"message": {"role": "assistant", "content": said}}]}).encode())


@contextmanager
def serving() -> Iterator[ChatServer]:
    """A server that runs until the block ends."""
    made = ChatServer()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()

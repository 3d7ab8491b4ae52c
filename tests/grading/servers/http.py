"""A small HTTP/1.1 server in a thread: real connections, which it can also hang up on or leave waiting."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Reply:
    """What comes back. `hang_up` closes the connection after so many bytes of the body; `slow` waits for the other side to hang up."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    hang_up: int | None = None
    slow: bool = False


HANG_UP = Reply(hang_up=0)
SLOW = Reply(slow=True)


class Server:
    """Answers by `respond(request) -> Reply`. `faults` are replies that come first, one for each request in turn; `seen` are all requests."""

    def __init__(self) -> None:
        self.faults: list[Reply] = []
        self.seen: list[Request] = []
        self.open = self.most_open = 0
        self.url = ""

    def respond(self, request: Request) -> Reply:
        raise NotImplementedError

    def bodies(self, path: str) -> list[Any]:
        return [request.body for request in self.seen if request.method == "POST" and request.path == path]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await _read(reader):
                self.seen.append(request)
                self.open += 1
                self.most_open = max(self.most_open, self.open)
                try:
                    reply = self.faults.pop(0) if self.faults else self.respond(request)
                    await asyncio.sleep(0.001)  # so that requests that are sent together are open together
                    if reply.slow:
                        await reader.read(1)
                    await _write(writer, reply)
                    if reply.hang_up is not None or reply.slow:
                        return
                finally:
                    self.open -= 1
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    @contextmanager
    def running(self) -> Iterator[Self]:
        ready = threading.Event()
        loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

        async def run() -> None:
            stop = asyncio.Event()
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**26)
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            loops.append((asyncio.get_running_loop(), stop))
            ready.set()
            await stop.wait()
            server.close()

        thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
        thread.start()
        ready.wait()
        try:
            yield self
        finally:
            loop, stop = loops[0]
            loop.call_soon_threadsafe(stop.set)
            thread.join()


async def _read(reader: asyncio.StreamReader) -> Request | None:
    head = await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""
    if not head:
        return None
    first, *lines = head.decode().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    data = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method, path.partition("?")[0], headers, json.loads(data) if data else None)


async def _write(writer: asyncio.StreamWriter, reply: Reply) -> None:
    if reply.slow or reply.hang_up == 0:
        return
    body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body))} | reply.headers
    lines = [f"HTTP/1.1 {reply.status} {_phrase(reply.status)}", *(f"{name}: {value}" for name, value in headers.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body[: reply.hang_up])
    await writer.drain()


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in set(HTTPStatus) else "Overloaded"

from collections.abc import Awaitable, Callable

import pytest
import trio
from hypercorn.typing import ASGIFramework, ASGIReceiveCallable, ASGISendCallable, Scope

from engine.messages.admission import Ticket
from tests.web.front import Front
from web.media import Line, MediaDoor, beside
from web.server import serve

Answer = Callable[[Line], Awaitable[None]]


@pytest.fixture
async def open_front(nursery: trio.Nursery) -> Callable[..., Awaitable[str]]:
    """Serve the whole front on a free loopback port, with `answer` for a call; returns HOST:PORT."""

    async def open_it(
        answer: Answer, *, front: Front | None = None, write_deadline_s: float = 5.0, leave_s: float = 1.0
    ) -> str:
        front = front or Front()

        async def answer_it(line: Line, _ticket: Ticket) -> None:
            await answer(line)

        both = beside(front.app, MediaDoor(front.door, answer_it, leave_s=leave_s))

        async def run(*, task_status: trio.TaskStatus[list[str]]) -> None:
            await serve(both, bind="127.0.0.1:0", write_deadline_s=write_deadline_s, task_status=task_status)

        addresses: list[str] = await nursery.start(run)
        return addresses[0]

    return open_it


@pytest.fixture
def plain_app() -> ASGIFramework:
    """The least ASGI app: a lifespan, and 204 for every request."""

    async def app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app

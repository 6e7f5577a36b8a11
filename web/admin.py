"""What only an operator may ask of a server: that a call fails, and how. Offered where a server was started for it.

POST /admin/faults              {"call_sid": "CA…", "seed": 7, "faults": [{"kind": "kill", "on": "stt.session"}]}
GET  /admin/faults/CA…          the call's report, as `engine.faulty.report.Report` has it
"""

import hmac
import ipaddress
import json
import re
from typing import Final

import attrs
import structlog
from quart import Response, request
from quart_trio import QuartTrio

from engine.faults import Place, read_faults, read_table
from engine.faulty import FaultBoard
from web.door import FrontDoor
from web.proxies import Request, header, names_the_world

FAULTS: Final = "/admin/faults"

log = structlog.get_logger()


@attrs.frozen(kw_only=True)
class _Order:
    call_sid: str
    seed: int = 0

    def __attrs_post_init__(self) -> None:
        if not re.fullmatch("CA[0-9a-f]{32}", self.call_sid):
            raise ValueError(f"call_sid is {self.call_sid[:40]!r}; expected 'CA' and 32 hexadecimal digits")


def offer_faults(app: QuartTrio, door: FrontDoor, board: FaultBoard, *, token: str) -> None:
    """Have the app take faults for calls that are to come, and give their reports.

    token: who bears it may ask from anywhere; "": this machine alone may. To all others there is nothing here. A body
    is at most as long as a form of the phone network's.
    """

    def is_allowed() -> bool:
        return is_local(door, request.scope) or bears(request.scope, token)

    def nothing() -> Response:
        door.refuse("admin", "not allowed", request.scope)
        return _text("not found", 404)

    @app.post(FAULTS)
    async def order() -> Response:
        if not is_allowed():
            return nothing()
        # A page in a browser on this machine cannot send that without asking first.
        if request.mimetype != "application/json":
            return _text("expected a body of application/json", 415)
        try:
            body = json.loads(await request.get_data())
        except (ValueError, RecursionError) as error:
            return _text(f"not JSON: {error}", 400)
        mistakes: list[str] = []

        def wrong(at: Place, why: str) -> None:
            path = "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in at).removeprefix(".")
            mistakes.append(f"{path}: {why}" if path else why)

        table = dict(body) if isinstance(body, dict) else body
        tables = table.pop("faults", []) if isinstance(table, dict) else []
        faults = read_faults(tables, wrong, vendors=board.vendors, at=("faults",))
        asked = read_table(table, _Order, wrong, ())
        if asked is None or mistakes:
            return _text("\n".join(mistakes), 400)
        board.order(asked.call_sid, faults, asked.seed)
        log.warning("faults_ordered", call_sid=asked.call_sid, faults=[str(fault) for fault in faults])
        return Response("", 204)

    @app.get(f"{FAULTS}/<call_sid>")
    async def report(call_sid: str) -> Response:
        if not is_allowed():
            return nothing()
        found = board.report(call_sid)
        if found is None:
            return _text("no faults were ordered for a call of that SID, or it has not come", 404)
        return Response(json.dumps(found.as_json()), content_type="application/json")


def is_local(door: FrontDoor, scope: Request) -> bool:
    """Whether a request comes from this very machine, and nobody passed it on.

    A proxy that does not say that it is one, and a browser that was told that a page's name is here, ask for a name.
    """
    asker = door.asker(scope)
    try:
        return asker.is_neighbour and ipaddress.ip_address(asker.client).is_loopback and not names_the_world(scope)
    except ValueError:
        return False


def bears(scope: Request, token: str) -> bool:
    """Whether a request bears the admin token; nobody bears an empty one."""
    written = header(scope, b"authorization") or ""
    return bool(token) and hmac.compare_digest(written.encode(), f"Bearer {token}".encode())


def _text(text: str, status: int) -> Response:
    return Response(f"{text}\n", status, content_type="text/plain; charset=utf-8")

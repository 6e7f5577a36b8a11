"""Faults by HTTP: who may order them, how a bad order is refused, and that there is nothing there for all others."""

import json
from typing import Any

import pytest

from engine.faults import VENDORS, Kill, Refuse, Stall
from engine.faulty import FaultBoard, Report
from tests.web.front import CALL_SID, Front
from web.admin import offer_faults
from web.door import DoorPolicy

TOKEN = "a-long-secret"
ORDER = {
    "call_sid": CALL_SID,
    "seed": 7,
    "faults": [{"kind": "kill", "on": "stt.session", "after": "3rd interim"}, {"kind": "stall", "on": "llm", "at": 3}],
}


def front(*, token: str = TOKEN, proxies: tuple[str, ...] = ()) -> tuple[Front, FaultBoard]:
    made, board = Front(policy=DoorPolicy(trusted_proxies=proxies)), FaultBoard(vendors=VENDORS)
    offer_faults(made.app, made.door, board, token=token)
    return made, board


async def post(
    made: Front, body: Any = ORDER, *, peer: str = "127.0.0.1", content_type: str = "application/json", **headers: str
) -> tuple[int, str]:
    response = await made.app.test_client().post(
        "/admin/faults",
        data=body if isinstance(body, str) else json.dumps(body),
        headers={name.replace("_", "-"): value for name, value in headers.items()} | {"content-type": content_type},
        scope_base={"client": (peer, 5)},
    )
    return response.status_code, await response.get_data(as_text=True)


async def get(made: Front, call_sid: str = CALL_SID, *, peer: str = "127.0.0.1", **headers: str) -> tuple[int, str]:
    response = await made.app.test_client().get(
        f"/admin/faults/{call_sid}", headers=headers, scope_base={"client": (peer, 5)}
    )
    return response.status_code, await response.get_data(as_text=True)


async def test_a_server_that_was_not_started_for_it_has_nothing_there() -> None:
    made = Front()
    assert (await post(made))[0] == 404
    assert (await get(made))[0] == 404


async def test_this_machine_may_order_faults() -> None:
    made, board = front()
    assert await post(made) == (204, "")
    assert board._orders[CALL_SID] == ((Kill("stt.session", after="3rd interim"), Stall("llm", at=3)), 7)


@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        ("203.0.113.9", {}),
        ("203.0.113.9", {"authorization": "Bearer wrong"}),
        ("203.0.113.9", {"authorization": TOKEN}),
        ("203.0.113.9", {"authorization": "Bearer "}),
        ("127.0.0.1", {"x_forwarded_for": "203.0.113.9"}),  # a tunnel ends on this machine too
        ("127.0.0.1", {"host": "calls.example.com"}),  # so does a proxy that does not say so, and a page's name may
        ("10.0.0.1", {}),  # a trusted proxy is not this machine
    ],
)
async def test_for_all_others_there_is_nothing_there_and_that_is_counted(peer: str, headers: dict[str, str]) -> None:
    made, board = front(proxies=("10.0.0.1",))
    board._reports[CALL_SID] = Report()
    assert await post(made, peer=peer, **headers) == (404, "not found\n")
    assert (await get(made, peer=peer, **{name.replace("_", "-"): value for name, value in headers.items()}))[0] == 404
    assert not board._orders
    assert made.refused == [("admin", "not allowed")] * 2


async def test_who_bears_the_token_may_order_from_anywhere() -> None:
    made, board = front()
    assert (await post(made, peer="203.0.113.9", authorization=f"Bearer {TOKEN}"))[0] == 204
    board._reports[CALL_SID] = Report()
    assert (await get(made, peer="203.0.113.9", authorization=f"Bearer {TOKEN}"))[0] == 200


async def test_without_a_token_nobody_bears_it() -> None:
    made, _ = front(token="")
    for bearer in ("Bearer ", "Bearer", "Bearer None"):
        assert (await post(made, peer="203.0.113.9", authorization=bearer))[0] == 404


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("", "not JSON: "),
        ("[" * 100_00, "not JSON: "),
        ("[]", "expected a table, got []"),
        ({**ORDER, "sede": 1}, "sede: unknown key; did you mean 'seed'?"),
        ({**ORDER, "seed": "1"}, "seed: expected a whole number, got '1'"),
        ({**ORDER, "call_sid": "CA1"}, "call_sid is 'CA1'; expected 'CA' and 32 hexadecimal digits"),
        ({"faults": []}, "call_sid: missing"),
        ({**ORDER, "faults": {}}, "faults: expected a list of tables, got {}"),
        ({**ORDER, "faults": [{"kind": "kil"}]}, "faults[0].kind: unknown kind 'kil'; did you mean 'kill'?"),
        (
            {**ORDER, "faults": [{"kind": "kill", "on": "deepgrm"}]},
            "faults[0].on: unknown place 'deepgrm'; did you mean",
        ),
        (
            {**ORDER, "faults": [{"kind": "delay", "on": "llm", "by_s": 10**400}]},
            "faults[0].by_s: expected a number, got 1000",
        ),
        ({**ORDER, "faults": [ORDER["faults"][0]] * 101}, "faults: expected 100 faults at most, got 101"),  # type: ignore[index]
    ],
)
async def test_a_bad_order_is_refused_with_its_mistakes(body: Any, why: str) -> None:
    made, board = front()
    status, text = await post(made, body)
    assert status == 400
    assert text.startswith(why)
    assert not board._orders


async def test_a_page_in_a_browser_on_this_machine_cannot_order() -> None:
    made, board = front()
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        assert (await post(made, content_type=kind))[0] == 415
    assert not board._orders


async def test_an_order_that_is_too_long_is_not_read() -> None:
    made, _ = front()
    assert (await post(made, "x" * 65537))[0] == 413


async def test_a_report_is_given_once_the_call_has_come() -> None:
    made, board = front()
    await post(made)
    assert (await get(made))[0] == 404
    board._reports[CALL_SID] = report = Report(call_sid=CALL_SID, faults=(Refuse("llm"),))
    report.note(1.5, "fault", "refuse llm")
    status, text = await get(made)
    assert (status, Report.from_json(json.loads(text)).happened) == (200, report.happened)
    assert (await get(made, "CA" + "2" * 32))[0] == 404


async def test_orders_and_reports_are_kept_for_a_hundred_calls() -> None:
    _, board = front()
    for number in range(101):
        board.order(f"CA{number:032x}", (), number)
    assert len(board._orders) == 100
    assert f"CA{0:032x}" not in board._orders

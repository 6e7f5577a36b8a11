"""The web app: Twilio's voice webhooks, answered with TwiML, its callbacks, written down, and health.

Every path below /voice/ is Twilio's: what does not bear its signature is turned away before any route sees it.
"""

import re
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar

import attrs
import structlog
import trio
from quart import Response, request
from quart_trio import QuartTrio
from twilio.twiml.voice_response import VoiceResponse
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import InternalServerError, RequestEntityTooLarge, RequestTimeout

from engine.messages.admission import NextStep, Ticket
from engine.messages.callbacks import CallReported, StreamReported
from engine.messages.errors import ConfigError, EngineBug
from web import twiml
from web.admin import bears
from web.door import Closed, FrontDoor
from web.lines import Full
from web.signatures import BadSignature

# Twilio's own forms are under 2 KiB, and come in one piece.
FORM_MAX_BYTES = 64 * 1024
FORM_MAX_S = 5

# A SIP address is the longest caller there is.
FIELD_MAX_CHARS = 256

# The caller hears nothing meanwhile; Twilio would wait for 15 s.
NEXT_STEP_S = 3.0
RECORD_S = 5.0

# What a decoder puts in the place of bytes that are not UTF-8.
_UNREADABLE = "\ufffd"

_VOICE: Final = "/voice/"
_DOORS: Final = {
    "/voice/incoming": "incoming",
    "/voice/after": "after",
    "/voice/status": "status",
    "/voice/stream-status": "stream_status",
}
_TURNED_AWAY: Final = {
    Full.LINES: twiml.ALL_LINES_BUSY,
    Full.CALLER: twiml.TOO_OFTEN,
    Closed.DRAINING: twiml.DRAINING,
}
_ENDED: Final = frozenset({"completed", "busy", "failed", "no-answer", "canceled"})
_CALL_STATUSES: Final = _ENDED | {"queued", "initiated", "ringing", "in-progress"}
_STREAM_EVENTS: Final = frozenset({"stream-started", "stream-stopped", "stream-error"})
_ANSWERED: Final = frozenset({"completed", "answered"})

_Report = TypeVar("_Report")

log = structlog.get_logger()


@attrs.frozen
class TenantChoice:
    """The business that a dialled number belongs to, by the name of its configuration.

    human_number: who is rung when a call broke off, E.164; None: nobody.
    """

    name: str
    human_number: str | None = None


def create_app(  # noqa: PLR0913, PLR0915 (one function for each route, and what they need)
    door: FrontDoor,
    *,
    choose: Callable[[str], TenantChoice | None],
    next_step: Callable[[str], Awaitable[NextStep | None]],
    record_call: Callable[[CallReported], Awaitable[None]],
    record_stream: Callable[[StreamReported], Awaitable[None]],
    metrics: Callable[[], tuple[bytes, str]],
    counted: Callable[[str, float], None],
    ready: Callable[[], str | None] = lambda: None,
) -> QuartTrio:
    """The webhooks and health, as a Quart app; the media WebSocket goes beside it (`web.media.beside`).

    choose: the tenant of a dialled number, the default one included; None: the caller is told that there is none.
    next_step: what the engine left for a call of this SID before it closed the stream; None when it left nothing,
        because it crashed: the caller then hears an apology, and is connected with the tenant's human number.
    record_call, record_stream: write down what Twilio reports; told again, they change nothing.
    metrics: the body and content type of /metrics, which this machine and trusted peers alone may read.
    counted: is told of each report by a name of few; must not wait or raise.
    ready: why no call should be sent here, None when one may. While the door is draining it is not asked.

    next_step and the two records may raise ConfigError or EngineBug: no caller is the worse for it.
    """
    after_url, stream_status_url = f"{door.public_url}/voice/after", f"{door.public_url}/voice/stream-status"
    started_at = time.monotonic()

    app = QuartTrio("web")
    app.config["MAX_CONTENT_LENGTH"] = FORM_MAX_BYTES
    app.config["BODY_TIMEOUT"] = FORM_MAX_S

    @app.before_request
    async def check_signature() -> Response | None:
        if not request.path.startswith(_VOICE):
            return None
        if not door.is_unsigned(request.scope):  # else there is no need to read on
            wrong = door.check_webhook(request.scope, await request.form)
            if wrong is None:
                return None
            door.refuse(_door(), wrong.value, request.scope)
            if wrong is BadSignature.ELSEWHERE:
                return _text(
                    "no auth token is set, so signatures cannot be checked and this machine alone is served", 403
                )
        else:
            door.refuse(_door(), "signature missing", request.scope)
        return _text("the request does not bear the signature of the account that this server answers for", 403)

    @app.post("/voice/incoming")
    async def incoming() -> Response:
        form = await request.form
        call_sid, dialled, caller = _call_sid(form), _field(form, "To"), _field(form, "From")
        tenant = choose(dialled)
        if tenant is None:
            # <Reject> would cost nothing, and leave the caller with a busy tone, calling again. Words end it.
            door.refuse(_door(), "no tenant", request.scope, call_sid=call_sid, dialled=dialled)
            return _xml(twiml.goodbye(twiml.UNKNOWN_NUMBER))
        url = door.connect(Ticket(call_sid=call_sid, tenant=tenant.name, caller=caller, dialled=dialled))
        if not isinstance(url, str):
            door.refuse(_door(), url.value, request.scope, call_sid=call_sid, dialled=dialled)
            return _xml(twiml.goodbye(_TURNED_AWAY[url]))
        log.info("call_incoming", call_sid=call_sid, dialled=dialled, tenant=tenant.name)
        return _xml(twiml.stream(url=url, action=after_url, status_callback=stream_status_url))

    @app.post("/voice/after")
    async def after() -> Response:
        form = await request.form
        call_sid = _call_sid(form)
        door.release(call_sid)
        rung = _optional(form, "DialCallStatus")
        if rung:  # our own <Dial> has ended, and this was its action
            log.info("call_transferred", call_sid=call_sid, status=rung)
            return _xml(twiml.goodbye("" if rung in _ANSWERED else twiml.NOBODY_ANSWERS))
        if _optional(form, "CallStatus") in _ENDED:
            log.info("call_after", call_sid=call_sid, step=None, why="the caller has hung up")
            return _xml(twiml.goodbye())
        dialled = _optional(form, "To")
        step = await _next_step(call_sid, dialled)
        log.info("call_after", call_sid=call_sid, step=step.kind)
        if step.kind == "hangup":
            return _xml(twiml.goodbye(step.say))
        # Twilio shows whoever is rung the caller's own number, if the caller has one.
        caller_id = None if _is_number(_optional(form, "From")) or not _is_number(dialled) else dialled
        return _xml(twiml.transfer(step, action=after_url, caller_id=caller_id))

    async def _next_step(call_sid: str, dialled: str) -> NextStep:
        """What the engine left for a call, else what is due to a caller who was cut off."""
        try:
            with trio.fail_after(NEXT_STEP_S):
                step = await next_step(call_sid)
        except (ConfigError, EngineBug, trio.TooSlowError) as error:
            log.exception("next_step_unknown", call_sid=call_sid, why=str(error) or f"it took over {NEXT_STEP_S:g} s")
            step = None
        if step is not None:
            return step
        tenant = choose(dialled)
        if tenant is None or tenant.human_number is None:
            return NextStep(kind="hangup", say=twiml.APOLOGY)
        return NextStep(kind="transfer", say=twiml.APOLOGY_AND_TRANSFER, number=tenant.human_number)

    @app.post("/voice/status")
    async def status() -> Response:
        form = await request.form
        report = CallReported(
            call_sid=_call_sid(form),
            sequence=_count(_optional(form, "SequenceNumber")) or 0,
            status=_field(form, "CallStatus"),
            at=_moment(_optional(form, "Timestamp")),
            duration_s=_count(_optional(form, "CallDuration")),
            sip_code=_optional(form, "SipResponseCode"),
        )
        if report.status in _ENDED:
            door.release(report.call_sid)
        counted(f"call_{report.status.replace('-', '_') if report.status in _CALL_STATUSES else 'other'}", 1)
        log.info("call_reported", call_sid=report.call_sid, status=report.status)
        return await _written_down(report.call_sid, record_call, report)

    @app.post("/voice/stream-status")
    async def stream_status() -> Response:
        form = await request.form
        report = StreamReported(
            call_sid=_call_sid(form),
            stream_sid=_field(form, "StreamSid"),
            event=_field(form, "StreamEvent"),
            at=_moment(_optional(form, "Timestamp")),
            error=_optional(form, "StreamError"),
        )
        counted(report.event.replace("-", "_") if report.event in _STREAM_EVENTS else "stream_other", 1)
        tell = log.warning if report.error else log.info
        tell("stream_reported", call_sid=report.call_sid, status=report.event, error=report.error)
        return await _written_down(report.call_sid, record_stream, report)

    @app.get("/healthz")
    async def healthz() -> dict[str, str | float]:
        return {"status": "ok", "up_s": round(time.monotonic() - started_at, 1)}

    @app.get("/readyz")
    async def readyz() -> Response:
        why = Closed.DRAINING.value if door.is_draining else ready()
        return _text("ready") if why is None else _text(why, 503)

    @app.get("/metrics")
    async def exposition() -> Response:
        if not door.asker(request.scope).is_neighbour:
            door.refuse("metrics", "not local", request.scope)
            return _text("metrics are told to this machine and to trusted peers alone", 403)
        body, content_type = metrics()
        return Response(body, content_type=content_type)

    @app.errorhandler(_BadForm)
    async def bad_form(error: _BadForm) -> Response:
        door.refuse(_door(), "form malformed", request.scope, field=error.field)  # its value may be a caller's number
        return _text(str(error), 400)

    @app.errorhandler(RequestEntityTooLarge)
    async def too_long(_error: RequestEntityTooLarge) -> Response:
        door.refuse(_door(), "form too long", request.scope)
        return _text(f"a form of more than {FORM_MAX_BYTES} bytes is not taken", 413)

    @app.errorhandler(RequestTimeout)
    async def too_slow(_error: RequestTimeout) -> Response:
        door.refuse(_door(), "form too slow", request.scope)
        return _text(f"the form was not there after {FORM_MAX_S} s", 408)

    @app.errorhandler(InternalServerError)
    async def failed(error: InternalServerError) -> Response:
        # A mistake of ours, already in the log. Twilio would answer a 500 by a voice that speaks of an application.
        if request.path in {"/voice/incoming", "/voice/after"}:
            return _xml(twiml.goodbye(twiml.APOLOGY))
        return _text("this server has failed", error.code)

    return app


# ── reading and answering ─────────────────────────────────────────────────────────────────────────────────────────────


class _BadForm(Exception):
    """What Twilio would never send; the text says which field, and how."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"form field {field} {why}")
        self.field = field


def _field(form: MultiDict[str, str], name: str) -> str:
    values = form.getlist(name)
    if not values or not values[0]:
        raise _BadForm(name, "is missing")
    if len(values) > 1:
        raise _BadForm(name, f"is there {len(values)} times; expected once")
    if len(values[0]) > FIELD_MAX_CHARS:
        raise _BadForm(name, f"has {len(values[0])} characters; at most {FIELD_MAX_CHARS} are allowed")
    if not values[0].isprintable() or _UNREADABLE in values[0]:  # XML has no way to write them
        raise _BadForm(name, f"is {values[0]!a}; expected printable UTF-8")
    return values[0]


def _optional(form: MultiDict[str, str], name: str) -> str:
    """Return a field that nothing hangs on, cut to what is stored; empty where there is none."""
    return form.get(name, "")[:FIELD_MAX_CHARS]


def _call_sid(form: MultiDict[str, str]) -> str:
    call_sid = _field(form, "CallSid")
    if not re.fullmatch("CA[0-9a-f]{32}", call_sid):
        raise _BadForm("CallSid", f"is {call_sid!r}; expected 'CA' and 32 hexadecimal digits")
    return call_sid


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\+[1-9][0-9]{1,14}", text) is not None


def _count(text: str) -> int | None:
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else None


def _moment(text: str) -> datetime | None:
    """Return the moment that a report names: RFC 2822 for a call's, ISO 8601 for a stream's."""
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = read(text)
            return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
        except (ValueError, OverflowError):  # the second for the first day of the calendar, in UTC the day before
            continue
    return None


async def _written_down(call_sid: str, record: Callable[[_Report], Awaitable[None]], report: _Report) -> Response:
    try:
        with trio.fail_after(RECORD_S):
            await record(report)
    except (ConfigError, EngineBug, trio.TooSlowError) as error:
        log.exception("report_not_recorded", call_sid=call_sid, why=str(error) or f"it took over {RECORD_S:g} s")
        return _text("the report could not be written down", 503)
    return Response("", 204)


def offer_reload(app: QuartTrio, door: FrontDoor, reload: Callable[[], Awaitable[str]], *, token: str) -> None:
    """Have the app reload the configuration for whoever bears the token; with "" there is nothing here, for nobody.

    POST /admin/reload: 200 and what has changed, 400 and every mistake if nothing has, 401 without the token.
    reload: raises ConfigError.
    """
    if not token:
        return

    @app.post("/admin/reload")
    async def post() -> Response:
        if not bears(request.scope, token):
            door.refuse("admin", "token wrong", request.scope)
            refusal = _text("expected Authorization: Bearer and the admin token", 401)
            refusal.headers["WWW-Authenticate"] = "Bearer"
            return refusal
        try:
            return _text(await reload())
        except ConfigError as error:
            return _text(str(error), 400)


def _door() -> str:
    return _DOORS.get(request.path, "other")


def _text(text: str, status: int = 200) -> Response:
    return Response(f"{text}\n", status, content_type="text/plain; charset=utf-8")


def _xml(document: VoiceResponse) -> Response:
    return Response(str(document), content_type="text/xml; charset=utf-8")

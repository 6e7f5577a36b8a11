"""`holdfast policy simulate`: what callers would live through under a policy while vendors fail, in a second or two.

The calls are played by `simulators.virtual.rehearsal`: the engine's own reception, policies and supervisors, virtual
vendors and callers. Here an operator's words become troubles, and what happened becomes lines to be read.
"""

import difflib
import json
import logging
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, assert_never

import attrs
import structlog

from engine.health import Circuit
from engine.messages.errors import ConfigError
from engine.settings import BUILT_VENDORS, Settings, Tenant, TenantCallSettings, read
from engine.supervisor import ChildFailed, FailedBack, FailedOver, GaveUp, RestartScheduled, SupervisionEvent
from simulators.virtual.rehearsal import APART_S, DEAD_AIR_S, Outage, Rehearsal, Rehearsed, Trouble, Wear, rehearse

STAND_IN: Final = Tenant(
    id="simulated",
    name="Simulated",
    default=True,
    greeting="Hello, this is Bella Vista. How can I help you?",
    prompt="",
    human_number="+15550100003",
)
"""A business whose file says nothing but what it must."""

_VENDORS: Final = tuple(sorted({name for names in BUILT_VENDORS.values() for name in names}))
_ALLOWED: Final = (
    "expected VENDOR:AT+LENGTH such as deepgram:3s+12s, or VENDOR:LENGTH:everyN such as elevenlabs:20s:every2"
)
_UNITS: Final[Mapping[str, float]] = {"ms": 0.001, "s": 1.0, "m": 60.0}
_EVER: Final = "ever"


# ── an operator's words ───────────────────────────────────────────────────────────────────────────────────────────────


def trouble(text: str) -> Trouble:
    """Return the trouble that `text` names. Raises ConfigError: what is wrong with it, and what is allowed."""

    def wrong(why: str) -> ConfigError:
        return ConfigError(f"--outage {text!r}: {why}")

    vendor, *rest = text.split(":")
    if not rest:
        raise wrong(_ALLOWED)
    if vendor not in _VENDORS:
        meant = difflib.get_close_matches(vendor.lower(), _VENDORS, n=1)
        hint = f"did you mean '{meant[0]}'?" if meant else f"known: {', '.join(_VENDORS)}"
        raise wrong(f"unknown vendor '{vendor}'; {hint}")
    match rest:
        case [when] if "+" in when:
            at, length = when.split("+", maxsplit=1)
            lasts_s = math.inf if length == _EVER else _seconds(length, wrong)
            return Outage(vendor=vendor, at_s=_seconds(at, wrong, least=0.0), lasts_s=lasts_s)
        case [length, every]:
            lasts_s = _seconds(length, wrong)
            number = re.fullmatch(r"every([1-9][0-9]{0,3})", every)
            if number is None:
                raise wrong(
                    f"'{every}' does not say which connections; expected 'every2' for each second one, and so on"
                )
            return Wear(vendor=vendor, lasts_s=lasts_s, every=int(number[1]))
        case _:
            raise wrong(_ALLOWED)


def _seconds(text: str, wrong: Any, *, least: float = 0.001) -> float:  # noqa: ANN401 - makes an error of a text
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m)", text)
    if found is None:
        raise wrong(f"'{text}' is no time; expected one such as 500ms, 3s or 2m")
    seconds = float(found[1]) * _UNITS[found[2]]
    if not least <= seconds <= 3600.0:  # noqa: PLR2004 - an hour
        raise wrong(f"'{text}' is out of range; expected more than 0s, and 60m at most")
    return seconds


@attrs.frozen(kw_only=True)
class Policy:
    """A policy that is tried: its file, and what it comes to for one tenant. notes: what was assumed."""

    file: Path
    settings: Settings
    tenant: Tenant
    notes: tuple[str, ...] = ()


def policy_of(file: Path, tenant_id: str, vendors: Iterable[str]) -> Policy:
    """Read a policy, and see to it that all these vendors serve. Raises ConfigError for a tenant that there is not."""
    configuration = read(file)
    tenant = STAND_IN
    if tenant_id:
        known = {each.id: each for each in configuration.tenants.tenants}
        if tenant_id not in known:
            meant = difflib.get_close_matches(tenant_id, known, n=1)
            hint = f"did you mean '{meant[0]}'?" if meant else f"known: {', '.join(known)}"
            raise ConfigError(f"--tenant: no tenant '{tenant_id}'; {hint}")
        tenant = known[tenant_id]
    settings, notes = configuration.settings, []
    lists = {work: settings.vendors_of(tenant, work) for work in BUILT_VENDORS}
    for vendor in vendors:
        if any(vendor in names for names in lists.values()):
            continue
        for work, built in BUILT_VENDORS.items():
            if vendor in built:
                lists[work] = (vendor, *lists[work])
                notes.append(f"{file} has no '{vendor}': tried with {work} = [{_listed(lists[work])}]")
    # What tools do is done: none is run here.
    tenant = attrs.evolve(tenant, call=TenantCallSettings(**lists), tools="none", clinic=None, script={})
    return Policy(file=file, settings=settings, tenant=tenant, notes=tuple(notes))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


# ── what happened, in lines ───────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class Line:
    """Something that happened in a call. until_s: the end of what took time. Seconds since the first call opened.

    is_decision: it is of what the engine did, not of what was said.
    """

    at_s: float
    until_s: float | None = None
    who: str
    text: str
    is_decision: bool = True


def timeline(call: Rehearsed, troubles: Iterable[Trouble]) -> list[Line]:
    """Return what a caller lived through, and why, in order of time."""
    lines = [
        *_troubles(call, troubles),
        *_decisions(call.events),
        *_reported(call),
        *_sounds(call),
        *(
            Line(at_s=start_s, until_s=end_s, who="silence", text=f"dead air, {end_s - start_s:.1f} s")
            for start_s, end_s in call.dead_air
        ),
    ]
    return [*sorted(lines, key=lambda line: line.at_s), Line(at_s=call.ended_s, who="call", text=_end(call))]


def _troubles(call: Rehearsed, troubles: Iterable[Trouble]) -> Iterator[Line]:
    for each in troubles:
        if not isinstance(each, Outage):
            continue
        end_s = each.at_s + each.lasts_s
        if call.opened_s <= each.at_s < call.ended_s:
            lasts = "for good" if each.lasts_s == math.inf else f"for {each.lasts_s:g} s"
            yield Line(at_s=each.at_s, who=each.vendor, text=f"is away, {lasts}")
        elif each.at_s < call.opened_s < end_s:
            yield Line(at_s=call.opened_s, who=each.vendor, text=f"has been away since {each.at_s:g} s")
        if call.opened_s < end_s < call.ended_s:
            yield Line(at_s=end_s, who=each.vendor, text="is there again")


def _decisions(events: Iterable[SupervisionEvent]) -> Iterator[Line]:
    reason = ""
    for event in events:
        who = event.supervisor if event.child == "session" else event.child
        match event:
            case ChildFailed():
                reason = _plain(event.reason)
                continue
            case RestartScheduled(after_s=after_s):
                text = f"{reason}; again {f'in {after_s:.2f} s' if after_s else 'at once'}"
            case FailedOver(now_on=now_on):
                text = f"{reason}; over to {now_on}"
            case GaveUp(history=history):
                text = f"{reason}; gives up at failure {len(history)}"
            case FailedBack(now_on=now_on):
                text = f"{now_on} is of use again: calls go back to it"
            case _:
                continue
        yield Line(at_s=event.happened_at, who=who, text=text)


def _plain(reason: str) -> str:
    """Return a failure's reason without the names of its classes, and of who had it come about."""
    given_up = re.match(r"GaveUpError: supervisor '\w+' gave up", reason)
    if given_up:
        return "is given up"
    return re.sub(r"^\w+: ", "", reason).removesuffix(", as a fault has it")


_COUNTED: Final[Mapping[str, str]] = {
    "deaf_ms": "was deaf for {:.2f} s",
    "replayed_ms": "is told {:.2f} s again",
    "lost_ms": "has lost {:.2f} s of what the caller said",
}


def _reported(call: Rehearsed) -> Iterator[Line]:
    """Yield what the call itself reported: who is connected, what was missed, which model failed and is asked."""
    vendors: set[str] = set()
    for each in call.report.happened:
        at_s = call.opened_s + each.at_s
        if each.what.startswith("connected for "):
            yield Line(at_s=at_s, who=each.what.removeprefix("connected for "), text=f"is connected to {each.who}")
        elif each.what == "counted":
            name, amount = each.why.split()
            if name in _COUNTED:
                yield Line(at_s=at_s, who="stt", text=_COUNTED[name].format(float(amount) / 1000))
        elif each.who == "llm":
            yield Line(at_s=at_s, who="llm", text=_plain(each.why))
    for at_s, vendor in call.asked:
        if vendors != {vendor}:
            vendors = {vendor}
            yield Line(at_s=at_s, who="llm", text=f"{vendor} is asked")


def _sounds(call: Rehearsed) -> Iterator[Line]:
    for each in call.sounds:
        yield Line(at_s=each.start_s, until_s=each.end_s, who=each.who, text=f"“{each.text}”", is_decision=False)


def _end(call: Rehearsed) -> str:
    if not call.is_lost:
        return "ends well"
    whose = {"transfer": "is put through to a person", "gave_up": "is given up, with an apology"}
    return f"LOST: {whose.get(call.ended, call.ended)}"


def health_lines(rehearsal: Rehearsal) -> Iterator[Line]:
    """Yield what all calls were told of the vendors."""
    for told in rehearsal.circuits:
        vendor = told.vendor
        match told.circuit:
            case Circuit.OPEN if told.after_s:
                text = f"{vendor} is down: no new call begins with it, one may try it after {told.after_s:g} s"
            case Circuit.OPEN:
                text = f"{vendor} was tried, and nothing was shown: the next call may try it"
            case Circuit.HALF_OPEN:
                text = f"{vendor} is tried by one call"
            case Circuit.CLOSED:
                text = f"{vendor} is well: all calls begin with it"
            case _:
                assert_never(told.circuit)
        yield Line(at_s=told.at_s, who=told.work, text=text)


# ── what it comes to ──────────────────────────────────────────────────────────────────────────────────────────────────


def summary(rehearsal: Rehearsal) -> dict[str, str]:
    """Return what it comes to, by name, in words."""
    calls = rehearsal.calls
    lost = [f"call {call.number} {_end(call).removeprefix('LOST: ')}" for call in calls if call.is_lost]
    waits = [(end_s - start_s, start_s, call.number) for call in calls for start_s, end_s in call.waits]
    longest_s, at_s, number = max(waits, default=(0.0, 0.0, 0))
    dead_s = sum(end_s - start_s for call in calls for start_s, end_s in call.dead_air)
    restarts = {work: sum(call.report.restarts(work) for call in calls) for work in ("stt", "tts")}
    asked_again = sum(each.who == "llm" and each.what == "failed" for call in calls for each in call.report.happened)
    over = [each for call in calls for each in _failed_over(call)]
    back = [
        f"{event.now_on} at {event.happened_at:.1f} s by call {call.number}"
        for call in calls
        for event in call.events
        if isinstance(event, FailedBack)
    ]
    return {
        "calls": f"{len(calls)}, {len(lost)} lost{': ' + ', '.join(lost) if lost else ''}",
        "longest wait": f"{longest_s:.1f} s, from {at_s:.1f} s, in call {number}" if waits else "–",
        "dead air": f"{dead_s:.1f} s in all, counted from {DEAD_AIR_S:g} s on",
        "words lost": _words(word for call in calls for word in call.lost),
        "words repeated": _words(word for call in calls for word in call.repeated),
        "restarts": ", ".join(f"{work} {count}" for work, count in {**restarts, "llm": asked_again}.items()),
        "failed over": "; ".join(over) or "nobody",
        "failed back": "; ".join(back) or "nobody",
    }


def _words(words: Iterable[str]) -> str:
    found = list(words)
    shown = " ".join(found[:8]) + (" …" if len(found) > 8 else "")  # noqa: PLR2004 - half a line
    return f"{len(found)}: {shown}" if found else "none"


def _failed_over(call: Rehearsed) -> Iterator[str]:
    """Yield who took over from whom in a call, and how long after the first failure."""
    connected = [
        (call.opened_s + each.at_s, each.what.removeprefix("connected for "))
        for each in call.report.happened
        if each.what.startswith("connected for ")
    ]
    for event in call.events:
        if isinstance(event, FailedOver):
            work, now = event.supervisor, event.happened_at
            since = max((at_s for at_s, what in connected if what == work and at_s < now), default=-math.inf)
            failures = [
                each.happened_at
                for each in call.events
                if isinstance(each, ChildFailed) and each.supervisor == work and since <= each.happened_at <= now
            ]
            after_s = now - min(failures, default=now)
            yield f"{work} from {event.was} to {event.now_on} after {after_s:.2f} s in call {call.number}"
    for (_, was), (at_s, now_on) in zip(call.asked, call.asked[1:], strict=False):
        if was != now_on:
            yield f"llm from {was} to {now_on} at {at_s:.1f} s in call {call.number}"


# ── printing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _time(line: Line) -> str:
    return f"{line.at_s:7.2f}" + (f" –{line.until_s:6.2f}" if line.until_s is not None else " " * 8)


def shown(policy: Policy, rehearsal: Rehearsal, troubles: Sequence[Trouble], *, seed: int) -> str:
    """Return all of a rehearsal, as text."""
    blocks = [_header(policy, rehearsal, seed)]
    for call in rehearsal.calls:
        lines = [f"call {call.number}, opened at {call.opened_s:.1f} s"]
        lines += [f"  {_time(line)}  {line.who:<10} {line.text}" for line in timeline(call, troubles)]
        blocks.append("\n".join(lines))
    told = [f"  {_time(line)}  {line.who:<10} {line.text}" for line in health_lines(rehearsal)]
    if told:
        blocks.append("\n".join(["what all calls know", *told]))
    blocks.append("\n".join(["summary", *(f"  {name:<15} {text}" for name, text in summary(rehearsal).items())]))
    return "\n\n".join(blocks)


def _header(policy: Policy, rehearsal: Rehearsal, seed: int) -> str:
    tenant = policy.tenant
    lists = ", ".join(f"{work} = [{_listed(policy.settings.vendors_of(tenant, work))}]" for work in BUILT_VENDORS)
    who = "" if tenant.id == STAND_IN.id else f", tenant {tenant.id}"
    lines = [f"{policy.file}{who}: {lists}", *(f"note: {each}" for each in policy.notes)]
    lines.append(f"calls: {len(rehearsal.calls)}, seed: {seed}; times in seconds since the first call opened")
    return "\n".join(lines)


_LEFT: Final = 62
"""Columns of the left half of a comparison."""


def compared(
    left: tuple[Policy, Rehearsal], right: tuple[Policy, Rehearsal], troubles: Sequence[Trouble], *, seed: int
) -> str:
    """Return two rehearsals of the same troubles side by side; `|` parts what differs."""
    blocks = ["\n".join([f"left:  {_header(*left, seed)}", f"right: {_header(*right, seed)}"])]
    differences = [f"  {name}: {was} | {now}" for name, was, now in _differing(left[0].settings, right[0].settings)]
    blocks.append("\n".join(["settings that differ", *(differences or ["  none"])]))
    summaries = summary(left[1]), summary(right[1])
    rows = [(name, summaries[0][name], summaries[1][name]) for name in summaries[0]]
    blocks.append("\n".join(["summary", *(row for name, *texts in rows for row in _row(f"{name:<15} ", *texts))]))
    for one, other in zip(left[1].calls, right[1].calls, strict=True):
        halves = [
            [f"{line.at_s:7.2f} {line.who:<10} {line.text}" for line in timeline(each, troubles) if line.is_decision]
            for each in (one, other)
        ]
        blocks.append("\n".join([f"call {one.number}, opened at {one.opened_s:.1f} s", *_beside(*halves)]))
    return "\n\n".join(blocks)


def _beside(left: Sequence[str], right: Sequence[str]) -> Iterator[str]:
    """Yield lines of both side by side, what is the same on one line."""
    matcher = difflib.SequenceMatcher(a=left, b=right, autojunk=False)
    for _, left_from, left_to, right_from, right_to in matcher.get_opcodes():
        count = max(left_to - left_from, right_to - right_from)
        for index in range(count):
            one = left[left_from + index] if left_from + index < left_to else ""
            other = right[right_from + index] if right_from + index < right_to else ""
            yield from _row("", one, other)


def _row(name: str, left: str, right: str) -> Iterator[str]:
    """Yield one row of a comparison, in as many lines as its longer half takes."""
    mark = " " if left == right else "|"
    halves = [_wrapped(text, _LEFT - len(name)) for text in (left, right)]
    for index in range(max(map(len, halves))):
        one, other = (half[index] if index < len(half) else "" for half in halves)
        yield f"  {name if not index else ' ' * len(name)}{one:<{_LEFT - len(name)}} {mark} {other}".rstrip()


def _wrapped(text: str, columns: int) -> list[str]:
    lines = [""]
    for word in re.findall(r"\s*\S+", text):
        if lines[-1] and len(lines[-1]) + len(word) > columns:
            lines.append(f"    {word.strip()}")
        else:
            lines[-1] += word
    return lines


def _differing(left: object, right: object, name: str = "") -> Iterator[tuple[str, object, object]]:
    """Yield where two settings differ: the path, and both values."""
    if left == right:
        return
    shape: type[Any] = type(left)
    if attrs.has(shape) and shape is type(right):
        for field in attrs.fields(shape):
            path = f"{name}.{field.name}" if name else field.name
            yield from _differing(getattr(left, field.name), getattr(right, field.name), path)
    elif isinstance(left, Mapping) and isinstance(right, Mapping):
        for key in dict.fromkeys((*left, *right)):
            yield from _differing(left.get(key, "–"), right.get(key, "–"), f"{name}.{key}")
    else:
        yield name, left, right


def as_json(policy: Policy, rehearsal: Rehearsal, troubles: Sequence[Trouble]) -> dict[str, Any]:
    """Return all of a rehearsal as plain data."""
    return {
        "policy": str(policy.file),
        "tenant": policy.tenant.id,
        "notes": list(policy.notes),
        "summary": summary(rehearsal),
        "health": [attrs.asdict(line) for line in health_lines(rehearsal)],
        "calls": [
            {
                "number": call.number,
                "opened_s": round(call.opened_s, 3),
                "ended_s": round(call.ended_s, 3),
                "ended": call.ended,
                "lost": call.is_lost,
                "words_lost": list(call.lost),
                "words_repeated": list(call.repeated),
                "dead_air_s": [[round(start_s, 3), round(end_s, 3)] for start_s, end_s in call.dead_air],
                "longest_wait_s": round(max((end_s - start_s for start_s, end_s in call.waits), default=0.0), 3),
                "restarts": {work: call.report.restarts(work) for work in ("stt", "tts")},
                "timeline": [attrs.asdict(line) for line in timeline(call, troubles)],
            }
            for call in rehearsal.calls
        ],
    }


# ── the command ───────────────────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class Asked:
    """What an operator asked for. apart_s: from one call's beginning to the next one's."""

    outages: Sequence[str]
    policy: Path
    against: Path | None = None
    calls: int = 3
    apart_s: float = APART_S
    seed: int = 0
    tenant: str = ""
    as_json: bool = False


def simulate(asked: Asked) -> str:
    """Return what is to be printed. Raises ConfigError for every word that means nothing, before a call is played."""
    troubles = tuple(trouble(each) for each in asked.outages)
    vendors = dict.fromkeys(each.vendor for each in troubles)
    files = [asked.policy] if asked.against is None else [asked.policy, asked.against]
    policies = [policy_of(each, asked.tenant, vendors) for each in files]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    played = [
        (
            each,
            rehearse(each.settings, each.tenant, troubles, calls=asked.calls, apart_s=asked.apart_s, seed=asked.seed),
        )
        for each in policies
    ]
    if asked.as_json:
        found = [as_json(each, rehearsal, troubles) for each, rehearsal in played]
        return json.dumps(found[0] if asked.against is None else {"policy": found[0], "against": found[1]}, indent=2)
    if asked.against is None:
        return shown(*played[0], troubles, seed=asked.seed)
    return compared(played[0], played[1], troubles, seed=asked.seed)

"""What Prometheus reads: the series, and labels that stay few whatever comes."""

from collections.abc import Callable

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families
from trio.testing import MockClock

from engine.health import Health, HealthPolicy
from engine.messages.errors import EngineBug, ProviderDown, ProviderError, ProviderRefused, ProviderSlow, WireError
from engine.metrics import MOST_VALUES, OTHER, SAMPLE_S, Metrics, failure_kind


def value(metrics: Metrics, name: str, /, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"holdfast_{name}", labels)


def test_each_process_has_its_own_series() -> None:
    one, other = Metrics(), Metrics()
    one.call_opened("dental")
    assert value(one, "calls_open", tenant="dental") == 1
    assert value(other, "calls_open", tenant="dental") is None


def test_a_call_is_open_until_it_ended() -> None:
    metrics = Metrics()
    for _ in range(3):
        metrics.call_opened("dental")
    metrics.call_ended("dental", "the line takes no more")
    assert value(metrics, "calls_open", tenant="dental") == 2
    assert value(metrics, "calls_started_total", tenant="dental") == 3
    assert value(metrics, "calls_ended_total", tenant="dental", reason="the line takes no more") == 1


def test_the_exposition_is_what_prometheus_reads() -> None:
    metrics = Metrics()
    metrics.refused("media", "token expired")
    metrics.stage_reached("first_token", 0.012)
    body, content_type = metrics.exposition()
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    assert content_type.startswith("text/plain")
    ours = {name for name in families if name.startswith("holdfast_")}
    assert ours >= {"holdfast_refused", "holdfast_stage_seconds", "holdfast_pacer_late_seconds"}
    assert all(family.documentation for family in families.values())
    first = [each for each in families["holdfast_stage_seconds"].samples if each.labels.get("stage") == "first_token"]
    assert [each.value for each in first if each.name.endswith("_count")] == [1]
    assert not [name for name in families if name.endswith("_created")]


@pytest.mark.parametrize(
    ("reason", "label"),
    [
        ("hang_up", "hang_up"),
        ("the line takes no more", "the line takes no more"),
        ("cross-call", "cross-call"),
        ("CA00000000000000000000000000000001", OTHER),
        ("+15550100002", OTHER),
        ("15550100002", OTHER),
        ("", OTHER),
        ("Insufficient credits: see https://example.com", OTHER),
        ("a" * 40, "a" * 40),
        ("a" * 41, OTHER),
        ("a b c d e f g h", "a b c d e f g h"),
        ("a b c d e f g h i", OTHER),
    ],
)
def test_what_looks_like_data_is_no_label(reason: str, label: str) -> None:
    metrics = Metrics()
    metrics.call_ended("dental", reason)
    metrics.refused("media", reason)
    metrics.vendor_failed(reason, "request", "down")
    assert value(metrics, "calls_ended_total", tenant="dental", reason=label) == 1
    assert value(metrics, "refused_total", door="media", reason=label) == 1
    assert value(metrics, "vendor_failures_total", vendor=label, phase="request", kind="down") == 1


def test_a_label_takes_so_many_values_and_no_more() -> None:
    metrics = Metrics()
    for number in range(MOST_VALUES + 5):
        metrics.counted(f"odd_{number}", 2.0)
    metrics.counted("odd_0", 1.0)
    assert value(metrics, "counted_total", name=f"odd_{MOST_VALUES - 1}") == 2
    assert value(metrics, "counted_total", name=f"odd_{MOST_VALUES}") is None
    assert value(metrics, "counted_total", name=OTHER) == 10
    assert value(metrics, "counted_total", name="odd_0") == 3


def test_what_a_core_counts_wrongly_is_no_crash() -> None:
    metrics = Metrics()
    metrics.counted("eager_saved_s", 0.25)
    assert value(metrics, "eager_saved_seconds_count") == 1
    assert value(metrics, "eager_saved_seconds_sum") == 0.25
    metrics.counted("lost_ms", -1.0)
    assert value(metrics, "counted_total", name="lost_ms") == 0


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (None, "closed"),
        (ProviderDown("x"), "down"),
        (ProviderSlow("x"), "slow"),
        (ProviderRefused("401 and whatever the vendor says"), "refused"),
        (ProviderError("x"), "raised"),
        (WireError("x"), "wire"),
        (EngineBug("x"), "bug"),
        (OSError("x"), "raised"),
    ],
)
def test_a_failure_has_one_of_a_few_kinds(error: BaseException | None, kind: str) -> None:
    assert failure_kind(error) == kind


def test_a_vendor_is_up_or_down_as_last_seen() -> None:
    metrics, up = Metrics(), []
    steps: tuple[Callable[[], None], ...] = (
        lambda: metrics.vendor_connected("deepgram"),
        lambda: metrics.vendor_failed("deepgram", "connected", "down"),
        lambda: metrics.vendor_failed("deepgram", "connecting", "down"),
        lambda: metrics.vendor_answered("deepgram"),
    )
    for step in steps:
        step()
        up.append(value(metrics, "vendor_up", vendor="deepgram"))
    assert up == [1, 0, 0, 1]


def test_a_vendors_circuit_is_seen_by_work_as_it_opens_is_tried_and_closes() -> None:
    metrics, now, seen = Metrics(), 0.0, []
    health = Health(policy=HealthPolicy(open_s=15.0), clock=lambda: now, changed=metrics.circuit_changed)
    vendors = health.of("stt", ("deepgram",))
    steps: tuple[Callable[[], object], ...] = (
        lambda: vendors.failed("deepgram", lasting=True),
        vendors.choose,
        lambda: vendors.released("deepgram"),
        vendors.choose,
        lambda: vendors.useful("deepgram"),
    )
    for step in steps:
        step()
        seen.append(value(metrics, "vendor_circuit_open", work="stt", vendor="deepgram"))
        now += 15.0
    assert seen == [1, 0.5, 1, 0.5, 0]
    assert value(metrics, "vendor_circuit_open", work="tts", vendor="deepgram") is None


async def test_mailboxes_are_looked_at_once_a_second_and_the_loop_four_times(autojump_clock: MockClock) -> None:
    metrics = Metrics()
    with trio.move_on_after(2.9):
        await metrics.sample(lambda: [("stt", 0), ("stt", 70), ("agent", 1)])
    assert value(metrics, "mailbox_depth_count", actor="stt") == 6
    assert value(metrics, "mailbox_depth_bucket", actor="stt", le="50.0") == 3
    assert value(metrics, "mailbox_depth_sum", actor="agent") == 3
    assert value(metrics, "event_loop_late_seconds_count") == 11
    assert value(metrics, "event_loop_late_seconds_sum") == 0


async def test_a_loop_that_was_held_up_is_seen(mock_clock: MockClock) -> None:
    metrics = Metrics()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(metrics.sample, list)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(SAMPLE_S + 0.3)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert value(metrics, "event_loop_late_seconds_bucket", le="0.2") == 0
    assert value(metrics, "event_loop_late_seconds_bucket", le="0.5") == 1

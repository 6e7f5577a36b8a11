"""docs/messages.md says what the code says."""

import re

import attrs
import pytest

from docs.generate import COMMAND, PAGE, messages_page
from engine.call import INBOXES, WIRING

PAGE_NOW = messages_page()


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == PAGE_NOW, f"docs/messages.md is stale; renew it with '{COMMAND}'"


def test_the_page_is_the_same_every_time() -> None:
    assert messages_page() == PAGE_NOW


@pytest.mark.parametrize("edge", WIRING.edges, ids=str)
def test_every_edge_is_in_the_drawing_and_in_the_table(edge: object) -> None:
    sender, message, reader = re.split(r" -|-> ", str(edge))
    arrow = rf'part_{re.escape(sender)} -- "[^"]*\b{message}\b[^"]*" --> part_{reader.replace(".", "_")}\n'
    assert re.search(arrow.replace(r"\.", "_"), PAGE_NOW)
    assert f"| [{message}](#{message.lower()}) | {sender} | {reader} |" in PAGE_NOW


@pytest.mark.parametrize("message", sorted({edge.message for edge in WIRING.edges}, key=str))
def test_every_message_is_described_with_all_its_fields(message: type) -> None:
    section = PAGE_NOW.split(f"### {message.__name__}\n")[1].split("\n## ")[0].split("\n### ")[0]
    assert section.split("\n")[1] == (message.__doc__ or "").split("\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [field.name for field in attrs.fields(message)]


def test_every_actor_is_drawn() -> None:
    assert [name for name in INBOXES if f'part_{name}["{name}"]' not in PAGE_NOW] == []


def test_every_link_leads_to_a_heading() -> None:
    headings = {heading.lower() for heading in re.findall(r"^### (\w+)$", PAGE_NOW, re.MULTILINE)}
    assert set(re.findall(r"\(#(\w+)\)", PAGE_NOW)) <= headings

"""The pages that are read from the code: `docs/messages.md`, from the message classes and a call's wiring.

Run by `just docs`; a test says when a page is stale.
"""  # noqa: INP001 - it stands beside its pages; there is nothing here to import

import ast
import importlib
import inspect
import pkgutil
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import attrs

import engine.messages
from engine.call import INBOXES, WIRING
from engine.wiring import AtBound, Edge, SetAside

PAGE = Path(__file__).with_name("messages.md")
COMMAND = "just docs"

_AT_BOUND = {AtBound.DROP_OLDEST: "the oldest is dropped", AtBound.STALLED: "the reader has stalled"}
_SET_ASIDE = {SetAside.COUNT: "counted", SetAside.REPEAT: "the caller is asked to repeat"}
_INTRODUCTION = f"""\
# Messages

*Made from `engine/messages/` and the tables in `engine/call.py` by `{COMMAND}`: change those, not this page.*

All that the parts of a call know of each other: frozen values, on the edges of one table. Times ending in `_s` are
seconds on the call's own timeline or durations; `at_s` says when something happened.
"""
_DRAWING = """\
## Who tells whom what

Six actors, each alone with its mailbox. A name with `.session` is an actor's connection to its vendor; `line` is the
socket to the phone network; `call` opens and ends it all. `model` and `tools` are tasks, `archive` is the database's
one writer, `log` is the log.
"""
_EDGES = """\
## Edges

What may wait unread, and what happens then. A message is set aside when every core that met it raised. What leaves the
actors waits where it goes, under that reader's own bound, and is not set aside.
"""


@attrs.frozen
class _Field:
    """A field as it is written: `default` is empty where there is none."""

    name: str
    type: str
    default: str


def messages_page() -> str:
    """Return `docs/messages.md` as it should be."""
    parts = [_INTRODUCTION, _DRAWING, _drawing(), _EDGES, _edges()]
    for module in _modules():
        parts.append(f"## {module.__name__.rpartition('.')[2].capitalize()}\n\n{_paragraphs(module)}\n")
        parts += [_message(kind) for kind in _messages(module)]
    return "\n".join(parts)


def _drawing() -> str:
    told: dict[tuple[str, str], list[str]] = {}
    for edge in WIRING.edges:
        told.setdefault((edge.sender, edge.reader), []).append(edge.message.__name__)
    actors = [f'    {_node(name)}["{name}"]' for name in reversed(tuple(INBOXES))]
    others = dict.fromkeys(end for pair in told for end in pair if end not in INBOXES)
    rounded = [f'    {_node(name)}(["{name}"])' for name in others]
    arrows = [
        f'    {_node(sender)} -- "{"<br>".join(names)}" --> {_node(reader)}' for (sender, reader), names in told.items()
    ]
    return "\n".join(["```mermaid", "flowchart TD", *actors, *rounded, *arrows, "```", ""])


def _node(name: str) -> str:
    # "call" is a word of mermaid's own.
    return "part_" + name.replace(".", "_")


def _edges() -> str:
    rows = ["| message | from | to | may wait | at the bound | set aside |", "|---|---|---|---|---|---|"]
    for edge in WIRING.edges:
        waits = (str(edge.bound), _AT_BOUND[edge.at_bound], _SET_ASIDE[edge.set_aside])
        cells = [_link(edge.message), edge.sender, edge.reader, *(waits if edge.reader in INBOXES else ("", "", ""))]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join([*rows, ""])


def _link(message: type) -> str:
    return f"[{message.__name__}](#{message.__name__.lower()})"


def _modules() -> list[ModuleType]:
    names = [f"engine.messages.{found.name}" for found in pkgutil.iter_modules(engine.messages.__path__)]
    modules = [importlib.import_module(name) for name in names]
    return [module for module in modules if list(_messages(module))]


def _messages(module: ModuleType) -> Iterator[type]:
    for each in vars(module).values():
        if isinstance(each, type) and attrs.has(each) and each.__module__ == module.__name__:
            yield each


def _message(kind: type) -> str:
    parts = [f"### {kind.__name__}\n", f"{_paragraphs(kind)}\n"]
    fields = _fields(kind)
    if fields:
        rows = [f"| `{each.name}` | `{_cell(each.type)}` | {_code(each.default)} |" for each in fields]
        parts.append("\n".join(["| field | type | default |", "|---|---|---|", *rows, ""]))
    routes = [_route(edge) for edge in WIRING.edges if edge.message is kind]
    if routes:
        parts.append(f"{', '.join(routes)}\n")
    return "\n".join(parts)


def _route(edge: Edge) -> str:
    return f"{edge.sender} → {edge.reader}"


def _paragraphs(documented: object) -> str:
    """Return a docstring as Markdown: its lines about fields become a list."""
    lines: list[str] = []
    for paragraph in (inspect.getdoc(documented) or "").split("\n\n"):
        for line in paragraph.splitlines():
            head, colon, _ = line.partition(": ")
            names = head.split(", ")
            if colon and all(name.isidentifier() for name in names) and names[0][0].islower():
                lines.append(f"- {', '.join(f'`{name}`' for name in names)}: {line.partition(': ')[2]}")
            else:
                lines.append(f"  {line.strip()}" if lines and lines[-1].startswith(("- ", "  ")) else line)
        lines.append("")
    return "\n".join(lines).rstrip()


def _fields(kind: type) -> list[_Field]:
    """Return the fields as they are written in the source, where an alias keeps its name."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(tree, ast.ClassDef)
    return [
        _Field(node.target.id, ast.unparse(node.annotation), _default(node.value))
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    ]


def _default(value: ast.expr | None) -> str:
    return "" if value is None or isinstance(value, ast.Call) else ast.unparse(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _code(text: str) -> str:
    return f"`{_cell(text)}`" if text else ""


def main() -> None:
    """Write every page, and say so."""
    PAGE.write_text(messages_page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE.relative_to(Path.cwd())}\n" if PAGE.is_relative_to(Path.cwd()) else f"{PAGE}\n")


if __name__ == "__main__":
    main()

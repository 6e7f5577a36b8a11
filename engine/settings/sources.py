"""Sources: the files that settings came from, for whoever has to say where something stands."""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from engine.codec.toml_lines import KeyPath, lines_of
from engine.messages.errors import ConfigError


@attrs.frozen
class File:
    """A file that was read. lines: where each of its keys stands."""

    path: Path
    table: Mapping[str, object]
    lines: Mapping[KeyPath, int]

    def has(self, key: KeyPath) -> bool:
        """Whether the file says this."""
        return key in self.lines

    def place(self, key: KeyPath) -> str:
        """Return where a key stands: file, line and path; of one that is absent, the line of what it would stand in."""
        within = next((key[:length] for length in range(len(key), 0, -1) if key[:length] in self.lines), None)
        line = "" if within is None else f":{self.lines[within]}"
        return f"{self.path}{line}: {written(key)}" if key else str(self.path)


def read_file(path: Path) -> File:
    """Read a file that holds TOML. Raises `ConfigError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}") from error
    try:
        return File(path, tomllib.loads(text), lines_of(text))
    except tomllib.TOMLDecodeError as error:
        said, _, place = str(error).rpartition(" (at ")
        line = re.match(r"line (\d+)", place)
        number = line[1] if line else text.count("\n") + 1  # "end of document"
        raise ConfigError(f"{path}:{number}: not TOML: {said[:1].lower()}{said[1:]}") from error
    except (ValueError, RecursionError) as error:  # int's own, for thousands of digits; lists within lists without end
        raise ConfigError(f"{path}: not TOML: {str(error).lower()}") from error


@attrs.frozen(kw_only=True)
class Sources:
    """The files that settings came from, for whoever has to say where something stands. Empty: from none.

    tenants: by id.
    """

    engine: File | None = None
    tenants: Mapping[str, File] = attrs.field(factory=dict)

    def place(self, keys: Sequence[KeyPath], *, tenant: str = "", otherwise: KeyPath = ()) -> str:
        """Return where the first of these keys that any file has stands, the tenant's file first.

        otherwise: what is named if none has any, the first by default; it is by the engine's default then.
        """
        files = [file for file in (self.tenants.get(tenant), self.engine) if file]
        for file in files:
            for key in keys:
                if file.has(key):
                    return file.place(key)
        nowhere = otherwise or keys[0]
        return files[-1].place(nowhere) if files else written(nowhere)


def written(key: KeyPath) -> str:
    """Return a path as an operator would write it, such as `call.stt[0]`."""
    text = ""
    for part in key:
        match part:
            case int():
                text += f"[{part}]"
            case str() if re.fullmatch(r"[A-Za-z0-9_-]+", part):
                text += f".{part}"
            case _:
                text += f".{json.dumps(part, ensure_ascii=False)}"
    return text.removeprefix(".")

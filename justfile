# Holdfast's verbs. Each finds its tools in .venv by path: nothing needs to be activated.

# a word in quotes stays one word: just call --say "on Friday, please"
set positional-arguments

bin := quote(justfile_directory() / ".venv/bin")
stamp := sha256_file("pyproject.toml") + "-" + sha256_file("requirements.lock")

# show the verbs
_default:
    @{{ just_executable() }} --list --unsorted

# make or mend .venv; does nothing when it is up to date
setup:
    #!/usr/bin/env bash
    set -euo pipefail
    stamp=.venv/holdfast-setup
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "{{ stamp }}" ]; then exit 0; fi
    new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
    if [ ! -x {{ bin }}/python ]; then
        for python in python3 python3.14 python3.13 python3.12 python3.11 none; do
            if [ "$python" = none ]; then echo "setup: no python3 of 3.11 or newer was found" >&2; exit 1; fi
            if new_enough "$python"; then break; fi
        done
        "$python" -m venv .venv
    elif ! new_enough {{ bin }}/python; then
        echo "setup: .venv holds $({{ bin }}/python --version), 3.11 or newer is needed; remove .venv and try again" >&2
        exit 1
    fi
    echo "setup: installing $(wc -l < requirements.lock | tr -d ' ') locked packages, speech models included, into .venv (once, a minute or two)" >&2
    {{ bin }}/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
    {{ bin }}/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
    echo "{{ stamp }}" > "$stamp"

# serve, call it once, book an appointment, show it
demo *args: setup
    @{{ bin }}/holdfast demo "$@"

# answer calls
serve *args: setup
    @{{ bin }}/holdfast serve "$@"

# make a simulated call to a running server
call *args: setup
    @{{ bin }}/holdfast call "$@"

# the tests
test *args: setup
    @{{ bin }}/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"

# the engine's own share of an answer, and how many calls a core carries
bench *args: setup
    @{{ bin }}/python -m benchmarks "$@"

# what must be clean before a commit: lint, format, types, import contracts
check: setup
    {{ bin }}/ruff check
    {{ bin }}/ruff format --check
    {{ bin }}/mypy
    {{ bin }}/lint-imports

# mend what a machine can mend
fix: setup
    {{ bin }}/ruff check --fix
    {{ bin }}/ruff format

# virtual calls with faults everywhere, judged to the last word; --sockets: a thousand real ones, and what is left of them
soak *args: setup
    @{{ bin }}/python -m benchmarks.virtual_soak "$@"

# write docs/messages.md anew from the code
docs: setup
    @{{ bin }}/python -m docs.generate

# live calls with real speech, judged; --virtual: the same in a moment; --floor: which of hundreds of sounds take the floor
scenarios *args: setup
    @{{ bin }}/python -m simulators.talk "$@"

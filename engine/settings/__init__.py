"""Settings: what an operator may say in `config/`, and how it is refused.

Theory of operation. Each TOML table is a frozen class; a field's type carries the check that its value must pass, and
its default is the one that `config/engine.toml` ships and gives the reason for. A file is read whole, and every
mistake in it is reported at once, by its file, line and path. Nothing is coerced: `"5"` is not 5, `true` is not 1; only
a whole number may stand for seconds. No secret is ever here: a file names the environment variable that holds it.

How an actor and its session are restarted is said once for the actor and again, in part, where it differs: for a
vendor, and in a tenant's file. `Settings.actor` puts it together, field by field, and once all files are read, every
combination that a call could meet is tried: see `ladder`.

`checks` are of single values. `vendors`, `supervision`, `policies`, `tenant` and `engine` hold the tables, each knowing
only those before it. `sources` knows where a file says what, `shaping` makes a file's table one of those classes, and
`reading` reads them all.
"""

from engine.settings.checks import KINDS
from engine.settings.engine import DoorSettings, LogSettings, Settings, StorageSettings
from engine.settings.ladder import window_s
from engine.settings.policies import AgentOverride, settable
from engine.settings.reading import Configuration, load, load_settings, load_tenants, read
from engine.settings.sources import Sources, written
from engine.settings.supervision import (
    ACTORS,
    SESSIONS,
    ActorOverrides,
    ActorSettings,
    ActorsSettings,
    LastOverride,
    RestartOverride,
    SttOverride,
    SttSettings,
    SupervisorSettings,
    TtsSettings,
)
from engine.settings.tenant import LimitSettings, Tenant, Tenants, TextsSettings
from engine.settings.vendors import (
    BUILT_VENDORS,
    KNOWN_VENDORS,
    AnthropicSettings,
    CallSettings,
    DeepgramSettings,
    ElevenLabsSettings,
    TenantCallSettings,
    TwilioSettings,
    VendorSettings,
)

__all__ = [
    "ACTORS",
    "BUILT_VENDORS",
    "KINDS",
    "KNOWN_VENDORS",
    "SESSIONS",
    "ActorOverrides",
    "ActorSettings",
    "ActorsSettings",
    "AgentOverride",
    "AnthropicSettings",
    "CallSettings",
    "Configuration",
    "DeepgramSettings",
    "DoorSettings",
    "ElevenLabsSettings",
    "LastOverride",
    "LimitSettings",
    "LogSettings",
    "RestartOverride",
    "Settings",
    "Sources",
    "StorageSettings",
    "SttOverride",
    "SttSettings",
    "SupervisorSettings",
    "Tenant",
    "TenantCallSettings",
    "Tenants",
    "TextsSettings",
    "TtsSettings",
    "TwilioSettings",
    "VendorSettings",
    "load",
    "load_settings",
    "load_tenants",
    "read",
    "settable",
    "window_s",
    "written",
]

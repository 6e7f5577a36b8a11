"""Usage: what tenants' calls cost in tokens, used and wasted apart."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from engine.settings import Tenant
from engine.storage.store import Store


def report(store: Store, tenants: Iterable[Tenant], console: Console, *, until: datetime, days: float) -> None:
    """Print what calls have cost that began within so many days before a moment, by tenant and vendor.

    A model that tells no tokens, as the embedded one, has no row: it costs nothing.
    """
    table = Table(title=f"tokens of calls begun in the last {days:g} days", title_justify="left", box=SIMPLE)
    for name in ("tenant", "vendor", "use"):
        table.add_column(name)
    for name in ("requests", "read", "written"):
        table.add_column(name, justify="right")
    for tenant in tenants:
        for used in store.usage_of_tenant(tenant.id, since=until - timedelta(days=days), until=until):
            counts = (used.requests, used.input_tokens, used.output_tokens)
            use = "wasted" if used.wasted else "answered"
            table.add_row(tenant.id, used.vendor, use, *(f"{count:,}" for count in counts))
    if table.row_count:
        console.print(table)
    else:
        console.print(f"no tokens were counted in the last {days:g} days", highlight=False)

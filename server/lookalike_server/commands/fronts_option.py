"""Option --fronts: the number of front processes."""

from __future__ import annotations

import click

AUTOMATIC = "auto"


class FrontsType(click.ParamType[int | None]):
    """A number of processes, at least 1, or None for "auto"."""

    name = "fronts"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value is None or str(value) == AUTOMATIC:
            return None
        try:
            number = int(str(value))
        except ValueError:
            number = 0
        if number < 1:
            self.fail(f"{value!r} is not a number of processes; use 1 or more, or {AUTOMATIC}.", param, ctx)
        return number


def number_of_fronts(asked: int | None, placement: str) -> int:
    """Return the number of processes that take calls."""
    # Imported here, so that `lookalike --help` stays fast.
    from lookalike_server.common.automatic_fronts import automatic_fronts

    return automatic_fronts(on_gpu=placement != "cpu") if asked is None else asked

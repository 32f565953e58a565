"""What ``evaluate.py`` can run: each choice of ``conf/experiment`` is a module with ``run``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final, NamedTuple

from covspec_core.errors import InvalidSetting


class Findings(NamedTuple):
    """What an experiment found.

    Attributes:
        values: For ``output=json``.
        text: For ``output=text``, Markdown.
    """

    values: Any
    text: str


EXPERIMENTS: Final = ("judge", "ablations", "accuracy", "paper_tables", "league")


def experiment(settings: Mapping[str, Any]) -> Callable[[dict[str, Any]], Findings]:
    """The function of an experiment, which takes the whole composed configuration.

    Args:
        settings: Values of a file of ``conf/experiment``.

    Raises:
        InvalidSetting: If there is none of that name.
    """
    name = settings.get("name")
    if name not in EXPERIMENTS:
        raise InvalidSetting(f"experiment must be one of {EXPERIMENTS}, got {name!r}")
    run: Callable[[dict[str, Any]], Findings] = import_module(f"{__name__}.{name}").run
    return run

"""Rules for the numbers of a setting; a broken one is named with the rule and the value."""

from __future__ import annotations

import math
from collections.abc import Callable

from covspec_core.errors import InvalidSetting

_RULES: dict[str, Callable[[float], bool]] = {
    "above 0": lambda value: value > 0,
    ">= 0": lambda value: value >= 0,
    "in [0, 1)": lambda value: 0 <= value < 1,
    "in [0, 1]": lambda value: 0 <= value <= 1,
    "in [0, 10]": lambda value: 0 <= value <= 10,
    "in [0, 100]": lambda value: 0 <= value <= 100,
    "in [-1, 1]": lambda value: abs(value) <= 1,
    "in [-200, 200]": lambda value: abs(value) <= 200,
}


def check(setting: object, rule: str, *names: str) -> None:
    """Refuse fields of a setting that are no finite numbers or break a rule.

    Args:
        setting: Any object.
        rule: One of the rules, as the message gives it.
        names: Fields of ``setting``.

    Raises:
        InvalidSetting: With the name, the rule and the value of the first wrong field.
    """
    for name in names:
        value = getattr(setting, name)
        if not _obeys(value, rule):
            raise InvalidSetting(f"{name} must be finite and {rule}, got {value!r}")


def check_range(setting: object, name: str, rule: str) -> None:
    """Refuse a field that is no pair ``low <= high`` of numbers that obey a rule.

    Raises:
        InvalidSetting: With the name, the rule and the value.
    """
    value = getattr(setting, name)
    pair = isinstance(value, tuple | list) and len(value) == 2
    if not (pair and all(_obeys(end, rule) for end in value) and value[0] <= value[1]):
        raise InvalidSetting(f"{name} must be two numbers, low <= high, {rule}, got {value!r}")


def _obeys(value: object, rule: str) -> bool:
    number = isinstance(value, int | float) and math.isfinite(value)
    return number and _RULES[rule](value)  # type: ignore[arg-type]

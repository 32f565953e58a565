"""What all entry scripts share: composing, lines on standard error, one clear error at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from covspec_core.ending import clear_end
from covspec_core.errors import InvalidSetting
from covspec_core.provenance import ROOT, require_source_tree

CONF = ROOT / "conf"


def say(line: str) -> None:
    """One line on standard error; standard output is for results."""
    print(line, file=sys.stderr, flush=True)


def run_entry(name: str, main: Callable[[dict[str, Any]], None]) -> None:
    """Compose ``conf/<name>.yaml`` with the command line and call ``main`` with plain values.

    It ends as :func:`~covspec_core.ending.clear_end` says.
    """

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)
    def entry(config: DictConfig) -> None:
        with clear_end(name):
            main(plain(config))

    sys.argv[1:] = [spelled for word in sys.argv[1:] for spelled in spell_out(word)]
    entry()


def composed(name: str, overrides: Iterable[str]) -> dict[str, Any]:
    """``conf/<name>.yaml`` with overrides as plain values, without a command line.

    Raises:
        InvalidSetting: If an override does not exist or cannot be read, or ``conf/`` is missing.
    """
    require_source_tree()
    words = [spelled for word in overrides for spelled in spell_out(word)]
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            return plain(hydra.compose(name, overrides=words))
    except HydraException as error:
        said = " ".join(str(error).split())
        raise InvalidSetting(f"overrides of {name}.py must compose, got {words}: {said}") from error


def spell_out(word: str) -> list[str]:
    """``controller=FOLDER`` as Hydra wants it; everything else unchanged."""
    key, _, value = word.partition("=")
    is_folder = key == "controller" and "/" in value
    return ["controller=learned", f"controller.path={value}"] if is_folder else [word]


def plain(config: DictConfig) -> dict[str, Any]:
    """A composed configuration as plain values.

    Raises:
        InvalidSetting: If a mandatory value is missing or an interpolation fails.
    """
    try:
        values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        said = str(error).splitlines()[0]
        raise InvalidSetting(f"{said} (set {error.full_key}=...)") from error
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}

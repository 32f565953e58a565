"""The book of an Optuna study: whose turn it is, who stops early, what came of it."""

from __future__ import annotations

import json
import shlex
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from warnings import catch_warnings

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, PartialFixedSampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from covspec_core.errors import InvalidSetting, RunConflict
from policies.console import say
from policies.grid import checked
from policies.jobs import Done, Job
from policies.runs import alone, claimed, is_claimed
from policies.space import Space

PRUNERS = ("hyperband", "median", "none")
PATIENCE_S = 60
"""How long one process waits for another that writes to the file of the study."""
WARM_UP = 5
"""Trials and validations that the median rule lets pass."""


@dataclass(frozen=True)
class Referee:
    """Stops trainings that do worse than others did; the same to every process that asks.

    Attributes:
        folder: Of the study.
        space: Its search space.
        pruner: One of ``PRUNERS``.
    """

    folder: Path
    space: Space
    pruner: str

    def __post_init__(self) -> None:
        if self.pruner not in PRUNERS:
            raise InvalidSetting(f"pruner must be one of {PRUNERS}, got {self.pruner!r}")
        if self.pruner == "hyperband" and self.space.stop is None:
            raise InvalidSetting("pruner hyperband needs early_terminate in the sweep file")

    def __call__(self, name: str, number: int, value: float) -> bool:
        """Note a validation; whether the trial should stop."""
        trial = number_of(name)
        study = self.study()
        if number not in study.trials[trial].intermediate_values:
            running(study, trial).report(value, number)
        return running(study, trial).should_prune()

    def study(self, sampler: BaseSampler | None = None) -> optuna.Study:
        """The study, opened or begun."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = optuna.storages.RDBStorage(
            f"sqlite:///{self.folder / 'study.db'}",
            engine_kwargs={"connect_args": {"timeout": PATIENCE_S}},
        )
        return optuna.create_study(
            storage=storage,
            study_name=self.folder.name,
            direction=StudyDirection[self.space.metric.goal.upper()],
            sampler=sampler,
            pruner=self._rule(),
            load_if_exists=True,
        )

    def _rule(self) -> BasePruner:
        stop = self.space.stop
        if self.pruner == "hyperband" and stop is not None:
            return HyperbandPruner(min_resource=stop.min_iter, reduction_factor=stop.eta)
        if self.pruner == "median":
            return MedianPruner(n_startup_trials=WARM_UP, n_warmup_steps=WARM_UP)
        return NopPruner()


def number_of(name: str) -> int:
    """Of the trial that a job of this name plays."""
    return int(name.rpartition("_")[2])


def running(study: optuna.Study, number: int) -> optuna.Trial:
    """A trial that is under way, whoever began it."""
    storage = study._storage  # Optuna has no public way to a trial that another process asked for.
    own = storage.get_study_id_from_name(study.study_name)
    study.get_trials(deepcopy=False)  # Its cache knows no trial that was never read.
    return optuna.Trial(study, storage.get_trial_id_from_study_id_trial_number(own, number))


class Trials:
    """Gives out trials to play, those that somebody left first, and notes what they found.

    Trial ``n`` depends on the seed, ``n`` and the results so far: an interrupted study finds what
    it would have found without.

    Args:
        referee: Of the study.
        overrides: Of every trial.
        most: Trials of the study.
        seed: Of the search.
    """

    def __init__(self, referee: Referee, overrides: Sequence[str], most: int, seed: int) -> None:
        if most < 1:
            raise InvalidSetting(f"trials must be >= 1, got {most}")
        self._space, self._folder, self._referee = referee.space, referee.folder, referee
        self._overrides, self.seed = tuple(overrides), seed
        self._grid = list(self._space.grid()) if self._space.method == "grid" else []
        self._most = min(most, len(self._grid)) if self._grid else most
        self._worker = uuid.uuid4().hex
        # Combinations that cannot be trained are found before anything is.
        checked(Job.of(overrides, self._folder.name, self._folder))

    @contextmanager
    def working(self) -> Iterator[None]:
        """Be known to the other processes of this study as alive."""
        own = self._folder / "workers" / self._worker
        own.mkdir(parents=True)
        with claimed(own):
            self._begin()
            yield

    def _begin(self) -> None:
        asked = json.dumps([repr(self._space), self._overrides, self.seed])
        with alone(self._folder):
            study = self._referee.study()
            if study.user_attrs.get("asked", asked) != asked:
                raise RunConflict(
                    f"{self._folder} is a study of another sweep, other overrides or another seed; "
                    "choose another --name"
                )
            study.set_user_attr("asked", asked)

    def jobs(self) -> Iterator[Job]:
        """Trials to play, until the study has enough."""
        while (number := self._take()) is not None:
            name = f"{self._folder.name}_{number:03d}"
            try:
                job = Job.of(self._chosen(number), name, self._folder)
                yield replace(checked(job), metric=self._space.metric.name, judged=False)
            except InvalidSetting as error:
                say(f"{name} cannot be trained: {error}")
                self._study(number).tell(number, state=TrialState.FAIL)

    def _take(self) -> int | None:
        with alone(self._folder):
            trials = self._referee.study().trials
            left = [trial.number for trial in trials if self._is_left(trial)]
            if not left and len(trials) >= self._most:
                return None
            number = left[0] if left else self._study(len(trials)).ask().number
            running(self._study(number), number).set_user_attr("worker", self._worker)
            self._chosen(number)
        return number

    def _is_left(self, trial: FrozenTrial) -> bool:
        """Whether a trial was begun by a process that is no more."""
        if trial.state != TrialState.RUNNING:
            return False
        worker = trial.user_attrs.get("worker")
        return worker is None or not is_claimed(self._folder / "workers" / worker)

    def _study(self, number: int) -> optuna.Study:
        """The study as it draws this trial."""
        if self._space.method == "grid":
            with catch_warnings(action="ignore", category=ExperimentalWarning):
                fixed = PartialFixedSampler(self._grid[number], RandomSampler())
            return self._referee.study(fixed)
        seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        tree = self._space.method == "bayes"
        return self._referee.study(TPESampler(seed=seed) if tree else RandomSampler(seed=seed))

    def _chosen(self, number: int) -> tuple[str, ...]:
        """Overrides of a trial; drawn once, then as they were drawn."""
        trial = running(self._study(number), number)
        own = (f"{n}={p.suggest(trial, n)}" for n, p in self._space.parameters.items())
        return (*self._overrides, *own)

    def tell(self, done: Done) -> float:
        """Note what became of a trial; its value."""
        if not done.values:
            self._study(number_of(done.name)).tell(number_of(done.name), state=TrialState.FAIL)
            raise InvalidSetting(
                f"metric.name must be a figure of metrics.jsonl, got {self._space.metric.name!r}, "
                f"which {done.name} never had"
            )
        best = self._space.metric.best(done.values)
        if done.complete:
            self._study(number_of(done.name)).tell(number_of(done.name), best)
        else:
            self._study(number_of(done.name)).tell(number_of(done.name), state=TrialState.PRUNED)
        return best

    def best(self) -> dict[str, Any]:
        """The best trial and the command that trains it, with the number of trials of each state.

        Raises:
            RunConflict: If no trial came to its end.
        """
        trials = self._referee.study().trials
        states = {s.name.lower(): sum(t.state == s for t in trials) for s in TrialState}
        if not states["complete"]:
            raise RunConflict(f"{self._folder} has no trial that came to its end, got {states}")
        best = self._referee.study().best_trial
        words = shlex.join(["python", "train.py", *self._chosen(best.number)])
        return {
            "metric": self._space.metric.name,
            "value": best.value,
            "trial": best.number,
            "command": words,
            "trials": states,
        }

"""What is left of a trained model: its policy as plain arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from policies.algorithms.settings import Settings
from policies.networks import Lstm, Network, Weights


def network_of(model: BaseAlgorithm, settings: Settings, history: int) -> Network:
    """The network that decides, a copy that further training leaves as it is.

    Args:
        model: Of the settings' kind.
        settings: Of the algorithm.
        history: Rounds that its observations show.
    """
    policy: Any = model.policy
    recurrent, masked = settings.kind == "recurrent_ppo", settings.kind == "maskable_ppo"
    return Network(
        LAYERS[settings.view](policy),
        activation="tanh" if settings.view == "parts" else "relu",
        lstm=_lstm(policy.lstm_actor) if recurrent else None,
        view=settings.view,
        history=history,
        masked=masked,
    )


def _linear(modules: Iterable[torch.nn.Module]) -> Weights:
    return [
        (_array(m.weight).T.copy(), _array(m.bias))
        for m in modules
        if isinstance(m, torch.nn.Linear)
    ]


def _array(parameter: torch.Tensor) -> np.ndarray:
    return parameter.detach().numpy().copy()


def _actor(policy: Any) -> Weights:
    return _linear([*policy.mlp_extractor.policy_net, policy.action_net])


def _values(policy: Any) -> Weights:
    """Values of all actions; the mean over quantiles is linear, so the last layer takes it in."""
    if hasattr(policy, "q_net"):
        return _linear(policy.q_net.q_net)
    *layers, (weight, bias) = _linear(policy.quantile_net.quantile_net)
    count = policy.n_quantiles
    mean = weight.reshape(len(weight), count, -1).mean(1), bias.reshape(count, -1).mean(0)
    return [*layers, mean]


def _mean(policy: Any) -> Weights:
    """Mean of the Gaussian, before it is squashed."""
    return _linear([*policy.actor.latent_pi, policy.actor.mu])


LAYERS: dict[str, Callable[[Any], Weights]] = {
    "parts": _actor,
    "flat": _values,
    "box": _mean,
}


def _lstm(layer: torch.nn.LSTM) -> Lstm:
    own = dict(layer.named_parameters())
    weight = torch.cat([own["weight_ih_l0"], own["weight_hh_l0"]], dim=1)
    return Lstm(_array(weight).T.copy(), _array(own["bias_ih_l0"] + own["bias_hh_l0"]))

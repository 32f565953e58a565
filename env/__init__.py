"""Gymnasium environments over the engine: set its controls round by round.

Importing this package registers ``CoVSpec-v0`` and ``CoVSpecToken-v0``, which decides after every
drafted token; ``gymnasium.make("env:CoVSpec-v0")`` does both.
"""

import gymnasium

gymnasium.register(
    id="CoVSpec-v0",
    entry_point="env.single:CoVSpecEnv",
    vector_entry_point="env.vector:CoVSpecVectorEnv",
    # Half of a step's time; the tests run both of Gymnasium's checkers instead.
    disable_env_checker=True,
)
gymnasium.register(
    id="CoVSpecToken-v0",
    entry_point="env.single:CoVSpecTokenEnv",
    vector_entry_point="env.vector:CoVSpecTokenVectorEnv",
    disable_env_checker=True,
)

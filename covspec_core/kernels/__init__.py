"""Compiled arithmetic of rounds: scalar functions of one session, and loops over sessions around.

One live session, a batch of thousands and the oracles run the same scalar functions, so the
arithmetic stands here and nowhere else. Importing a module of this package loads numba; the engine
does so when it first needs one.
"""

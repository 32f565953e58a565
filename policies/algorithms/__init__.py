"""Learning algorithms: their settings, their models, and what is left of them in the end."""

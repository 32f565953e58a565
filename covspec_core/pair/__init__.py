"""The embedded pair: a drawn world, questions about it, and two small models trained on it."""

"""Controllers: rules, learned ones, their training, judging and export."""

from policies.learned import LearnedController, load_controller

__all__ = ["LearnedController", "load_controller"]

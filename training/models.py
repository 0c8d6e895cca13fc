"""Names of the models that this release trains, and where each one's recipe stands. Imports nothing heavy.

Not here: how a model is fitted (training/<module>/<model>.py); which methods ask it (the contract's option `model`).
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.recipe import Recipe

CHURN = "churn"  # rows and trees, with a shell of its own (training/revenue/fitting.py)
RECIPES = {
    "ltv": "training.revenue.ltv_version",
    "price": "training.revenue.price_version",
    "payments": "training.revenue.payments_version",
    "upsell": "training.revenue.upsell_version",
    "path": "training.learning.path_version",
    "difficulty": "training.learning.difficulty_version",
    "certification": "training.learning.certification_version",
    "lessons": "training.learning.lessons_version",
    "schedule": "training.learning.schedule_version",
}
"""Model -> module of Python that holds its `RECIPE`."""
MODELS = (CHURN, *RECIPES)
SNAPSHOTS = {"revenue": "features.revenue", "learning": "features.learning"}
"""Module that is asked by id -> the registered model of its feature snapshots."""


def recipe_of(model: str) -> "Recipe":
    """The recipe of a model other than churn; raises KeyError for a name that is none."""
    recipe: Recipe = import_module(RECIPES[model]).RECIPE
    return recipe

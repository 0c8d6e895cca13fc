"""Feature sets of the models that answer requests as a whole, by id: equal in a version and in a snapshot that fits it.

A version reads whole messages, so its artifact names no field; what it is asked for by id is computed by the code named
here, and the digest of that code is what version and snapshot must share. Imports nothing heavy.
Not here: churn, whose set is that of its own fields (methods/features.py); the snapshots (snapshot.py).
"""

from importlib import import_module

from methods.features import FeatureSchema

NO_FIELDS = FeatureSchema(message="", features=())
BY_ID = {
    "ltv": "training.features.customers",
    "upsell": "training.features.offers",
    "path": "training.features.learners",
    "difficulty": "training.features.learners",
    "certification": "training.features.learners",
    "lessons": "training.features.learners",
    "schedule": "training.features.learners",
}
"""Model -> module of Python with the features that it is asked for by id."""


def by_id_expressions(model: str) -> str | None:
    """sha256 over the code of the features that a model is asked for by id; None for a model that is not."""
    name = BY_ID.get(model)
    return None if name is None else str(import_module(name).expressions_digest())


def feature_set_of(model: str) -> str:
    """The feature set of a model's versions, as this code would fit them; raises KeyError for one not asked by id."""
    return NO_FIELDS.feature_set(import_module(BY_ID[model]).expressions_digest())

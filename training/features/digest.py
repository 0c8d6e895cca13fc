"""A digest of what feature code says: it changes with an expression, and not with comments, docstrings or layout.

It stands in `feature_set`, by which a server tells whether a snapshot and a model mean the same features.
"""

import ast
import hashlib
from collections.abc import Sequence


def digest_code(sources: Sequence[str]) -> str:
    """sha256 over the meaning of Python sources, in order.

    >>> digest_code(["x = 1  # one"]) == digest_code(["x  =  1"])
    True
    >>> digest_code(["x = 1"]) == digest_code(["x = 2"])
    False
    """
    return hashlib.sha256("\n".join(_bare(source) for source in sources).encode()).hexdigest()


def _bare(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            first.value.value = ""
    return ast.unparse(tree)

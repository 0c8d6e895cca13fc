"""What batches of this module say to a request for reasons.

Not here: reasons themselves (serving/reasons.py, and each method).
"""

from server.errors import InvalidField


def explain_refused(single: str) -> InvalidField:
    """A batch gets no explanations: they cost more than its answers. `single` is the method that gives them."""
    text = f"is for {single}; ask for the rows that matter one by one"
    return InvalidField.of("context.explain", text)

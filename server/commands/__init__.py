"""What the operator's commands do; `python -m server` only names them."""

"""Tools of the house: code generation and the checks of `make check`. Nothing here runs in production."""

"""Messages to numbers and back: quick checks, readers and answer stencils made from the contract's descriptors."""

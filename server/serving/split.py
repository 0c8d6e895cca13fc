"""Which version answers a request: routing key -> version, the same one every time.

The bucket depends on model, challenger and key alone, so every worker and every machine agrees without talking.
Pure: no clock, no I/O. A growing share only moves keys into the canary, never between old versions.
Not here: which versions are live (deployments.py); how a share grows (control/rollout.py).
"""

from hashlib import blake2b

BUCKETS = 10_000


def assign_bucket(model: str, salt: str, key: str) -> int:
    """A key's place, 0 to 9,999.

    `salt` is the digest of the challenger's manifest: another challenger gets another tenth of the keys.

    >>> assign_bucket("churn", "r1", "learner-1") == assign_bucket("churn", "r1", "learner-1")
    True
    """
    return bucket_from(split_base(model, salt), key)


def in_canary(bucket: int, share_bp: int) -> bool:
    """Whether a bucket belongs to a canary with that share in hundredths of a percent.

    >>> in_canary(499, 500), in_canary(500, 500)
    (True, False)
    """
    return bucket < share_bp


def split_base(model: str, salt: str) -> "blake2b":
    """The hash of all that is the same for every key; made once a route, copied for each key."""
    return blake2b(f"{model}\0{salt}\0".encode(), digest_size=8)


def bucket_from(base: "blake2b", key: str) -> int:
    """`assign_bucket` from a prepared base."""
    hashed = base.copy()
    hashed.update(key.encode())
    return int.from_bytes(hashed.digest()) % BUCKETS

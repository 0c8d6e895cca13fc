"""When calls are meant to be sent: intended times of an open loop.

Pure; the seed decides chance. Latency counts from these times, whatever the sender manages, so that a server that
stalls cannot hide the calls that would have come meanwhile (coordinated omission, G. Tene 2013).
"""

from random import Random


def fixed_arrivals(rate: float, seconds: float) -> list[float]:
    """Intended times in seconds from the start, evenly spaced.

    Args:
        rate: calls a second, above 0.
        seconds: length of the run.

    >>> fixed_arrivals(2.0, 2.0)
    [0.0, 0.5, 1.0, 1.5]
    """
    return [number / rate for number in range(round(rate * seconds))]


def poisson_arrivals(rate: float, seconds: float, rng: Random) -> list[float]:
    """Intended times in seconds from the start, as independent callers send: exponential gaps with mean 1 / rate.

    >>> times = poisson_arrivals(100.0, 10.0, Random(1))
    >>> 900 < len(times) < 1100 and times == sorted(times) and times[-1] < 10
    True
    """
    times: list[float] = []
    at = rng.expovariate(rate)
    while at < seconds:
        times.append(at)
        at += rng.expovariate(rate)
    return times

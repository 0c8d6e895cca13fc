"""Every setting of the server: one frozen class, read once at start from PAEDSRESUS_* variables.

A wrong value, or an unknown name with our prefix, stops the start with a message that names the field, what was wrong
and what is allowed. A parent hands its children the same settings by `to_environ`. Secrets never stand here: the TLS
fields name files. `docs/reference/settings.md` is made from this class by `python -m tools.reference settings`.
Not here: whether a bind address is safe to open (supervisor.py).
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

PREFIX = "PAEDSRESUS_"
_SLOT = PREFIX + "SLOT"
_BOOT = PREFIX + "BOOT"
_PLACE_NAMES = frozenset({_SLOT, _BOOT})


class SettingsError(Exception):
    """The environment does not make valid settings; `problems` has one sentence for each field that is wrong."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Rule:
    """What a setting means and which values it takes; both ends of a range are allowed."""

    about: str
    unit: str
    _: KW_ONLY
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row of the reference: a setting's name, variable, type, default as text ("" = unset) and rule."""

    name: str
    variable: str
    kind: type
    default: str
    rule: Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How this server runs."""

    listen: Annotated[
        str,
        Rule(
            "Address of the gRPC port; 0 takes a free one. Elsewhere than on loopback it needs the TLS files.",
            "host:port",
        ),
    ] = "127.0.0.1:50051"
    metrics_listen: Annotated[
        str, Rule("Address of the HTTP port that answers /metrics; the same rule for other hosts.", "host:port")
    ] = "127.0.0.1:9464"
    workers: Annotated[
        int, Rule("Processes that answer predictions; each can keep one core busy.", "processes", least=1, most=64)
    ] = 2
    state_dir: Annotated[Path, Rule("Folder of everything the server remembers; one server a folder.", "path")] = Path(
        "state"
    )
    registry_uri: Annotated[
        str, Rule("The MLflow registry to follow: a SQLite file, or the address of an MLflow server.", "URI")
    ] = "sqlite:///mlruns/mlflow.db"
    poll_seconds: Annotated[
        float, Rule("Time between two looks at a registry that is a local file.", "seconds", least=0.05, most=60)
    ] = 0.2
    poll_http_seconds: Annotated[
        float, Rule("Time between two looks at a registry that answers by HTTP.", "seconds", least=0.2, most=600)
    ] = 2.0
    max_in_flight: Annotated[
        int, Rule("Calls that one worker takes at a time; one more is refused.", "calls", least=1, most=100_000)
    ] = 512
    heavy_queue: Annotated[
        int, Rule("Calls that wait for the compute process; one more is refused.", "calls", least=1, most=10_000)
    ] = 64
    default_deadline_seconds: Annotated[
        float, Rule("Deadline of a call whose client sent none.", "seconds", least=0.001, most=3600)
    ] = 10.0
    drain_seconds: Annotated[
        float, Rule("Time that running calls get to end after SIGTERM.", "seconds", least=0, most=3600)
    ] = 10.0
    stale_seconds: Annotated[
        float,
        Rule("A process without a heartbeat for that long is killed and restarted.", "seconds", least=1, most=600),
    ] = 10.0
    start_seconds: Annotated[
        float,
        Rule(
            "A process that has not claimed its slot after that long is killed and restarted.",
            "seconds",
            least=1,
            most=3600,
        ),
    ] = 60.0
    probe_memory_mb: Annotated[
        int, Rule("Memory of the child process that tries a new version first.", "MiB", least=64, most=1_048_576)
    ] = 2048
    probe_seconds: Annotated[float, Rule("Time that this child process gets.", "seconds", least=1, most=3600)] = 60.0
    log_level: Annotated[
        str, Rule("Least important log lines to write.", "word", choices=("debug", "info", "warning", "error"))
    ] = "info"
    log_sample: Annotated[
        float, Rule("Share of fast, successful calls that get a log line; all others do.", "1", least=0, most=1)
    ] = 0.01
    slow_seconds: Annotated[
        float, Rule("A call that takes longer always gets a log line.", "seconds", least=0, most=3600)
    ] = 0.25
    reflection: Annotated[
        bool, Rule("Whether any caller may ask which methods there are (gRPC reflection).", "true or false")
    ] = True
    tls_certificate_file: Annotated[Path | None, Rule("The server's certificate chain, PEM.", "path")] = None
    tls_key_file: Annotated[Path | None, Rule("The private key of that certificate, PEM.", "path")] = None
    tls_client_ca_file: Annotated[
        Path | None, Rule("Certificates that callers' certificates must descend from, PEM.", "path")
    ] = None

    def to_environ(self) -> dict[str, str]:
        """Return the variables from which `load_settings` makes these settings again."""
        return {entry.variable: _text(getattr(self, entry.name)) for entry in settings_entries()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What the supervisor tells one child about itself: its slot number, and a name for this start of it."""

    slot: int
    boot: str  # 16 hexadecimal digits; a new one at every start, so that a spool file is never continued

    def to_environ(self) -> dict[str, str]:
        """Return the variables from which `load_place` makes this place again."""
        return {_SLOT: str(self.slot), _BOOT: self.boot}


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings; a name that is absent or empty keeps its default.

    Raises: SettingsError: names every wrong field, what was wrong with it and what is allowed.

    >>> load_settings({"PAEDSRESUS_WORKERS": "4"}).workers
    4
    """
    known = {entry.variable: entry for entry in settings_entries()}
    problems = [
        f"{name} is not a setting of this server; {_nearest(name, known)}"
        for name in sorted(environ)
        if name.startswith(PREFIX) and name not in known.keys() | _PLACE_NAMES and not _is_service_link(name, environ)
    ]
    values: dict[str, Any] = {}
    for variable, entry in known.items():
        if text := environ.get(variable, ""):
            try:
                values[entry.name] = _parse(text, entry)
            except ValueError as wrong:
                problems.append(f"{variable} is {text!r}; {wrong} (default {entry.default or 'unset'})")
    if problems:
        raise SettingsError(tuple(problems))
    return Settings(**values)


def settings_entries() -> tuple[Entry, ...]:
    """List every setting, in the order of the class."""
    hints = get_type_hints(Settings, include_extras=True)
    entries = []
    for field in dataclasses.fields(Settings):
        kind, rule = get_args(hints[field.name])
        if not isinstance(kind, type):  # Path | None
            (kind,) = (part for part in get_args(kind) if part is not type(None))
        variable = PREFIX + field.name.upper()
        entries.append(Entry(name=field.name, variable=variable, kind=kind, default=_text(field.default), rule=rule))
    return tuple(entries)


def load_place(environ: Mapping[str, str]) -> Place:
    """Read which slot the supervisor gave to this process.

    Raises: SettingsError: the variables are missing or wrong; only the supervisor sets them.
    """
    slot, boot = environ.get(_SLOT, ""), environ.get(_BOOT, "")
    if not slot.isdecimal() or not re.fullmatch(r"[0-9a-f]{16}", boot):
        problem = (
            f"{_SLOT} is {slot!r} and {_BOOT} is {boot!r}; a number and 16 hexadecimal digits are needed. "
            "The supervisor sets both: start the server with `python -m server serve`"
        )
        raise SettingsError((problem,))
    return Place(slot=int(slot), boot=boot)


def split_address(address: str) -> tuple[str, int]:
    """Split host:port; an IPv6 host stands in brackets and is returned without them.

    Raises: ValueError: says what is needed.

    >>> split_address("[::1]:50051")
    ('::1', 50051)
    """
    host, colon, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not colon or not bare or not port.isdecimal() or int(port) > 65_535 or (":" in bare and bare == host):
        msg = "host:port is needed, the port from 0 to 65535, an IPv6 host in brackets"
        raise ValueError(msg)
    return bare, int(port)


def _nearest(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"


def _parse(text: str, entry: Entry) -> object:
    if entry.kind is bool:
        return _parse_flag(text)
    if entry.kind in (int, float):
        number = _parse_number(text, whole=entry.kind is int)
        return entry.kind(_within(number, entry.rule, whole=entry.kind is int))
    if entry.kind is Path:
        return Path(text)
    return _parse_text(text, entry.rule)


def _parse_flag(text: str) -> bool:
    words = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in words:
        msg = "true or false is needed"
        raise ValueError(msg)
    return words[text.lower()]


def _parse_number(text: str, *, whole: bool) -> float:
    try:
        return int(text) if whole else float(text)
    except ValueError:
        return math.nan  # outside every range; `_within` has the words


def _within(number: float, rule: Rule, *, whole: bool) -> float:
    assert rule.least is not None, "every number has a range"
    assert rule.most is not None, "every number has a range"
    if not rule.least <= number <= rule.most:  # NaN is never within
        of = "" if rule.unit == "1" else f" of {rule.unit}"
        msg = f"a {'whole number' if whole else 'number'}{of} from {rule.least:g} to {rule.most:g} is needed"
        raise ValueError(msg)
    return number


def _parse_text(text: str, rule: Rule) -> str:
    if rule.choices and text not in rule.choices:
        msg = f"one of {', '.join(rule.choices)} is needed"
        raise ValueError(msg)
    if rule.unit == "host:port":
        split_address(text)
    return text


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)


def _is_service_link(name: str, environ: Mapping[str, str]) -> bool:
    """Whether Kubernetes set this name because a service is called paedsresus-...; such names are not ours to judge."""
    services = (other.removesuffix("_SERVICE_HOST") for other in environ if other.endswith("_SERVICE_HOST"))
    return any(
        re.fullmatch(rf"{re.escape(service)}_(SERVICE_HOST|SERVICE_PORT|PORT)(_\w+)?", name) for service in services
    )

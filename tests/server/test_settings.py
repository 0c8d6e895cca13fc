"""Settings: what the environment may say, and what stops the start."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.settings import (
    Place,
    Settings,
    SettingsError,
    load_place,
    load_settings,
    settings_entries,
    split_address,
)


def test_an_empty_environment_gives_the_defaults() -> None:
    assert load_settings({}) == Settings()
    assert load_settings({"PAEDSRESUS_WORKERS": "", "HOME": "somewhere"}) == Settings()


@given(
    settings=st.builds(
        Settings,
        workers=st.integers(1, 64),
        poll_seconds=st.floats(0.05, 60),
        log_sample=st.floats(0, 1),
        reflection=st.booleans(),
        log_level=st.sampled_from(["debug", "info", "warning", "error"]),
        state_dir=st.just(Path("/srv/state")),
        tls_key_file=st.sampled_from([None, Path("/run/secrets/key.pem")]),
    )
)
def test_children_read_back_exactly_what_the_parent_had(settings: Settings) -> None:
    assert load_settings(settings.to_environ()) == settings


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("WORKERS", "many", "a whole number of processes from 1 to 64"),
        ("WORKERS", "0", "a whole number of processes from 1 to 64"),
        ("WORKERS", "2.5", "a whole number of processes from 1 to 64"),
        ("DRAIN_SECONDS", "nan", "a number of seconds from 0 to 3600"),
        ("DRAIN_SECONDS", "inf", "a number of seconds from 0 to 3600"),
        ("LOG_SAMPLE", "2", "a number from 0 to 1"),
        ("LOG_LEVEL", "loud", "one of debug, info, warning, error"),
        ("REFLECTION", "yes", "true or false"),
        ("LISTEN", "50051", "host:port is needed"),
        ("LISTEN", "127.0.0.1:70000", "from 0 to 65535"),
        ("METRICS_LISTEN", "::1:9464", "an IPv6 host in brackets"),
    ],
)
def test_a_wrong_value_stops_the_start_and_says_what_is_allowed(variable: str, value: str, allowed: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({f"PAEDSRESUS_{variable}": value})

    (problem,) = caught.value.problems
    assert problem.startswith(f"PAEDSRESUS_{variable} is '{value}'")
    assert allowed in problem


def test_an_unknown_name_stops_the_start_and_the_nearest_is_named() -> None:
    with pytest.raises(SettingsError, match=r"PAEDSRESUS_WORKER is not a setting .* did you mean PAEDSRESUS_WORKERS"):
        load_settings({"PAEDSRESUS_WORKER": "4"})


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({"PAEDSRESUS_WORKERS": "x", "PAEDSRESUS_QQ": "1", "PAEDSRESUS_LOG_LEVEL": "x"})

    assert len(caught.value.problems) == 3


def test_names_that_kubernetes_sets_for_a_service_are_not_judged() -> None:
    links = {
        "PAEDSRESUS_ML_SERVICE_HOST": "10.0.0.1",
        "PAEDSRESUS_ML_SERVICE_PORT": "50051",
        "PAEDSRESUS_ML_SERVICE_PORT_GRPC": "50051",
        "PAEDSRESUS_ML_PORT": "tcp://10.0.0.1:50051",
        "PAEDSRESUS_ML_PORT_50051_TCP_ADDR": "10.0.0.1",
    }

    assert load_settings(links) == Settings()
    with pytest.raises(SettingsError):
        load_settings({"PAEDSRESUS_ML_PORT": "50051"})


def test_a_child_reads_its_place_and_its_settings_from_one_environment() -> None:
    place = Place(slot=3, boot="00112233445566ff")
    environ = Settings(workers=4).to_environ() | place.to_environ()

    assert load_place(environ) == place
    assert load_settings(environ).workers == 4


@pytest.mark.parametrize("environ", [{}, {"PAEDSRESUS_SLOT": "1", "PAEDSRESUS_BOOT": "xyz"}], ids=["missing", "wrong"])
def test_a_process_without_a_place_says_how_to_start(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="python -m server serve"):
        load_place(environ)


@pytest.mark.parametrize(
    ("address", "expected"),
    [("127.0.0.1:0", ("127.0.0.1", 0)), ("localhost:50051", ("localhost", 50051)), ("[::1]:1", ("::1", 1))],
)
def test_an_address_splits_into_host_and_port(address: str, expected: tuple[str, int]) -> None:
    assert split_address(address) == expected


def test_every_setting_has_one_whole_sentence_a_unit_and_a_range_if_it_is_a_number() -> None:
    for entry in settings_entries():
        assert entry.rule.about.endswith("."), entry.name
        assert entry.rule.unit, entry.name
        if entry.kind in (int, float):
            assert entry.rule.least is not None, entry.name
            assert entry.rule.most is not None, entry.name


def test_the_reference_page_is_made_from_the_settings() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "tools.reference", "settings", "--check"], check=False, capture_output=True, text=True
    )

    assert checked.returncode == 0, checked.stderr

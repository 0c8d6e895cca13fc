"""SERVING means: what is built and enabled can answer."""

from pathlib import Path

import pytest

from server.desired import Switch
from server.monitor.serving import WHOLE, serving_services
from server.serving.contract import read_contract
from server.serving.deployments import Routes
from tests.fakes.serving import Desk

CONTRACT = read_contract()
REVENUE = "paedsresus.ml.v1.RevenueService"
BUILT = {f"/{REVENUE}/PredictChurn", f"/{REVENUE}/GetStatus", "/paedsresus.ml.v1.KaizenService/GetStatus"}


def test_without_a_version_nothing_serves() -> None:
    services = serving_services(CONTRACT, BUILT, Routes())

    assert not any(services.values())


def test_a_service_serves_when_its_models_are_live_and_one_without_methods_does_not(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.serve(desk.load(7))

    services = serving_services(CONTRACT, BUILT, desk.live.routes)

    assert {name for name, is_serving in services.items() if is_serving} == {WHOLE, REVENUE}


def test_a_built_method_without_a_version_leaves_the_whole_to_those_that_have_one(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.serve(desk.load(7))
    learning = "paedsresus.ml.v1.LearningService"

    services = serving_services(CONTRACT, {*BUILT, f"/{learning}/AdjustDifficulty"}, desk.live.routes)

    assert (services[WHOLE], services[REVENUE], services[learning]) == (True, True, False)


@pytest.mark.parametrize("switch", [Switch.OFF, Switch.FALLBACK_ONLY])
def test_a_switched_model_does_not_serve(tmp_path: Path, switch: Switch) -> None:
    desk = Desk(tmp_path)
    desk.serve(desk.load(7), switch=switch)

    assert not serving_services(CONTRACT, BUILT, desk.live.routes)[REVENUE]


def test_a_documented_prior_serves_but_not_the_whole_without_any_live_model() -> None:
    services = serving_services(CONTRACT, BUILT, Routes(), priors=frozenset({"churn"}))

    assert services[REVENUE]
    assert not services[WHOLE]

import numpy as np

from training.report.plots import draw_plots

PNG = b"\x89PNG\r\n\x1a\n"


def test_each_picture_is_a_png_and_the_same_every_time() -> None:
    rng = np.random.default_rng(0)
    chance = rng.uniform(0.01, 0.3, 500)
    outcome = (rng.random(500) < chance).astype(float)
    curves = [("new version", chance), ("plain logistic", np.full(500, 0.1))]

    first, second = draw_plots(outcome, curves), draw_plots(outcome, curves)

    assert set(first) == {"calibration.png", "gain.png", "roc.png"}
    assert all(picture.startswith(PNG) for picture in first.values())
    assert first == second

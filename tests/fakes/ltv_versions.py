"""A version of ltv that knows subscriptions and single purchases; the simulated platform sells subscriptions alone."""

from __future__ import annotations

from methods.revenue.churn import ChurnParameters
from methods.revenue.ltv_parameters import LtvParameters, PurchaseParameters
from methods.revenue.purchases import PurchaseModel
from methods.revenue.subscriptions import CohortHazard

PURCHASES = PurchaseParameters(
    model=PurchaseModel.PARETO_NBD,
    theta=(0.553, 10.578, 0.606, 11.669),
    covariance=((0.007, 0.0, 0.0, 0.0), (0.0, 0.006, 0.0, 0.0), (0.0, 0.0, 0.09, 0.0), (0.0, 0.0, 0.0, 0.28)),
    value_theta=(6.25, 3.744, 1544.36),
    value_covariance=((0.03, 0.0, 0.0), (0.0, 0.01, 0.0), (0.0, 0.0, 0.05)),
    observed_weeks=200.0,
)
MONTHLY = CohortHazard(plan="MONTHLY", period_days=28, hazards=(0.1,) * 80, variances=(0.0004,) * 80)
CHURN = ChurnParameters(period_days=28, slopes=(1.0,) * 13, offsets=(-3.0,) * 13)
PARAMETERS = LtvParameters(purchases=PURCHASES, cohorts=(MONTHLY,), margin_rate=0.5)

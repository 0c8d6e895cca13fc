"""`python -m benchmarks.truth NAME --data DIR [--json FILE]`: a method fitted and judged on public data.

Prints every figure beside its anchor. It reports and never fails for a figure. docs/benchmarks.md says what DIR holds.
"""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.report import Report, print_report, write_json
from benchmarks.truth import adaptive, answers, churn, ltv, memory, off_policy, passing, path, payments, price, uplift

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)


class Name(Enum):
    """Methods that can be judged."""

    ADAPTIVE = "adaptive"
    ANSWERS = "answers"
    CHURN = "churn"
    LTV = "ltv"
    MEMORY = "memory"
    OFF_POLICY = "off_policy"
    PASSING = "pass"
    PATH = "path"
    PAYMENTS = "payments"
    PRICE = "price"
    UPLIFT = "uplift"


RUNS = {
    Name.ADAPTIVE: adaptive.measure,
    Name.ANSWERS: answers.measure,
    Name.CHURN: churn.measure,
    Name.LTV: ltv.measure,
    Name.MEMORY: memory.measure,
    Name.OFF_POLICY: off_policy.measure,
    Name.PASSING: passing.measure,
    Name.PATH: path.measure,
    Name.PAYMENTS: payments.measure,
    Name.PRICE: price.measure,
    Name.UPLIFT: uplift.measure,
}


@app.command()
def measure(
    name: Annotated[Name, typer.Argument(help="The method.")],
    data: Annotated[Path, typer.Option(help="Folder with the data.", exists=True, file_okay=False)],
    json: Annotated[Path | None, typer.Option(help="Also write the figures to this file.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of folds, trees and draws.")] = 0,
) -> None:
    """Fit on the documented split, print every figure beside its anchor."""
    try:
        report: Report = RUNS[name](data, seed)
    except (FileNotFoundError, ValueError) as cause:  # a column that is missing or wrong is named in the message
        typer.echo(str(cause), err=True)
        raise typer.Exit(code=1) from cause
    print_report(report)
    if json:
        write_json(report, json)


if __name__ == "__main__":
    app(prog_name="python -m benchmarks.truth")

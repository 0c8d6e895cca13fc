"""`serve`: refuse or start, then say what is live and what to try next.

Not here: watching the processes (supervisor.py); the checks before (preflight.py).
"""

import contextlib
import dataclasses
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from server.commands.view import SystemView, view_of_files
from server.logs import configure_logs
from server.preflight import check_bind, free_address, locked
from server.settings import Settings, load_settings
from server.supervisor import supervise

PATIENCE_SECONDS = 60.0  # a first start tries its versions for some 10 s, on a busy machine 30; then words without one


def serve(environ: Mapping[str, str], say: Callable[[str], None]) -> int:
    """Run the server until it is told to stop; returns the exit code.

    Raises: SettingsError, StartRefused: it must not start, and why.
    """
    settings = load_settings(environ)
    configure_logs("supervisor", settings.log_level)
    check_bind(settings)
    with locked(settings.state_dir):
        settings = dataclasses.replace(
            settings,
            listen=free_address(settings.listen, "PAEDSRESUS_LISTEN"),
            metrics_listen=free_address(settings.metrics_listen, "PAEDSRESUS_METRICS_LISTEN"),
        )
        began = time.monotonic()

        def announce() -> bool:
            view = view_of_files(settings, note="", now=datetime.now(UTC))
            waited = time.monotonic() - began
            if (view.coming or not view.answering) and waited < PATIENCE_SECONDS:
                return False
            with contextlib.suppress(OSError):  # nobody reads them any more: that is no reason to stop serving
                say(welcome(view, settings, seconds=waited))
            return True

        return supervise(settings, environ, announce)


def welcome(view: SystemView, settings: Settings, *, seconds: float) -> str:
    """First words of a server that answers."""
    lines = [f"serving on {settings.listen}, {settings.workers} workers, after {seconds:.1f} s"]
    lines += [
        f"  {row.model} version {row.version}, {row.role}, {row.share:.0%} of the traffic, {row.digest[:12]}"
        for row in view.answering
    ]
    lines += [
        f"  {row.model} version {row.version}, features of {row.subjects:,} subjects by id" for row in view.snapshots
    ]
    lines += [f"  {model} is still being verified" for model in view.coming]
    if not view.answering:
        lines.append("  no model is live yet; train one: python -m training fit churn")
    here = Path(sys.executable)
    python = here.relative_to(Path.cwd()) if here.is_relative_to(Path.cwd()) else here.name
    lines += ["try next:"]
    if shutil.which(str(here.with_name("buf"))):
        lines.append(
            f"  {Path(python).with_name('buf')} curl --protocol grpc --http2-prior-knowledge "
            """-d '{"features": {"plan": "SUBSCRIPTION_PLAN_MONTHLY", "tenure_days": 120, "sessions_28d": 2}}' """
            f"http://{settings.listen}/paedsresus.ml.v1.RevenueService/PredictChurn"
        )
    call = f'Client("{settings.listen}").revenue.predict_churn(features={{"tenure_days": 120}})'
    lines += [
        f"  {python} -c 'from paedsresus.ml import Client; print({call})'",
        f"  {python} -m server status",
    ]
    return "\n".join(lines)

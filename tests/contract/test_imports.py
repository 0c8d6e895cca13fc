"""Messages are light: whoever only reads and writes them loads no transport."""

import subprocess
import sys

from tests.contract.descriptors import message_modules


def test_importing_messages_loads_no_grpc() -> None:
    program = (
        f"import importlib, sys; [importlib.import_module(name) for name in {message_modules()}]; "
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'grpc', 'mlflow', 'numpy', 'pandas'}))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )

    assert done.stdout.strip() == "[]"

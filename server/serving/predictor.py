"""A version's ONNX graph, one row at a time or many: float32 features in, the raw score (margin) out.

One thread, no spinning: a worker is one core, and onnxruntime's own threads would sit on the cores of the others. The
single row goes through buffers that are bound once (27 microseconds inside a loaded server, 36 by `run`). Nothing may
be awaited between filling `row` and reading the answer.
Not here: how a request fills the row (wire/reader.py); what the score means (methods/).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

INPUT, OUTPUT = "features", "margin"
_OUTPUTS = [OUTPUT]


class PredictorError(Exception):
    """The graph cannot be opened, or is not of the artifact's form; the text says what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictor:
    """An opened graph.

    Attributes:
        width: number of feature columns.
        row: (1, width) float32, C order; fill it, then call `margin`.
    """

    width: int
    row: NDArray[np.float32]
    _session: Any
    _binding: Any
    _answer: NDArray[np.float32]

    def margin(self) -> float:
        """Raw score of the row in the buffer; NaN or infinite when the graph gives such."""
        self._session.run_with_iobinding(self._binding)
        return self._answer.item()

    def margins(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """Raw scores of many rows: (n, width) -> (n,)."""
        margins: NDArray[np.float32] = self._session.run(_OUTPUTS, {INPUT: matrix})[0]
        return margins[:, 0].astype(np.float64)


def open_predictor(graph: bytes, *, width: int) -> Predictor:
    """Open the bytes of a graph for `width` feature columns and run it once.

    Raises: PredictorError: it is no graph of the artifact's form, or has another width.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Neither saves time at this size, and both keep memory for every version: 3.6 MB each of 200 trees with the arena.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.log_severity_level = 3  # errors; they come back as exceptions, and paths in warnings help nobody
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as cause:  # onnxruntime raises a family of unrelated classes
        raise PredictorError("the graph cannot be opened") from cause
    session._model_bytes = None  # noqa: SLF001 - kept for a change of provider that never comes; the graph once more
    _check_form(session, width)
    row = np.full((1, width), np.nan, dtype=np.float32)
    answer = np.zeros((1, 1), dtype=np.float32)
    binding = session.io_binding()
    binding.bind_input(INPUT, "cpu", 0, np.float32, row.shape, row.ctypes.data)
    binding.bind_output(OUTPUT, "cpu", 0, np.float32, answer.shape, answer.ctypes.data)
    predictor = Predictor(
        width=width,
        row=row,
        _session=session,
        _binding=binding,
        _answer=answer,
    )
    predictor.margin()
    return predictor


def _check_form(session: Any, width: int) -> None:
    inputs = [(item.name, item.type, item.shape) for item in session.get_inputs()]
    outputs = [(item.name, item.type) for item in session.get_outputs()]
    if len(inputs) != 1 or inputs[0][:2] != (INPUT, "tensor(float)") or len(inputs[0][2]) != 2:
        raise PredictorError(f"the graph's input must be {INPUT!r}, float32 [N, C]; it has {inputs}")
    if inputs[0][2][1] != width:
        raise PredictorError(f"the graph reads {inputs[0][2][1]} columns, the schema has {width}")
    if outputs != [(OUTPUT, "tensor(float)")]:
        raise PredictorError(f"the graph's output must be {OUTPUT!r}, float32 [N, 1]; it has {outputs}")

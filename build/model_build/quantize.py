"""fp32 ONNX file -> int8 ONNX file for the CPU."""

import logging
from pathlib import Path

from onnxruntime.quantization import QuantType, quantize_dynamic


def quantize_int8(source: Path, target: Path) -> None:
    """Weights of matrix products and embeddings to int8, one scale a channel.

    Activations are quantised while the model runs (dynamic quantisation), so no calibration data
    is needed.

    Raises:
        OSError: the file cannot be written.
    """
    # It recommends a pre-processing step that makes no difference to an exported graph.
    logging.getLogger().addFilter(_no_advice)
    try:
        quantize_dynamic(source, target, per_channel=True, weight_type=QuantType.QInt8)
    finally:
        logging.getLogger().removeFilter(_no_advice)


def _no_advice(record: logging.LogRecord) -> bool:
    return "pre-processing before quantization" not in record.getMessage()

"""Everything offline: data, training, export, quantisation, parity and publishing of models."""

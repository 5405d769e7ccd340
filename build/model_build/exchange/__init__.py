"""Versions from and for others: MLflow's model registry, a stock Triton's repository."""

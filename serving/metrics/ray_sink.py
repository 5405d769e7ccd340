"""Readings to Ray's metrics, which its agent offers to Prometheus on `server.metrics_port`."""

from collections.abc import Iterable

from ray.serve import metrics

from serving.metrics.readings import Reading


class RaySink:
    """For a replica: every value gets its deployment and replica as tags."""

    def __init__(self) -> None:
        self._metrics: dict[str, metrics.Gauge | metrics.Counter] = {}
        # Ray's counters take increments.
        self._counted: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    def take(self, readings: Iterable[Reading]) -> None:
        """Takes all readings of one moment."""
        for reading in readings:
            metric = self._metric(reading)
            tags = dict(reading.tags)
            if isinstance(metric, metrics.Gauge):
                metric.set(reading.value, tags=tags)
                continue
            key = (reading.name, reading.tags)
            increment = reading.value - self._counted.get(key, 0.0)
            if increment > 0:
                metric.inc(increment, tags=tags)
                self._counted[key] = reading.value

    def _metric(self, reading: Reading) -> metrics.Gauge | metrics.Counter:
        metric = self._metrics.get(reading.name)
        if metric is None:
            kind = metrics.Gauge if reading.kind == "gauge" else metrics.Counter
            keys = tuple(key for key, _ in reading.tags)
            # Ray appends `_total` to the names of counters itself.
            name = reading.name.removesuffix("_total")
            metric = kind(name, description=reading.description, tag_keys=keys)
            self._metrics[reading.name] = metric
        return metric

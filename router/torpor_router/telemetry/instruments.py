"""OpenTelemetry instruments for the catalogue, and their text for Prometheus."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from torpor_router.telemetry.catalogue import Kind, Metric
from torpor_router.telemetry.zeros import Completed

Values = Iterable[tuple[float, dict[str, str]]]


class Instruments:
    """One process's instruments, apart from any other user of OpenTelemetry in it."""

    def __init__(self, provisioners: Iterable[str] = ()) -> None:
        self._registry = CollectorRegistry()
        self._completed = Completed(self._registry, provisioners)
        self._rendering = threading.Lock()  # the reader's collector is not made for two at once
        reader = PrometheusMetricReader(
            registry=self._registry, disable_target_info=True, scope_info_enabled=False
        )
        self._provider = MeterProvider(
            [reader], resource=Resource.get_empty(), shutdown_on_exit=False
        )
        self._meter = self._provider.get_meter("torpor")

    def counter(self, metric: Metric) -> Counter:
        return self._meter.create_counter(metric.instrument, metric.unit, metric.says)

    def histogram(self, metric: Metric) -> Histogram:
        return self._meter.create_histogram(
            metric.instrument,
            metric.unit,
            metric.says,
            explicit_bucket_boundaries_advisory=metric.buckets,
        )

    def read(self, metric: Metric, values: Callable[[], Values]) -> None:
        """Have the metric's values read at each scrape, in the thread that scrapes."""

        def observe(_: CallbackOptions) -> Iterable[Observation]:
            return [Observation(value, labels) for value, labels in values()]

        create = (
            self._meter.create_observable_counter
            if metric.kind is Kind.COUNTER
            else self._meter.create_observable_gauge
        )
        create(metric.instrument, [observe], metric.unit, metric.says)

    def render(self, accept: str) -> tuple[bytes, str]:
        """All values as text, and its content type, as the scraper accepts it."""
        encode, content_type = choose_encoder(accept)
        with self._rendering:
            return encode(self._completed), content_type

    def close(self) -> None:
        self._provider.shutdown()

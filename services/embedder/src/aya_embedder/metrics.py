"""Prometheus metrics (https://prometheus.io/docs/instrumenting/exposition_formats/).

Names that begin with te_ are those of text-embeddings-inference (router/src/http/server.rs, core/src/infer.rs), so
that dashboards made for it show this service too; ours begin with aya_embedder_.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from aya_embedder.problems import Busy, Failed, Invalid, Problem, TooLarge, TooLong

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from aya_embedder.counters import Counters, Observer
    from aya_embedder.embedder import Answer
    from aya_embedder.loaded import LoadedModels

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = [0.0005 * 2**step for step in range(18)]  # 0.5 ms to 65 s
_TOKENS = [2.0**step for step in range(2, 17)]
_TEXTS = [2.0**step for step in range(12)]
# What text-embeddings-inference calls the errors that it has; the others have our own names.
_TEIS_WORDS: dict[type[Problem], str] = {
    Busy: "overloaded",
    Failed: "inference",
    Invalid: "validation",
    TooLarge: "validation",
    TooLong: "validation",
}


class Metrics:
    """Everything that is counted, in a registry of its own. Implements counters.Observer."""

    def __init__(self) -> None:
        """Begin at nought."""
        self._registry = CollectorRegistry()
        self._requests = self._counter("te_request_count", "Requests for vectors", "method")
        self._successes = self._counter("te_request_success", "Requests that were answered with vectors", "method")
        self._failures = self._counter("te_request_failure", "Requests that were not", "err")
        self._texts = self._counter("te_embed_count", "Texts that vectors were asked for")
        self._vectors = self._counter("te_embed_success", "Texts whose vectors were answered")
        self._duration = self._histogram("te_request_duration", "Whole requests, in seconds", _SECONDS)
        self._length = self._histogram("te_request_input_length", "Texts, in tokens, before they are cut", _TOKENS)
        self._tokenization = self._histogram("te_request_tokenization_duration", "Their tokenization", _SECONDS)
        self._queue = self._histogram("te_request_queue_duration", "What an average text of them waited", _SECONDS)
        self._inference = self._histogram("te_request_inference_duration", "What its batch took", _SECONDS)
        self._batch_texts = self._histogram("te_batch_next_size", "Texts of a batch", _TEXTS)
        self._batch_tokens = self._histogram("te_batch_next_tokens", "Tokens of a batch, without padding", _TOKENS)
        self._batch_seconds = self._histogram("aya_embedder_batch_duration", "A batch, in seconds", _SECONDS)
        ProcessCollector(registry=self._registry)

    def watch(self, models: LoadedModels) -> None:
        """Ask `models` for what they know whenever somebody reads the metrics."""
        self._registry.register(_Live(models))

    def of(self, source: str) -> Observer:
        """Return who is told of what the model of `source` does: all models are counted together."""
        del source
        return self

    @contextlib.contextmanager
    def request(self, texts: int, *, single: bool) -> Generator[None]:
        """Count a request that is computed in the block, and the Problem in which that may end."""
        method = "single" if single else "batch"
        self._requests.labels(method).inc()
        self._texts.inc(texts)
        began = time.perf_counter()
        with self.refusals():
            yield
        self._successes.labels(method).inc()
        self._vectors.inc(texts)
        self._duration.observe(time.perf_counter() - began)

    @contextlib.contextmanager
    def refusals(self) -> Generator[None]:
        """Count the Problem in which the block may end."""
        try:
            yield
        except Problem as problem:
            self._failures.labels(_TEIS_WORDS.get(type(problem), problem.kind)).inc()
            raise

    def answered(self, answer: Answer) -> None:
        """Count the lengths of a request's texts, and where its time went."""
        for one in answer.embedded:
            self._length.observe(one.tokens)
        timings = answer.timings
        self._tokenization.observe(timings.tokenization_seconds)
        self._queue.observe(timings.queue_seconds)
        self._inference.observe(timings.inference_seconds)

    def batch_computed(self, texts: int, tokens: int, seconds: float) -> None:
        """Count a forward pass."""
        self._batch_texts.observe(texts)
        self._batch_tokens.observe(tokens)
        self._batch_seconds.observe(seconds)

    def text(self) -> bytes:
        """Return all of it in the text format."""
        return generate_latest(self._registry)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        counter = Counter(name, what, labels, registry=None)
        self._registry.register(_Bare(counter))
        return counter

    def _histogram(self, name: str, what: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(name, what, buckets=buckets, registry=self._registry)


class _Bare(Collector):
    """A counter without the suffix _total, as text-embeddings-inference names its own; the format calls it untyped."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter

    def collect(self) -> Iterator[Metric]:
        for metric in self._counter.collect():
            bare = Metric(metric.name, metric.documentation, "unknown")
            for sample in metric.samples:
                if sample.name.endswith("_total"):
                    bare.add_sample(metric.name, sample.labels, sample.value)
            yield bare


class _Live(Collector):
    """What the engines know at the moment of asking."""

    def __init__(self, models: LoadedModels) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        engine = self._models.default
        yield GaugeMetricFamily("te_queue_size", "Texts that wait for the default model", engine.waiting_texts)
        yield GaugeMetricFamily(
            "aya_embedder_texts_in_flight", "Texts that wait or are being computed", engine.texts_in_flight
        )
        yield from self._counted(engine.counters)
        yield GaugeMetricFamily("aya_embedder_cache_entries", "Vectors in memory", len(self._models.cache))
        yield GaugeMetricFamily("aya_embedder_cache_bytes", "What they take", self._models.cache.size_bytes)
        model = engine.loaded
        if model is not None:
            yield GaugeMetricFamily(
                "aya_embedder_model_memory_bytes", "What the backend's arrays take", model.active_memory_bytes()
            )
        yield GaugeMetricFamily("aya_embedder_healthy", "1 while /health says healthy", engine.state() == "healthy")
        yield self._described()

    def _counted(self, counters: Counters) -> Iterator[Metric]:
        hits = CounterMetricFamily("aya_embedder_cache_hits", "Texts whose vectors were in the cache", labels=["tier"])
        hits.add_metric(["memory"], counters.hits_memory)
        hits.add_metric(["disk"], counters.hits_disk)
        yield hits
        yield CounterMetricFamily("aya_embedder_cache_misses", "Texts whose vectors were not", counters.misses)
        yield CounterMetricFamily("aya_embedder_tokens", "Tokens that the model read", counters.tokens)
        yield CounterMetricFamily(
            "aya_embedder_failed_texts", "Texts that the model could not do", counters.failed_texts
        )
        yield CounterMetricFamily(
            "aya_embedder_busy_seconds", "Time in the model, of all streams", counters.busy_seconds
        )

    def _described(self) -> Metric:
        family = InfoMetricFamily("aya_embedder_model", "The models of this process")
        for status in self._models.statuses():
            identity = status.identity
            family.add_metric(
                [],
                {
                    "source": status.source,
                    "state": status.state,
                    "default": str(status.default).lower(),
                    "fingerprint": identity.fingerprint if identity else "",
                    "dimension": str(identity.dimension) if identity else "",
                },
            )
        return family

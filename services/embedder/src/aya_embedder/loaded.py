"""The models of this process: the default, which answers when nobody names one, and those loaded beside it.

Each model has an engine of its own (queue, threads), and all share the caches, whose keys hold the fingerprint. State
changes at once, without awaiting; the engines run as tasks of `run`. A model that is not the default never ends the
process: what loading it raised is kept, and shown by `statuses`.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from aya import log
from aya.errors import AyaError, ConfigError
from aya_embedder.counters import Unobserved
from aya_embedder.engine import Engine, leaving
from aya_embedder.flights import Limits
from aya_embedder.problems import LOADS_ONE, ModelsFull, NotLoaded, UnknownModel
from aya_embedder.thread import Shelf

if TYPE_CHECKING:
    from collections.abc import Callable

    from aya_embedder.cache import VectorCache
    from aya_embedder.counters import Observer
    from aya_embedder.disk_cache import DiskCache
    from aya_embedder.embedder import Embedder
    from aya_embedder.identity import ModelIdentity

_MOST_FAILURES_KEPT = 8
_THREAD_STOP_SECONDS = 0.5

ModelState = Literal["loading", "ready", "failed"]


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One model as GET /models shows it.

    source: what AYA_MODEL would say. error, hint: why it could not be loaded, None otherwise. identity: once ready.
    """

    source: str
    state: ModelState
    default: bool
    error: str | None = None
    hint: str | None = None
    identity: ModelIdentity | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, ready for JSON; the identity with its fingerprint."""
        return {**asdict(self), "identity": self.identity.as_dict() if self.identity else None}


@dataclass(slots=True, eq=False)
class _Hosted:
    """A model that is loading or ready. task: runs its engine, None before `run`; used: grows with each use."""

    source: str
    engine: Engine
    used: int
    task: asyncio.Task[None] | None = field(default=None)

    @property
    def identity(self) -> ModelIdentity | None:
        return self.engine.loaded.identity if self.engine.loaded else None

    def answers_to(self, name: str) -> bool:
        """Say whether `name` means this model: its source, fingerprint, full name or the last part of that."""
        if self.identity is None:
            return self.source in {name, _last_part(name)}
        full = self.identity.model
        return name in {self.source, self.identity.fingerprint, full, _last_part(full)}


class LoadedModels:
    """Owns the engines. `run` must be running for anything to be loaded."""

    def __init__(  # noqa: PLR0913 each is a choice of its own
        self,
        load: Callable[[str], Embedder],
        cache: VectorCache,
        *,
        default: str,
        resolve: Callable[[str], str],
        most: int = 2,
        disk: DiskCache | None = None,
        limits: Limits | None = None,
        observe: Callable[[str], Observer] | None = None,
    ) -> None:
        """Prepare to load `default` and others.

        load: makes the model of a source, on that model's first inference thread.
        resolve: returns the one way to write a source; raises ConfigError on one that is neither a name nor a
            directory, as this does for `default`.
        most: how many may be in memory at once. disk: the second tier of the cache, closed by whoever opened it.
        limits: of each model's queue. observe: returns who is told of what the model of a source does.
        """
        self._load = load
        self._resolve = resolve
        self._most = most
        self._disk = disk
        self._shelf = Shelf()
        self._limits = limits or Limits()
        self._observe = observe or _unobserved
        self._uses = itertools.count()
        self._hosted: dict[str, _Hosted] = {}
        self._failures: dict[str, ModelStatus] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._accepting = True
        self._promised: _Hosted | None = None
        self.cache = cache
        self._default = self._host(resolve(default))

    @property
    def default(self) -> Engine:
        """The engine that answers when nobody names a model; its `model` raises NotReady while loading."""
        return self._default.engine

    def find(self, name: str | None) -> Engine:
        """Return the engine of a model that is ready; of the default when `name` is None.

        name: a source, a fingerprint, an identity's full name, or its last part.
        Raises NotLoaded when no loaded model has this name, NotReady while it is loading.
        """
        hosted = self._default if name is None else self._named(name)
        hosted.used = next(self._uses)
        _ = hosted.engine.model
        return hosted.engine

    def load(self, source: str, *, default: bool) -> ModelStatus:
        """Begin to load `source` beside the others, unless it is here; to begin again after a failure is allowed.

        default: make it the default as soon as it is ready; the last such wish counts, and a load that fails leaves
        the default as it is. When there are too many, the one that was used longest ago is unloaded.
        Raises UnknownModel on a source that is no model, ModelsFull when none can be unloaded, NotReady when leaving.
        """
        if not self._accepting:
            raise leaving()
        hosted = self._hosted.get(self._resolved(source)) or self._begin(self._resolved(source))
        hosted.used = next(self._uses)
        if default:
            self._promised = hosted
            if hosted.engine.loaded:
                self._keep_promise(hosted)
        return self._status(hosted)

    def statuses(self) -> list[ModelStatus]:
        """Return what is loaded, is loading or could not be loaded; the default first, then by source."""
        known = [self._status(hosted) for hosted in self._hosted.values()]
        return sorted([*known, *self._failures.values()], key=lambda status: (not status.default, status.source))

    async def until_loaded(self, source: str | None = None) -> None:
        """Wait for the first good forward pass of `source`, which was begun; of the default when None."""
        hosted = self._default if source is None else self._hosted[self._resolved(source)]
        await hosted.engine.until_loaded()

    async def run(self) -> None:
        """Load the default, then serve until cancelled. Raises what the default's engine raises, in a group."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                for hosted in self._hosted.values():
                    self._start(hosted)
                await asyncio.get_running_loop().create_future()
        finally:
            self._tasks = None
            self.give_up()
            self._shelf.clear(_THREAD_STOP_SECONDS)

    def stop_accepting(self) -> None:
        """Send every new request away with NotReady; those accepted are finished."""
        self._accepting = False
        for hosted in self._hosted.values():
            hosted.engine.stop_accepting()

    def give_up(self) -> None:
        """Answer every text that is not computed yet, and every later one, with NotReady: the service is leaving."""
        self.stop_accepting()
        for hosted in self._hosted.values():
            hosted.engine.give_up()

    def _resolved(self, source: str) -> str:
        try:
            return self._resolve(source)
        except ConfigError as error:
            raise UnknownModel(error.message, hint=error.hint, field="model") from error

    def _named(self, name: str) -> _Hosted:
        for hosted in self._hosted.values():
            if hosted.answers_to(name):
                return hosted
        loaded = ", ".join(sorted(self._hosted))
        raise NotLoaded(f"no model {name!r} is loaded; loaded: {loaded}", hint=LOADS_ONE)

    def _begin(self, source: str) -> _Hosted:
        leaves = self._make_room()
        self._failures.pop(source, None)
        hosted = self._host(source)
        self._start(hosted, leaves)
        return hosted

    def _host(self, source: str) -> _Hosted:
        engine = Engine(
            partial(self._load, source),
            self.cache,
            disk=self._disk,
            shelf=self._shelf,
            limits=self._limits,
            observer=self._observe(source),
        )
        hosted = self._hosted[source] = _Hosted(source, engine, next(self._uses))
        return hosted

    def _start(self, hosted: _Hosted, leaves: asyncio.Task[None] | None = None) -> None:
        if self._tasks is not None:
            hosted.task = self._tasks.create_task(self._serve(hosted, leaves), name=f"engine.{hosted.source}")

    async def _serve(self, hosted: _Hosted, leaves: asyncio.Task[None] | None) -> None:
        """Run an engine; leaves: the one in whose place it comes, whose memory and threads are free at its end."""
        if leaves is not None:
            await asyncio.wait([leaves])
        try:
            await hosted.engine.run(partial(self._keep_promise, hosted))
        except Exception as error:
            if hosted is self._default:
                raise
            self._fail(hosted, error)

    def _keep_promise(self, hosted: _Hosted) -> None:
        """Make a model that has become ready the default, when that was the last wish."""
        if self._promised is not hosted:
            return
        self._promised = None
        if self._default is not hosted:
            self._default = hosted
            log.get_logger().info("model.made_default", source=hosted.source)

    def _fail(self, hosted: _Hosted, error: Exception) -> None:
        del self._hosted[hosted.source]
        if self._promised is hosted:
            self._promised = None
        message = error.message if isinstance(error, AyaError) else f"{type(error).__name__}: {error}"
        hint = error.hint if isinstance(error, AyaError) else "see the embedder's log"
        log.get_logger().error("model.failed", source=hosted.source, error=message, hint=hint)
        self._failures[hosted.source] = ModelStatus(hosted.source, "failed", default=False, error=message, hint=hint)
        for oldest in list(self._failures)[:-_MOST_FAILURES_KEPT]:
            del self._failures[oldest]

    def _make_room(self) -> asyncio.Task[None] | None:
        """Unload the model that was used longest ago, when there are as many as may be, and return what ends then.

        Raises ModelsFull.
        """
        if len(self._hosted) < self._most:
            return None
        spare = [one for one in self._hosted.values() if one not in {self._default, self._promised} and one.engine.idle]
        if not spare:
            raise ModelsFull(
                f"{len(self._hosted)} models are loaded, and none of them can be unloaded: each is the default, is "
                "loading, or is computing",
                hint="try again when it is done, or make another model the default",
            )
        return self._unload(min(spare, key=lambda one: one.used))

    def _unload(self, hosted: _Hosted) -> asyncio.Task[None] | None:
        del self._hosted[hosted.source]
        hosted.engine.unload()
        if hosted.task is not None:
            hosted.task.cancel()
        log.get_logger().info("model.unloaded", source=hosted.source)
        return hosted.task

    def _status(self, hosted: _Hosted) -> ModelStatus:
        return ModelStatus(
            hosted.source,
            "ready" if hosted.engine.loaded else "loading",
            default=hosted is self._default,
            identity=hosted.identity,
        )


def _unobserved(source: str) -> Observer:
    del source
    return Unobserved()


def _last_part(name: str) -> str:
    return name.rpartition("/")[2]

"""The part of the client for asyncio that looks into the collection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, Unpack

from lookalike import _experiment_calls as calls
from lookalike._arguments import OneImage
from lookalike._calls import Call
from lookalike._experiment_calls import ClassMap, MapMethod, Method, Metric
from lookalike._experiment_replies import joined
from lookalike._experiments import Attribution, Experiment, StoredResult
from lookalike._filters import Where
from lookalike._paging import AsyncPager

Result = TypeVar("Result")


class Experiments:
    """As in the client for ordinary code, which explains them all."""

    async def _send(self, call: Call[Result], timeout: float | None) -> Result:
        raise NotImplementedError

    async def image_clusters(
        self, *, members: int = 0, timeout: float | None = None, **image: Unpack[OneImage]
    ) -> Experiment:
        """The cluster of an image, by `key` or `id`, in every clustering, with `members` fellow members of each."""
        return await self._send(calls.image_clusters(image, members), timeout)

    async def class_accuracies(
        self,
        models: Sequence[str] | str = (),
        *,
        metric: Metric = "top1",
        best: int = 0,
        class_map: ClassMap | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """How often each of `models`, all when empty, is right about each class, and the `best` classes of all."""
        return await self._send(calls.class_accuracies(models, metric, best, class_map), timeout)

    async def class_matrix(
        self, clustering: str = "", *, where: Where | None = None, timeout: float | None = None
    ) -> Experiment:
        """The images of each label in each cluster, with purity, NMI, ARI and V-measure."""
        return await self._send(calls.class_matrix(clustering, where), timeout)

    async def oddballs(
        self,
        clustering: str = "",
        *,
        label: str = "",
        limit: int = 0,
        where: Where | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """The images that are odd for their class, the oddest first: `limit` of one `label`, or of all."""
        return await self._send(calls.oddballs(clustering, label, limit, where), timeout)

    async def mistakes(
        self,
        model: str = "",
        *,
        label: str = "",
        limit: int = 0,
        class_map: ClassMap | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """The classes that `model` confuses, and `limit` misclassified images of one `label` or of all."""
        return await self._send(calls.mistakes(model, label, limit, class_map), timeout)

    async def split_label(
        self, label: str, *, space: str = "", k: int = 0, seed: int | None = None, timeout: float | None = None
    ) -> Experiment:
        """The clusters among the images of one label: `k` of them, or as many as silhouette says when 0."""
        return await self._send(calls.split_label(label, space, k, seed), timeout)

    async def interpret_clusters(
        self, clustering: str = "", *, samples: int = 0, seed: int | None = None, timeout: float | None = None
    ) -> Experiment:
        """What each cluster is about: `samples` from its centre, its border and at random, and a suggested name."""
        return await self._send(calls.interpret_clusters(clustering, samples, seed), timeout)

    async def explain(
        self,
        *,
        space: str = "",
        neighbours: int = 0,
        class_map: ClassMap | None = None,
        timeout: float | None = None,
        **image: Unpack[OneImage],
    ) -> Experiment:
        """The predictions about an image, by `key` or `id`, against its label, with the nearest of either class."""
        return await self._send(calls.explain(image, space, neighbours, class_map), timeout)

    async def choose_k(
        self,
        space: str = "",
        *,
        first: int = 0,
        last: int = 0,
        sample: int = 0,
        seeds: int = 0,
        seed: int | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """Measures of clustering a sample into `first` to `last` clusters, `seeds` times each, and a recommendation."""
        return await self._send(calls.choose_k(space, first, last, sample, seeds, seed), timeout)

    async def dendrogram(
        self, model: str = "", *, clusters: int = 0, most: int = 0, timeout: float | None = None
    ) -> Experiment:
        """A tree of the classes that a model sees in the images, cut into groups."""
        return await self._send(calls.dendrogram(model, clusters, most), timeout)

    async def map(
        self,
        space: str = "",
        *,
        method: MapMethod = "pca",
        sample: int = 0,
        seed: int | None = None,
        where: Where | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """The images on a plane, those that are alike near to each other."""
        return await self._send(calls.map_of(space, method, sample, seed, where), timeout)

    async def compare(
        self,
        spaces: Sequence[str] | str = (),
        *,
        strategies: Sequence[str] | str = (),
        clusters: int = 0,
        sample: int = 0,
        seed: int | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """The same images clustered in several spaces by several strategies, and the measures of each."""
        return await self._send(calls.compare(spaces, strategies, clusters, sample, seed), timeout)

    async def evolution(
        self,
        model: str = "",
        *,
        neighbours: int = 0,
        sample: int = 0,
        seed: int | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """How clusters, neighbours and images change over the checkpoints of a model."""
        return await self._send(calls.evolution(model, neighbours, sample, seed), timeout)

    async def duplicates(
        self,
        space: str = "",
        *,
        max_distance: float | None = None,
        exact_bytes: bool = False,
        limit: int = 0,
        timeout: float | None = None,
    ) -> Experiment:
        """The groups of near-duplicates, the `limit` largest or all, and the image of each to keep."""
        return await self._send(calls.duplicates(space, max_distance, exact_bytes, limit), timeout)

    async def leaks(
        self,
        split: str,
        *,
        space: str = "",
        max_distance: float | None = None,
        limit: int = 0,
        timeout: float | None = None,
    ) -> Experiment:
        """The pairs of near-duplicates whose images have different values of the column `split`, nearest first."""
        return await self._send(calls.leaks(split, space, max_distance, limit), timeout)

    async def label_issues(
        self,
        space: str = "",
        *,
        limit: int = 0,
        predictions: bool = True,
        scores: bool = False,
        timeout: float | None = None,
    ) -> Experiment:
        """The `limit` images whose label is most likely wrong, with the label that is suggested instead."""
        return await self._send(calls.label_issues(space, limit, predictions, scores), timeout)

    async def sample(
        self, n: int, *, space: str = "", among: int = 0, seed: int | None = None, timeout: float | None = None
    ) -> Experiment:
        """Choose `n` images that are far from each other, for labelling: the most typical first."""
        return await self._send(calls.sample(n, space, among, seed), timeout)

    async def quality(
        self, flag: str = "", *, limit: int = 0, where: Where | None = None, timeout: float | None = None
    ) -> Experiment:
        """The images with quality flags, such as "blurry", most extreme first: `limit` of one `flag`, or of each."""
        return await self._send(calls.quality(flag, limit, where), timeout)

    async def attribution(
        self,
        *,
        model: str = "",
        method: Method = "cam",
        class_index: int | None = None,
        timeout: float | None = None,
        **image: Unpack[OneImage],
    ) -> Attribution:
        """Which part of an image, by `key` or `id`, speaks for a class, drawn by the server."""
        return await self._send(calls.attribution(image, model, method, class_index), timeout)

    async def results(self, *, timeout: float | None = None) -> tuple[StoredResult, ...]:
        """The results that are stored in the collection, by name."""
        return await self._send(calls.results(), timeout)

    async def result(
        self,
        name: str,
        *,
        tables: Sequence[str] | str = (),
        page_size: int = 0,
        timeout: float | None = None,
    ) -> Experiment:
        """A stored result by name, with those of its `tables` that are wanted, all when empty."""
        pages: AsyncPager[Any, Any] = AsyncPager(
            lambda token: self._send(calls.result_page(name, tables, page_size, token), timeout)
        )
        return joined([page async for page in pages.pages()])

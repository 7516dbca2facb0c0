"""The asyncio form of _sync_experiments.py. Made by scripts/generate_async.py: change that file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsIndex, TypeVar

from lookalike import _experiment_calls as calls
from lookalike._calls import Call
from lookalike._experiment_calls import ClassMap, MapMethod, Method, Metric
from lookalike._experiment_replies import joined
from lookalike._experiments import Attribution, Experiment, StoredResult
from lookalike._filters import Where
from lookalike._hints import hinted
from lookalike._paging import AsyncPager, Page

Result = TypeVar("Result")


class Experiments:
    """Experiments of a client. Every argument that is None takes the server's default.

    The server runs one experiment at a time. All methods raise OverloadedError if too many experiments
    wait, and FailedPreconditionError if the collection lacks labels, predictions or clusterings that the
    experiment needs. `timeout` is in seconds; None means the client's timeout.
    """

    async def _send(self, call: Call[Result], timeout: float | None) -> Result:
        raise NotImplementedError

    @hinted
    async def image_clusters(
        self,
        *,
        key: str | None = None,
        id: SupportsIndex | None = None,
        members: int | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """Show the cluster of one image in every clustering, with `members` other members of each.

        The result also has the models' predictions, and the agreement of the spaces. Name the image by `key` or `id`.
        """
        return await self._send(calls.image_clusters({"key": key, "id": id}, members), timeout)

    @hinted
    async def class_accuracies(
        self,
        models: Sequence[str] | str = (),
        *,
        metric: Metric = "top1",
        best: int | None = None,
        class_map: ClassMap | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """Measure each model's accuracy for each class, and list the `best` classes of all.

        - `models`: names of models; all models when empty.
        - `metric`: "top1" counts the most probable class, "top5" any of the five most probable ones.
        - `class_map`: the classes, by name or index, that each label stands for; needed where label and class differ in
          name.
        """
        return await self._send(calls.class_accuracies(models, metric, best, class_map), timeout)

    @hinted
    async def class_matrix(
        self, clustering: str | None = None, *, where: Where | None = None, timeout: float | None = None
    ) -> Experiment:
        """Count the images of each label in each cluster, with purity, NMI, ARI and V-measure.

        - `clustering`: "space/name"; None for the default clustering of the default space.
        - `where`: a filter; only images that match are counted.
        """
        return await self._send(calls.class_matrix(clustering, where), timeout)

    @hinted
    async def oddballs(
        self,
        clustering: str | None = None,
        *,
        label: str | None = None,
        limit: int | None = None,
        where: Where | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """List the images that are unusual for their label, most unusual first.

        - `clustering`: "space/name"; None for the default clustering of the default space.
        - `label`: list images of this label only.
        - `limit`: number of images.
        - `where`: a filter; only images that match are listed.
        """
        return await self._send(calls.oddballs(clustering, label, limit, where), timeout)

    @hinted
    async def mistakes(
        self,
        model: str | None = None,
        *,
        label: str | None = None,
        limit: int | None = None,
        class_map: ClassMap | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """List the classes that a model confuses, and misclassified images, most confident first.

        The table "mistakes" has the images; the tables "confusion" and "labels" count all of them.

        - `model`: a model; None for the model of the default space.
        - `label`: list images of this label only.
        - `limit`: number of images.
        - `class_map`: as in `class_accuracies`.
        """
        return await self._send(calls.mistakes(model, label, limit, class_map), timeout)

    @hinted
    async def split_label(
        self,
        label: str,
        *,
        space: str | None = None,
        k: int | None = None,
        seed: int | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """Cluster the images of one label into `k` clusters; None for the number with the best silhouette."""
        return await self._send(calls.split_label(label, space, k, seed), timeout)

    @hinted
    async def interpret_clusters(
        self,
        clustering: str | None = None,
        *,
        samples: int | None = None,
        seed: int | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """Describe each cluster by a suggested name and `samples` images of its center, its border and at random."""
        return await self._send(calls.interpret_clusters(clustering, samples, seed), timeout)

    @hinted
    async def explain(
        self,
        *,
        key: str | None = None,
        id: SupportsIndex | None = None,
        space: str | None = None,
        neighbors: int | None = None,
        class_map: ClassMap | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """Compare the models' predictions for an image with its label, with its nearest images of either class.

        Name the image by `key` or `id`. `neighbors` is the number of nearest images. `class_map` is as in
        `class_accuracies`.
        """
        return await self._send(calls.explain({"key": key, "id": id}, space, neighbors, class_map), timeout)

    @hinted
    async def choose_k(
        self,
        space: str | None = None,
        *,
        first: int | None = None,
        last: int | None = None,
        sample: int | None = None,
        seeds: int | None = None,
        seed: int | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """Recommend a number of clusters: cluster a sample into `first` to `last` clusters and measure each result.

        - `space`: an embedding space; None for the default space.
        - `sample`: number of images to cluster.
        - `seeds`: runs per number of clusters, each with another seed.
        - `seed`: the seed of the sample and of the runs.
        """
        return await self._send(calls.choose_k(space, first, last, sample, seeds, seed), timeout)

    @hinted
    async def dendrogram(
        self,
        model: str | None = None,
        *,
        clusters: int | None = None,
        most: int | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """Build a tree of the classes that a model sees in the images, and cut it into groups.

        The tree is built from the weights of the model's last layer, one row for each of the `most` most frequent
        classes. `model` None is the model of the default space. `clusters` is the number of groups; None for the number
        with the highest silhouette. For a tree of word vectors, run `lookalike dendrogram --word-vectors FILE --keep
        NAME` and read it with `result`.
        """
        return await self._send(calls.dendrogram(model, clusters, most), timeout)

    @hinted
    async def map(
        self,
        space: str | None = None,
        *,
        method: MapMethod = "pca",
        sample: int | None = None,
        seed: int | None = None,
        where: Where | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """Place the images on a plane, similar images near to each other.

        - `method`: "pca" fits the axes to `sample` images and places all images; "tsne" and "umap" place only `sample`
          images.
        - `where`: a filter; only images that match are returned, at the same places as without it.
        """
        return await self._send(calls.map_of(space, method, sample, seed, where), timeout)

    @hinted
    async def compare(
        self,
        spaces: Sequence[str] | str = (),
        *,
        strategies: Sequence[str] | str = (),
        clusters: int | None = None,
        sample: int | None = None,
        seed: int | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """Cluster the same images in several spaces with several strategies, and compare the results.

        - `spaces`, `strategies`: all of them when empty.
        - `clusters`: number of clusters; None for the default of `lookalike cluster`.
        - `sample`: number of images.

        The table "costs" has the seconds and bytes of this run, which differ from run to run.
        """
        return await self._send(calls.compare(spaces, strategies, clusters, sample, seed), timeout)

    @hinted
    async def evolution(
        self,
        model: str | None = None,
        *,
        neighbors: int | None = None,
        sample: int | None = None,
        seed: int | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """Follow clusters, neighbors and images over the checkpoints of a model.

        - `model`: its name without "@" and step; None if only one model has checkpoints.
        - `neighbors`: number of neighbors to compare for each image.
        - `sample`: number of images.
        """
        return await self._send(calls.evolution(model, neighbors, sample, seed), timeout)

    @hinted
    async def duplicates(
        self,
        space: str | None = None,
        *,
        max_distance: float | None = None,
        exact_bytes: bool = False,
        limit: int | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """Group near-duplicates, and choose the image of each group to keep.

        - `space`: a space with a neighbor graph; None for the default space.
        - `max_distance`: largest distance of near-duplicates; None for the valley in the distribution of distances.
        - `exact_bytes`: group only files with equal bytes.
        - `limit`: number of groups, largest first; None for all.

        FailedPreconditionError: the space has no graph; build one with `lookalike graph`.
        """
        return await self._send(calls.duplicates(space, max_distance, exact_bytes, limit), timeout)

    @hinted
    async def leaks(
        self,
        split: str,
        *,
        space: str | None = None,
        max_distance: float | None = None,
        limit: int | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """List pairs of near-duplicates whose images differ in the column `split`, nearest first.

        `split` is an attribute, such as one with "train" and "test", or "label". The other arguments are as in
        `duplicates`.
        """
        return await self._send(calls.leaks(split, space, max_distance, limit), timeout)

    @hinted
    async def label_issues(
        self,
        space: str | None = None,
        *,
        limit: int | None = None,
        predictions: bool = True,
        scores: bool = False,
        timeout: float | None = None,
    ) -> Experiment:
        """List the `limit` images whose label is most likely wrong, each with a suggested label.

        The images' neighbors in the graph of `space` vote, together with the model's predictions unless `predictions`
        is False. With `scores`, the table "scores" has every labeled image.
        """
        return await self._send(calls.label_issues(space, limit, predictions, scores), timeout)

    @hinted
    async def sample(
        self,
        n: int,
        *,
        space: str | None = None,
        among: int | None = None,
        seed: int | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """Choose `n` images that are far from each other, for example to label them; the most typical first.

        If the space has more than `among` images, the choice is made from a random sample of that size.
        """
        return await self._send(calls.sample(n, space, among, seed), timeout)

    @hinted
    async def quality(
        self,
        flag: str | None = None,
        *,
        limit: int | None = None,
        where: Where | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """List images with quality flags such as "blurry", most extreme first.

        - `flag`: list this flag only.
        - `limit`: number of images of each flag.
        - `where`: a filter; only images that match are counted and listed.

        FailedPreconditionError: quality was not measured; run `lookalike quality`.
        """
        return await self._send(calls.quality(flag, limit, where), timeout)

    @hinted
    async def attribution(
        self,
        *,
        key: str | None = None,
        id: SupportsIndex | None = None,
        model: str | None = None,
        method: Method = "cam",
        class_index: int | None = None,
        timeout: float | None = None,
    ) -> Attribution:
        """Draw the attribution of a class to the pixels of an image, named by `key` or `id`.

        - `model`: a model of the collection; None for the model of the default space.
        - `method`: "cam" (Grad-CAM) or "gbp" (guided backpropagation).
        - `class_index`: the class; None for the most probable one.

        FailedPreconditionError: the server does not have the model's weights.
        """
        return await self._send(calls.attribution({"key": key, "id": id}, model, method, class_index), timeout)

    @hinted
    async def results(self, *, timeout: float | None = None) -> tuple[StoredResult, ...]:
        """List the results that are stored in the collection, sorted by name."""
        return await self._send(calls.results(), timeout)

    @hinted
    async def result(
        self, name: str, *, tables: Sequence[str] | str = (), page_size: int | None = None, timeout: float | None = None
    ) -> Experiment:
        """Read a stored result by name.

        - `tables`: the tables to read; all when empty.
        - `page_size`: rows per page; long tables are read page by page, each with the timeout `timeout`.

        GenerationChangedError: a newer generation was loaded between two pages.
        """

        async def fetch(token: str) -> Page[Any]:
            return await self._send(calls.result_page(name, tables, page_size, token), timeout)

        pages: AsyncPager[Any, Any] = AsyncPager(fetch)
        return joined([page async for page in pages.pages()])

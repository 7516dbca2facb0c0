"""The experiments that a client can ask for.

`scripts/generate_async.py` makes the asyncio client's methods, `_aio_experiments.py`, of this file.
"""

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
from lookalike._paging import Page, Pager

Result = TypeVar("Result")


class Experiments:
    """What the client asks about experiments; an argument that is None is the server's default.

    The server runs one experiment at a time, and gives OverloadedError when too
    many wait. FailedPreconditionError: the collection lacks labels, predictions
    or clusterings that it needs.
    """

    def _send(self, call: Call[Result], timeout: float | None) -> Result:
        raise NotImplementedError

    @hinted
    def image_clusters(
        self,
        *,
        key: str | None = None,
        id: SupportsIndex | None = None,
        members: int | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """The cluster of an image, by `key` or `id`, in every clustering, with `members` fellow members of each.

        It also has the models' predictions, and how far the spaces agree.
        """
        return self._send(calls.image_clusters({"key": key, "id": id}, members), timeout)

    @hinted
    def class_accuracies(
        self,
        models: Sequence[str] | str = (),
        *,
        metric: Metric = "top1",
        best: int | None = None,
        class_map: ClassMap | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """How often each of `models`, all when empty, is right about each class, and the `best` classes of all.

        `metric` "top5" also takes the second to fifth most probable class.
        `class_map` gives the classes that labels stand for, by name or index,
        where they are not those of the same name.
        """
        return self._send(calls.class_accuracies(models, metric, best, class_map), timeout)

    @hinted
    def class_matrix(
        self, clustering: str | None = None, *, where: Where | None = None, timeout: float | None = None
    ) -> Experiment:
        """The images of each label in each cluster, with purity, NMI, ARI and V-measure.

        `clustering` is "space/name", the current one of the default space when None. With
        a filter, `where`, only images that match count.

        >>> matrix = client.class_matrix("toy/halves")
        >>> matrix.tables["counts"]["label"], matrix.tables["counts"]["images"]
        (('dogs', 'cats'), array([5, 5]))
        >>> matrix.figures["purity"], matrix.findings
        (1.0, ('Every label has a cluster of its own.',))
        """
        return self._send(calls.class_matrix(clustering, where), timeout)

    @hinted
    def oddballs(
        self,
        clustering: str | None = None,
        *,
        label: str | None = None,
        limit: int | None = None,
        where: Where | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """The images that are odd for their class, the oddest first: `limit` of one `label`, or of all.

        With a filter, `where`, only images that match are listed.
        """
        return self._send(calls.oddballs(clustering, label, limit, where), timeout)

    @hinted
    def mistakes(
        self,
        model: str | None = None,
        *,
        label: str | None = None,
        limit: int | None = None,
        class_map: ClassMap | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """The classes that `model` confuses, and `limit` misclassified images of one `label` or of all.

        The images come most confident first, in the table "mistakes"; the tables
        "confusion" and "labels" count all of them. `model` is that of the default
        space when None. `class_map` is as in `class_accuracies`.
        """
        return self._send(calls.mistakes(model, label, limit, class_map), timeout)

    @hinted
    def split_label(
        self,
        label: str,
        *,
        space: str | None = None,
        k: int | None = None,
        seed: int | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """The clusters among the images of one label: `k` of them, or as many as silhouette says when None."""
        return self._send(calls.split_label(label, space, k, seed), timeout)

    @hinted
    def interpret_clusters(
        self,
        clustering: str | None = None,
        *,
        samples: int | None = None,
        seed: int | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """What each cluster is about: `samples` from its center, its border and at random, and a suggested name."""
        return self._send(calls.interpret_clusters(clustering, samples, seed), timeout)

    @hinted
    def explain(
        self,
        *,
        key: str | None = None,
        id: SupportsIndex | None = None,
        space: str | None = None,
        neighbors: int | None = None,
        class_map: ClassMap | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """The predictions about an image, by `key` or `id`, against its label, with the nearest of either class.

        `class_map` is as in `class_accuracies`.
        """
        return self._send(calls.explain({"key": key, "id": id}, space, neighbors, class_map), timeout)

    @hinted
    def choose_k(
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
        """Measures of clustering a sample into `first` to `last` clusters, `seeds` times each, and a recommendation.

        `sample` images of `space` are clustered.
        """
        return self._send(calls.choose_k(space, first, last, sample, seeds, seed), timeout)

    @hinted
    def dendrogram(
        self,
        model: str | None = None,
        *,
        clusters: int | None = None,
        most: int | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """A tree of the classes that a model sees in the images, cut into groups.

        The tree is by the rows of weights with which the model, that of the default
        space when None, tells its `most` frequent classes. `clusters` is the number of
        groups, as many as have the highest silhouette when None. A tree by word vectors
        is made by `lookalike dendrogram --word-vectors FILE --keep NAME`, and read by
        `result`.
        """
        return self._send(calls.dendrogram(model, clusters, most), timeout)

    @hinted
    def map(
        self,
        space: str | None = None,
        *,
        method: MapMethod = "pca",
        sample: int | None = None,
        seed: int | None = None,
        where: Where | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """The images on a plane, those that are alike near to each other.

        `method` is "pca", which places all images by axes of `sample` of them, or
        "tsne" or "umap", which place `sample` images. With a filter, `where`, only
        images that match are told, at the places that they have among all.
        """
        return self._send(calls.map_of(space, method, sample, seed, where), timeout)

    @hinted
    def compare(
        self,
        spaces: Sequence[str] | str = (),
        *,
        strategies: Sequence[str] | str = (),
        clusters: int | None = None,
        sample: int | None = None,
        seed: int | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """The same images clustered in several spaces by several strategies, and the measures of each.

        All `spaces` and all `strategies` when empty; `clusters` is that of
        `lookalike cluster` when None. The table "costs" has the seconds and bytes of this
        run, which differ from run to run.
        """
        return self._send(calls.compare(spaces, strategies, clusters, sample, seed), timeout)

    @hinted
    def evolution(
        self,
        model: str | None = None,
        *,
        neighbors: int | None = None,
        sample: int | None = None,
        seed: int | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """How clusters, neighbors and images change over the checkpoints of a model.

        `neighbors` of each image are compared, among `sample` images. `model` is
        without "@" and step, and may be None where only one has checkpoints.
        """
        return self._send(calls.evolution(model, neighbors, sample, seed), timeout)

    @hinted
    def duplicates(
        self,
        space: str | None = None,
        *,
        max_distance: float | None = None,
        exact_bytes: bool = False,
        limit: int | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """The groups of near-duplicates, the `limit` largest or all, and the image of each to keep.

        Near-duplicates are at most `max_distance` apart in the graph of `space`, None for
        the valley of the distances. With `exact_bytes` only files of the same bytes count.
        FailedPreconditionError: the space has no graph; `lookalike graph` makes it.
        """
        return self._send(calls.duplicates(space, max_distance, exact_bytes, limit), timeout)

    @hinted
    def leaks(
        self,
        split: str,
        *,
        space: str | None = None,
        max_distance: float | None = None,
        limit: int | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """The pairs of near-duplicates whose images have different values of the column `split`, nearest first.

        `split` is an attribute, or "label"; the rest is as in `duplicates`.
        """
        return self._send(calls.leaks(split, space, max_distance, limit), timeout)

    @hinted
    def label_issues(
        self,
        space: str | None = None,
        *,
        limit: int | None = None,
        predictions: bool = True,
        scores: bool = False,
        timeout: float | None = None,
    ) -> Experiment:
        """The `limit` images whose label is most likely wrong, with the label that is suggested instead.

        The neighbors in the graph of `space` vote, and without `predictions` they decide
        alone. With `scores` the table "scores" has every labeled image.
        """
        return self._send(calls.label_issues(space, limit, predictions, scores), timeout)

    @hinted
    def sample(
        self,
        n: int,
        *,
        space: str | None = None,
        among: int | None = None,
        seed: int | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """Choose `n` images that are far from each other, for labeling: the most typical first.

        Of more than `among` images, that many are looked at, drawn by chance.
        """
        return self._send(calls.sample(n, space, among, seed), timeout)

    @hinted
    def quality(
        self,
        flag: str | None = None,
        *,
        limit: int | None = None,
        where: Where | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """The images with quality flags, such as "blurry", most extreme first: `limit` of one `flag`, or of each.

        With a filter, `where`, only images that match are counted and listed.
        FailedPreconditionError: nothing was measured; `lookalike quality` does.
        """
        return self._send(calls.quality(flag, limit, where), timeout)

    @hinted
    def attribution(
        self,
        *,
        key: str | None = None,
        id: SupportsIndex | None = None,
        model: str | None = None,
        method: Method = "cam",
        class_index: int | None = None,
        timeout: float | None = None,
    ) -> Attribution:
        """Which part of an image, by `key` or `id`, speaks for a class, drawn by the server.

        `method` is "cam" (Grad-CAM) or "gbp" (guided backpropagation), `model` one
        of the collection's, that of its default space when None. The class is the
        most probable one when `class_index` is None. FailedPreconditionError: the
        model's weights are not on the server.

        >>> client.attribution(key="dogs/01.jpg").class_name
        'Newfoundland'
        """
        return self._send(calls.attribution({"key": key, "id": id}, model, method, class_index), timeout)

    @hinted
    def results(self, *, timeout: float | None = None) -> tuple[StoredResult, ...]:
        """The results that are stored in the collection, by name.

        >>> [(one.name, one.tables, one.out_of_date) for one in client.results()]
        [('map/toy', {'points': 11, 'axes': 2}, False)]
        """
        return self._send(calls.results(), timeout)

    @hinted
    def result(
        self,
        name: str,
        *,
        tables: Sequence[str] | str = (),
        page_size: int | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """A stored result by name, with those of its `tables` that are wanted, all when empty.

        Long tables are fetched in pages of `page_size` rows, and `timeout` is that
        of each. GenerationChangedError: the collection was replaced meanwhile.

        >>> client.result("map/toy", tables="points").tables["points"]["x"][:2]
        array([0. , 0.5])
        """

        def fetch(token: str) -> Page[Any]:
            return self._send(calls.result_page(name, tables, page_size, token), timeout)

        pages: Pager[Any, Any] = Pager(fetch)
        return joined([page for page in pages.pages()])  # noqa: C416 - asyncio's form has no list() for it

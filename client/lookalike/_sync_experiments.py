"""The part of the client for ordinary code that looks into the collection."""

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
from lookalike._paging import Pager

Result = TypeVar("Result")


class Experiments:
    """What the client asks about experiments; a number that is 0 is the server's default.

    The server runs one experiment at a time, and gives OverloadedError when too
    many wait. FailedPreconditionError: the collection lacks labels, predictions
    or clusterings that it needs.
    """

    def _send(self, call: Call[Result], timeout: float | None) -> Result:
        raise NotImplementedError

    def image_clusters(
        self, *, members: int = 0, timeout: float | None = None, **image: Unpack[OneImage]
    ) -> Experiment:
        """The cluster of an image, by `key` or `id`, in every clustering, with `members` fellow members of each.

        It also has the models' predictions, and how far the spaces agree.
        """
        return self._send(calls.image_clusters(image, members), timeout)

    def class_accuracies(
        self,
        models: Sequence[str] | str = (),
        *,
        metric: Metric = "top1",
        best: int = 0,
        class_map: ClassMap | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """How often each of `models`, all when empty, is right about each class, and the `best` classes of all.

        `metric` "top5" also takes the second to fifth most probable class.
        `class_map` gives the classes that labels stand for, by name or index,
        where they are not those of the same name.
        """
        return self._send(calls.class_accuracies(models, metric, best, class_map), timeout)

    def class_matrix(
        self, clustering: str = "", *, where: Where | None = None, timeout: float | None = None
    ) -> Experiment:
        """The images of each label in each cluster, with purity, NMI, ARI and V-measure.

        `clustering` is "space/name", the current one of the default space when "". With
        a filter, `where`, only images that match count.

        >>> matrix = client.class_matrix("toy/halves")
        >>> matrix.tables["counts"]["label"], matrix.tables["counts"]["images"]
        (('dogs', 'cats'), array([5, 5]))
        >>> matrix.figures["purity"], matrix.findings
        (1.0, ('Every label has a cluster of its own.',))
        """
        return self._send(calls.class_matrix(clustering, where), timeout)

    def oddballs(
        self,
        clustering: str = "",
        *,
        label: str = "",
        limit: int = 0,
        where: Where | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """The images that are odd for their class, the oddest first: `limit` of one `label`, or of all.

        With a filter, `where`, only images that match are listed.
        """
        return self._send(calls.oddballs(clustering, label, limit, where), timeout)

    def mistakes(
        self,
        model: str = "",
        *,
        label: str = "",
        limit: int = 0,
        class_map: ClassMap | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """The classes that `model` confuses, and `limit` misclassified images of one `label` or of all.

        The images come most confident first, in the table "mistakes"; the tables
        "confusion" and "labels" count all of them. `model` is that of the default
        space when "". `class_map` is as in `class_accuracies`.
        """
        return self._send(calls.mistakes(model, label, limit, class_map), timeout)

    def split_label(
        self, label: str, *, space: str = "", k: int = 0, seed: int | None = None, timeout: float | None = None
    ) -> Experiment:
        """The clusters among the images of one label: `k` of them, or as many as silhouette says when 0."""
        return self._send(calls.split_label(label, space, k, seed), timeout)

    def interpret_clusters(
        self, clustering: str = "", *, samples: int = 0, seed: int | None = None, timeout: float | None = None
    ) -> Experiment:
        """What each cluster is about: `samples` from its centre, its border and at random, and a suggested name."""
        return self._send(calls.interpret_clusters(clustering, samples, seed), timeout)

    def explain(
        self,
        *,
        space: str = "",
        neighbours: int = 0,
        class_map: ClassMap | None = None,
        timeout: float | None = None,
        **image: Unpack[OneImage],
    ) -> Experiment:
        """The predictions about an image, by `key` or `id`, against its label, with the nearest of either class.

        `class_map` is as in `class_accuracies`.
        """
        return self._send(calls.explain(image, space, neighbours, class_map), timeout)

    def choose_k(
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
        """Measures of clustering a sample into `first` to `last` clusters, `seeds` times each, and a recommendation.

        `sample` images of `space` are clustered.
        """
        return self._send(calls.choose_k(space, first, last, sample, seeds, seed), timeout)

    def dendrogram(
        self, model: str = "", *, clusters: int = 0, most: int = 0, timeout: float | None = None
    ) -> Experiment:
        """A tree of the classes that a model sees in the images, cut into groups.

        The tree is by the rows of weights with which the model, that of the default
        space when "", tells its `most` frequent classes. `clusters` is the number of
        groups, as many as have the highest silhouette when 0. A tree by word vectors
        is made by `lookalike dendrogram --word-vectors FILE --keep NAME`, and read by
        `result`.
        """
        return self._send(calls.dendrogram(model, clusters, most), timeout)

    def map(
        self,
        space: str = "",
        *,
        method: MapMethod = "pca",
        sample: int = 0,
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

    def compare(
        self,
        spaces: Sequence[str] | str = (),
        *,
        strategies: Sequence[str] | str = (),
        clusters: int = 0,
        sample: int = 0,
        seed: int | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """The same images clustered in several spaces by several strategies, and the measures of each.

        All `spaces` and all `strategies` when empty; `clusters` is that of
        `lookalike cluster` when 0. The table "costs" has the seconds and bytes of this
        run, which differ from run to run.
        """
        return self._send(calls.compare(spaces, strategies, clusters, sample, seed), timeout)

    def evolution(
        self,
        model: str = "",
        *,
        neighbours: int = 0,
        sample: int = 0,
        seed: int | None = None,
        timeout: float | None = None,
    ) -> Experiment:
        """How clusters, neighbours and images change over the checkpoints of a model.

        `neighbours` of each image are compared, among `sample` images. `model` is
        without "@" and step, and may be "" where only one has checkpoints.
        """
        return self._send(calls.evolution(model, neighbours, sample, seed), timeout)

    def duplicates(
        self,
        space: str = "",
        *,
        max_distance: float | None = None,
        exact_bytes: bool = False,
        limit: int = 0,
        timeout: float | None = None,
    ) -> Experiment:
        """The groups of near-duplicates, the `limit` largest or all, and the image of each to keep.

        Near-duplicates are at most `max_distance` apart in the graph of `space`, None for
        the valley of the distances. With `exact_bytes` only files of the same bytes count.
        FailedPreconditionError: the space has no graph; `lookalike graph` makes it.
        """
        return self._send(calls.duplicates(space, max_distance, exact_bytes, limit), timeout)

    def leaks(
        self,
        split: str,
        *,
        space: str = "",
        max_distance: float | None = None,
        limit: int = 0,
        timeout: float | None = None,
    ) -> Experiment:
        """The pairs of near-duplicates whose images have different values of the column `split`, nearest first.

        `split` is an attribute, or "label"; the rest is as in `duplicates`.
        """
        return self._send(calls.leaks(split, space, max_distance, limit), timeout)

    def label_issues(
        self,
        space: str = "",
        *,
        limit: int = 0,
        predictions: bool = True,
        scores: bool = False,
        timeout: float | None = None,
    ) -> Experiment:
        """The `limit` images whose label is most likely wrong, with the label that is suggested instead.

        The neighbours in the graph of `space` vote, and without `predictions` they decide
        alone. With `scores` the table "scores" has every labelled image.
        """
        return self._send(calls.label_issues(space, limit, predictions, scores), timeout)

    def sample(
        self, n: int, *, space: str = "", among: int = 0, seed: int | None = None, timeout: float | None = None
    ) -> Experiment:
        """Choose `n` images that are far from each other, for labelling: the most typical first.

        Of more than `among` images, that many are looked at, drawn by chance.
        """
        return self._send(calls.sample(n, space, among, seed), timeout)

    def quality(
        self, flag: str = "", *, limit: int = 0, where: Where | None = None, timeout: float | None = None
    ) -> Experiment:
        """The images with quality flags, such as "blurry", most extreme first: `limit` of one `flag`, or of each.

        With a filter, `where`, only images that match are counted and listed.
        FailedPreconditionError: nothing was measured; `lookalike quality` does.
        """
        return self._send(calls.quality(flag, limit, where), timeout)

    def attribution(
        self,
        *,
        model: str = "",
        method: Method = "cam",
        class_index: int | None = None,
        timeout: float | None = None,
        **image: Unpack[OneImage],
    ) -> Attribution:
        """Which part of an image, by `key` or `id`, speaks for a class, drawn by the server.

        `method` is "cam" (Grad-CAM) or "gbp" (guided backpropagation), `model` one
        of the collection's, that of its default space when "". The class is the
        most probable one when `class_index` is None. FailedPreconditionError: the
        model's weights are not on the server.

        >>> client.attribution(key="dogs/01.jpg").class_name
        'Newfoundland'
        """
        return self._send(calls.attribution(image, model, method, class_index), timeout)

    def results(self, *, timeout: float | None = None) -> tuple[StoredResult, ...]:
        """The results that are stored in the collection, by name.

        >>> [(one.name, one.tables, one.out_of_date) for one in client.results()]
        [('map/toy', {'points': 11, 'axes': 2}, False)]
        """
        return self._send(calls.results(), timeout)

    def result(
        self,
        name: str,
        *,
        tables: Sequence[str] | str = (),
        page_size: int = 0,
        timeout: float | None = None,
    ) -> Experiment:
        """A stored result by name, with those of its `tables` that are wanted, all when empty.

        Long tables are fetched in pages of `page_size` rows, and `timeout` is that
        of each. GenerationChangedError: the collection was replaced meanwhile.

        >>> client.result("map/toy", tables="points").tables["points"]["x"][:2]
        array([0. , 0.5])
        """
        pages: Pager[Any, Any] = Pager(
            lambda token: self._send(calls.result_page(name, tables, page_size, token), timeout)
        )
        return joined(pages.pages())

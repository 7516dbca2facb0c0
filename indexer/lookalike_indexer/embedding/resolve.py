"""Resolution of settings to a plan: finds the weights, traces the network, names the spaces, calibrates untrained
networks.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch

from lookalike_indexer.collection import layout, uploaded_images
from lookalike_indexer.collection.generations import PublishedFiles
from lookalike_indexer.collection.manifest import Manifest, SourceEntry
from lookalike_indexer.collection.parts import read_part
from lookalike_indexer.collection.spec import ModelSpec, PreprocessingSpec, SpaceSpec, WeightsSpec, digest_of
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.collection.uris import stored
from lookalike_indexer.embedding.class_name_choice import explicit_names, settled_names
from lookalike_indexer.embedding.class_names_file import read_class_names
from lookalike_indexer.embedding.plan import ModelPlan, SpacePlan, model_identity
from lookalike_indexer.embedding.settings import Dtype, EmbedSettings
from lookalike_indexer.embedding.transforms import chosen_transforms, named_transforms
from lookalike_indexer.errors import IndexerError, MismatchError, UsageError
from lookalike_indexer.images.prepare import Prepared, Rejected
from lookalike_indexer.images.preprocessing import Pixels
from lookalike_indexer.images.workers import DecodePool, PoolSettings
from lookalike_indexer.models.architecture import (
    checked_architecture,
    ends_with_embedding,
    image_size_of,
    never_classifies,
)
from lookalike_indexer.models.compute import Compute, resolve_compute
from lookalike_indexer.models.network import Network, Node
from lookalike_indexer.models.nodes import TracedNetwork, trace
from lookalike_indexer.models.normalize import Normalizer
from lookalike_indexer.models.timm_models import package_file
from lookalike_indexer.models.untrained import (
    CLASSES,
    FILE,
    batch_norms,
    calibrate,
    restore,
    state_digest,
    statistics,
    statistics_of,
    untrained,
)
from lookalike_indexer.models.weights import check_file, check_published, load_pretrained, parse_weights

# Enough for each channel's mean and variance: even the last feature maps have a thousand positions in total.
_CALIBRATION_IMAGES = 32


@dataclass(frozen=True)
class Resolved:
    """A plan, its network for a run on one device of this machine, and the files that the model itself needs.

    `module` is the network on the CPU, to be sent to other machines; the network of this machine shares its tensors.
    """

    plan: ModelPlan
    module: torch.nn.Module
    network: Network
    files: list[str]


@dataclass(frozen=True)
class Loaded:
    """A network with its weights, its spec, and the nodes of its spaces, by name.

    `files` are those of its statistics. `names` are its class names if this run gives them, and `note` is a sentence
    for users.
    """

    module: torch.nn.Module
    spec: ModelSpec
    traced: TracedNetwork
    nodes: list[tuple[str, Node]]
    files: list[str]
    names: list[str] | None = None
    note: str = ""


def resolve(
    storage: Storage,
    draft: Manifest | None,
    settings: EmbedSettings,
    loaded: Loaded,
    pool: PoolSettings,
    source: SourceEntry,
    listing: list[str],
) -> Resolved:
    """Determine the plan of a run; calibrate a network without weights on the first images of the listing.

    Raise MismatchError for a name with another meaning.
    """
    loaded = _calibrated(storage, draft, settings, loaded, pool, source, listing)
    spec, traced, nodes = loaded.spec, loaded.traced, loaded.nodes
    names, files = settled_names(storage, draft, settings.alias, spec, loaded.names)
    compute = _compute(settings)
    wanted = [node for _, node in nodes]
    if len(settings.devices) == 1 and not settings.elsewhere:
        fixed = settings.images_per_batch if settings.compile else None
        network = Network(traced, wanted, spec.preprocessing, settings.devices[0], compute, fixed)
    else:
        # Each device has its own network, in another process; this one only determines the dimensions.
        network = Network(traced, wanted, spec.preprocessing, "cpu", "float32")
    spaces = tuple(
        SpacePlan(name, node, dim, _dtype(draft, name, settings), SpaceSpec(spec, node.layer, node.pooling).fingerprint)
        for (name, node), dim in zip(nodes, network.dims, strict=True)
    )
    plan = ModelPlan(
        alias=settings.alias,
        spec=spec,
        statistics=str(storage.local(loaded.files[0])) if loaded.files else "",
        spaces=spaces,
        compute=compute,
        batch_size=settings.images_per_batch,
        decode=settings.decode,
        compiled=settings.compile,
        class_names=tuple(names),
    )
    if draft:
        _check_names(draft, settings.alias, spec, nodes)
    return Resolved(plan, loaded.module, network, [*loaded.files, *files])


def load(draft: Manifest | None, settings: EmbedSettings) -> Loaded:
    """Load the network and find its layers, before anything is written.

    Raise UsageError for an unknown model, layer or choice. Raise WeightsError if the weights are not available. Raise
    MismatchError for a name with another meaning.
    """
    arch = checked_architecture(settings.model)
    request = parse_weights(settings.weights)
    # Check the transforms first: report a wrong name before weights are downloaded.
    check_published(arch, request)
    named_transforms(settings, request)
    if request.kind != "untrained":
        module, classes, weights = load_pretrained(arch, request)
        size = image_size_of(arch, module.state_dict())
        transforms = chosen_transforms(settings, request, draft, weights.digest, size)
        spec, files = ModelSpec(arch, classes, weights, transforms.spec), []
    else:
        transforms = chosen_transforms(settings, request, draft)
        module = untrained(arch, int(request.value), transforms.spec.crop)
        classes = 0 if never_classifies(arch) else CLASSES
        spec = ModelSpec(arch, classes, WeightsSpec("untrained", request.value, ""), transforms.spec)
        files = _statistics(draft, settings.alias) if batch_norms(module) else []
    traced = trace(module)
    names = explicit_names(settings, spec)
    nodes = _nodes(traced, spec.classes, draft, settings)
    loaded = Loaded(module, spec, traced, nodes, files, names, transforms.why)
    for name, _ in loaded.nodes:
        _dtype(draft, name, settings)
    if draft and request.kind != "untrained":
        # The digest of a network without weights is known only after calibration.
        _check_names(draft, settings.alias, spec, loaded.nodes)
    return loaded


def _calibrated(
    storage: Storage,
    draft: Manifest | None,
    settings: EmbedSettings,
    loaded: Loaded,
    pool: PoolSettings,
    source: SourceEntry,
    listing: list[str],
) -> Loaded:
    """Return the loaded network, with calibrated batch-norm statistics if it has no weights."""
    if loaded.spec.weights.kind != "untrained":
        return loaded
    files = [_statistics_path(storage, draft, path, loaded.spec) for path in loaded.files]
    for path in files:
        is_published = draft is not None and path in draft.files
        _fit_batch_norms(storage, path, is_published, loaded.module, loaded.spec, pool, source, listing)
    weights = WeightsSpec("untrained", loaded.spec.weights.name, state_digest(loaded.module))
    spec = dataclasses.replace(loaded.spec, weights=weights)
    return dataclasses.replace(loaded, spec=spec, traced=trace(loaded.module), files=files)


def _statistics_path(storage: Storage, draft: Manifest | None, path: str, spec: ModelSpec) -> str:
    """Return the path of a model's statistics, another one if an earlier generation has another network's there.

    That generation had a model of the same name, which was removed.
    """
    if draft is None or path in draft.files or not storage.exists(path):
        return path
    network = _described(spec)
    if statistics_of(storage.read(path), storage.shown(path)) == network:
        return path
    return layout.revised_model_file(path, digest_of(network)) if path in PublishedFiles(storage) else path


def check_options(settings: EmbedSettings) -> None:
    """Check settled settings before the source is read.

    Raise UsageError for an unknown model, weights, transforms or compute type. Raise WeightsError if the weights file
    does not exist. Raise DeviceError for a compute type that the device does not support.
    """
    arch = checked_architecture(settings.model)
    request = parse_weights(settings.weights)
    check_published(arch, request)
    named_transforms(settings, request)
    if request.kind == "package":
        package_file(arch)
    if request.kind == "file":
        check_file(arch, request)
    _compute(settings)
    if settings.class_names:
        read_class_names(settings.class_names)


def _compute(settings: EmbedSettings) -> Compute:
    if settings.elsewhere:
        for known in ("float32", "bfloat16", "float16"):
            if settings.compute == known:
                return known
    return resolve_compute(settings.compute, settings.devices[0])


def _statistics(draft: Manifest | None, alias: str) -> list[str]:
    """Return the paths of a model's batch-norm statistics."""
    known = draft.models.get(alias) if draft else None
    stored_files = [path for path in known.files if not layout.is_class_names(path)] if known else []
    return stored_files or [layout.model_file(alias, FILE)]


def _nodes(
    traced: TracedNetwork, classes: int, draft: Manifest | None, settings: EmbedSettings
) -> list[tuple[str, Node]]:
    """Return the spaces by name: the default layer's, then those the model already has, then the requested ones."""
    ends = ends_with_embedding(settings.model, classes)
    named = [(settings.space_name(None), Node(traced.logits if ends else traced.head_input(), "avg"))]
    for name, space in draft.spaces.items() if draft else []:
        if space.model == settings.alias and name != named[0][0]:
            named.append((name, Node(traced.resolve(space.layer), space.pooling)))
    for wanted in settings.layers:
        node = dataclasses.replace(wanted, layer=traced.resolve(wanted.layer))
        if node not in (known for _, known in named):
            named.append((settings.space_name(wanted), node))
    return named


def _dtype(draft: Manifest | None, space: str, settings: EmbedSettings) -> Dtype:
    known = draft.spaces.get(space) if draft else None
    if settings.dtype is None:
        # A new space of a model has the stored type of its other spaces.
        like = known or (draft.spaces.get(settings.space_name(None)) if draft else None)
        return like.dtype if like else "float32"
    if known and known.dtype != settings.dtype:
        raise MismatchError(
            f"The space {space} is stored as {known.dtype}, not as {settings.dtype}; leave --dtype out, "
            "or give another --name."
        )
    return settings.dtype


def _check_names(draft: Manifest, alias: str, spec: ModelSpec, nodes: list[tuple[str, Node]]) -> None:
    for name, node in nodes:
        known = draft.spaces.get(name)
        fingerprint = SpaceSpec(spec, node.layer, node.pooling).fingerprint
        if known and known.fingerprint != fingerprint:
            before = draft.models[known.model].spec
            raise MismatchError(
                f"The space {name} was made with {_described(before, known.layer)} (fingerprint "
                f"{known.fingerprint[:16]}), not with {_described(spec, node.layer)} ({fingerprint[:16]}); "
                "use the model that it was made with, or give this one another --name."
            )
    if alias in draft.models:
        before = draft.models[alias].spec
        if model_identity(before) != model_identity(spec):
            raise MismatchError(
                f"The model {alias} of the collection is {_described(before)}, not {_described(spec)}; use the same "
                "model, or give this one another --name."
            )


def _described(spec: ModelSpec, layer: str = "") -> str:
    digest = f" of digest {spec.weights.digest[:16]}" if spec.weights.digest else ""
    parts = [spec.arch, f"weights {spec.weights}{digest}"]
    parts.append(f"resize {spec.preprocessing.resize} and crop {spec.preprocessing.crop}")
    return ", ".join([*parts, f"layer {layer}"] if layer else parts)


def _fit_batch_norms(
    storage: Storage,
    path: str,
    is_published: bool,
    module: torch.nn.Module,
    spec: ModelSpec,
    pool: PoolSettings,
    source: SourceEntry,
    listing: list[str],
) -> None:
    """Restore the stored statistics, or compute them from the first decodable images and store them.

    Statistics of another network that a killed run stored are replaced. Those that a generation lists are not:
    MismatchError.
    """
    network, local = _described(spec), storage.shown(path)
    stored = statistics_of(storage.read(path), local) if storage.exists(path) else None
    if stored is not None and stored != network and is_published:
        raise MismatchError(
            f"{local} is of {stored}, not of {network}; use the model of the collection, or give this one "
            "another --name."
        )
    if stored != network:
        pixels = _first_images(storage, spec.preprocessing, pool, source, listing)
        images = Normalizer(spec.preprocessing, torch.device("cpu"))(torch.from_numpy(np.stack(pixels)))
        calibrate(module, module, images)
        with storage.staged(path) as temporary:
            temporary.write_bytes(statistics(module, network))
    restore(module, storage.read(path), local)


def _first_images(
    storage: Storage, transforms: PreprocessingSpec, pool: PoolSettings, source: SourceEntry, listing: list[str]
) -> list[Pixels]:
    """Return the first decodable images, from the first part that has any."""
    first: tuple[str, str] | None = None
    kept = uploaded_images.folder(storage)
    with DecodePool(pool, transforms) as workers:
        for part in listing:
            table = read_part(storage, part, ["key", "uri"])
            rows = ((row["key"], stored(source, row["uri"], row["key"], kept)) for row in table.to_pylist())
            pixels: list[Pixels] = []
            for key, image in workers.stream(rows, _CALIBRATION_IMAGES):
                if isinstance(image, Prepared):
                    pixels.append(image.pixels)
                elif first is None and isinstance(image, Rejected):
                    first = key, image.reason
                if len(pixels) == _CALIBRATION_IMAGES:
                    break
            if pixels:
                return pixels
    raise nothing_readable(first, source)


def nothing_readable(first: tuple[str, str] | None, source: SourceEntry) -> IndexerError:
    """Return the error for a source without a single decodable image."""
    example = f" (the first, {first[0]}: {first[1]})" if first else ""
    if source.kind == "list":
        return UsageError(
            f"{source.uri} is read as a list of paths, one a line, and none of its lines names a readable image"
            f"{example}; name a folder with images, or mend the list."
        )
    return UsageError(f"None of the source's files can be decoded{example}; name a source with images.")

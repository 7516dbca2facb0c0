"""Suite embed: decoding, the forward pass, the whole pipeline, and their share of the device's peak."""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lookalike_benchmarks import files, generated_images, timing
from lookalike_benchmarks.forward import (
    Setup,
    forward_call,
    forward_speed,
    operations,
    pipeline_rounds,
    random_images,
)
from lookalike_benchmarks.options import Options, left_out, threads, torch_devices
from lookalike_benchmarks.peak import matrix_peak, matrix_size
from lookalike_benchmarks.results import Row, Settings
from lookalike_indexer.collection.parts import read_part
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.embed_stage import run_embed
from lookalike_indexer.embedding.part import PartEmbedder
from lookalike_indexer.embedding.settings import EmbedSettings
from lookalike_indexer.images.prepare import Prepared
from lookalike_indexer.images.workers import DecodePool
from lookalike_indexer.models.compute import Compute
from lookalike_indexer.models.network import Network
from lookalike_indexer.progress import Silent

# The model "" is untrained ResNet-152, or ResNet-50 if its weights are given.
USUAL = {
    "model": "",
    "batches": "1,8,32",
    "batch": "16",
    "images": "64",
    "gpu_batches": "1,32,256",
    "gpu_batch": "256",
    "gpu_images": "1024",
    "rounds": "5",
    "seconds": "2",
    "parquet_parts": "32",
    "decode_images": "512",
}
QUICK = {
    "batches": "1,4",
    "batch": "4",
    "images": "8",
    "rounds": "2",
    "seconds": "0.1",
    "parquet_parts": "2",
    "decode_images": "32",
}


def run(settings: Settings) -> Iterator[Row]:
    """Yield the rows of the suite embed."""
    options = Options(settings, USUAL, QUICK)
    model = options.text("model") or _usual_model(settings)
    with tempfile.TemporaryDirectory() as folder:
        source = settings.photos or Path(folder) / "photos"
        if settings.photos is None:
            most = max(options.number(_of("images", gpus)) for gpus in settings.gpus)
            generated_images.like_photographs(source, most * options.number("rounds"), settings.seed)
        said = {"model": model, "weights": "a file" if settings.weights else "untrained", **threads()}
        said["pictures"] = "photographs" if settings.photos else "generated, 500 x 375"
        for gpus in settings.gpus:
            asked = EmbedSettings(
                source=str(source),
                model=model,
                weights=str(settings.weights or "untrained:0"),
                batch_size=options.number(_of("batch", gpus)),
                part_size=options.number(_of("images", gpus)),
                devices=torch_devices(gpus)[:1],
            )
            setup = Setup.of(Path(folder) / f"collection-{gpus}", asked)
            if gpus == settings.gpus[0]:
                yield from files.decode(setup, options.number("decode_images"), said)
                yield files.write(setup, options.number("parquet_parts"))
            if gpus > 1:
                yield _many(setup, Path(folder) / f"run-{gpus}", gpus, said)
                continue
            yield from _network(setup, options, settings, {**said, "gpus": gpus})


def _of(option: str, gpus: int) -> str:
    """Return the name of an option, which has a prefix on GPUs."""
    return f"gpu_{option}" if gpus else option


def _usual_model(settings: Settings) -> str:
    if settings.weights:
        return "resnet50"
    return "squeezenet1_1" if settings.quick else "resnet152"


def _network(setup: Setup, options: Options, settings: Settings, said: dict[str, Any]) -> Iterator[Row]:
    """Measure the forward pass by type and batch size, the types against each other, and the pipeline."""
    device = setup.settings.devices[0]
    transforms = setup.resolved.plan.spec.preprocessing
    flop = operations(setup.resolved.network, transforms.crop)
    said |= {"gmac_per_image": flop / 2e9, "device": device}
    networks: dict[Compute, Network] = {}
    peaks: dict[Compute, float] = {}
    for compute in _types(device):
        networks[compute] = resolved = _with(setup, compute)
        peaks[compute] = matrix_peak(compute, device, matrix_size(device, settings.quick))
        yield Row("embed", f"matrix product {compute}, {device}", said, {"tflop_per_s": peaks[compute] / 1e12})
        for batch in options.numbers(_of("batches", said["gpus"])):
            speed = forward_speed(resolved, random_images(resolved, batch, transforms.crop), options.seconds("seconds"))
            yield Row(
                "embed",
                f"forward {compute} batch {batch}, {device}",
                {**said, "compute": compute, "batch": batch},
                {
                    "images_per_s": speed,
                    "tflop_per_s": speed * flop / 1e12,
                    "share_of_matrix_peak": speed * flop / peaks[compute],
                },
            )
    for compute in list(networks)[1:]:
        yield _against_float32(setup, networks, compute, options, said)
    share = flop / peaks[setup.resolved.plan.compute]
    yield _pipeline(setup, options.number("rounds"), share, said)
    if said["gpus"]:
        yield from _all_on_gpu(setup, options, flop, share, said)


def _all_on_gpu(setup: Setup, options: Options, flop: float, share: float, said: dict[str, Any]) -> Iterator[Row]:
    """Measure the pipeline with JPEGs decoded on the GPU, and with a compiled network."""
    there = _changed(setup, decode="gpu")
    yield _decoded_alike(there, said)
    yield _pipeline(there, options.number("rounds"), share, said, ", decoded there")
    began = time.perf_counter()
    both = _changed(setup, decode="gpu", compile=True)
    plan, network = both.resolved.plan, both.resolved.network
    images = random_images(network, plan.batch_size, plan.spec.preprocessing.crop)
    forward_call(network, images)()
    seconds = time.perf_counter() - began
    speed = forward_speed(network, images, options.seconds("seconds"))
    yield Row(
        "embed",
        f"forward {plan.compute} batch {plan.batch_size}, {said['device']}, compiled",
        {**said, "compute": plan.compute, "batch": plan.batch_size},
        {
            "images_per_s": speed,
            "tflop_per_s": speed * flop / 1e12,
            "share_of_matrix_peak": speed * share,
            "seconds_until_the_first_batch": seconds,
        },
    )
    yield _pipeline(both, options.number("rounds"), share, said, ", decoded there, compiled")


def _decoded_alike(setup: Setup, said: dict[str, Any]) -> Row:
    """Compare the embeddings of one batch decoded on the processor and on the GPU."""
    plan = setup.resolved.plan
    part = read_part(setup.storage, setup.parts[0]).slice(0, plan.batch_size)
    network, device = setup.resolved.network, setup.settings.devices[0]
    found = []
    for decode in ("cpu", "gpu"):
        with PartEmbedder(
            dataclasses.replace(plan, decode=decode), setup.pool, device, network, setup.source
        ) as embedder:
            [space] = embedder(part).embeddings.values()
            found.append(np.stack(space.column("embedding").to_numpy()).astype(np.float64))
    left, right = found
    cosine = (left * right).sum(1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)
    return Row(
        "embed",
        f"decoded on the GPU against the processor, {said['device']}",
        {**said, "compute": plan.compute, "images": len(left)},
        {"cosine_mean": float(cosine.mean()), "cosine_min": float(cosine.min())},
        "" if plan.spec.weights.pretrained else "the cosine is that of an untrained network; give --weights",
    )


def _types(device: str) -> list[Compute]:
    return ["float32", "bfloat16", "float16"] if device.startswith("cuda") else ["float32", "bfloat16"]


def _with(setup: Setup, compute: Compute) -> Network:
    """Return the setup's network in another type."""
    if compute == setup.resolved.plan.compute:
        return setup.resolved.network
    return _changed(setup, compute=compute).resolved.network


def _changed(setup: Setup, **changes: Any) -> Setup:
    return Setup.of(setup.storage.root, dataclasses.replace(setup.settings, **changes))


def _against_float32(
    setup: Setup, networks: dict[Compute, Network], compute: Compute, options: Options, said: dict[str, Any]
) -> Row:
    plan = setup.resolved.plan
    with DecodePool(setup.pool, plan.spec.preprocessing) as decoder:
        uris = setup.uris(setup.parts[0])[: plan.batch_size]
        done = [image for _, image in decoder.stream(((uri, uri) for uri in uris), len(uris))]
    pixels = [image.pixels for image in done if isinstance(image, Prepared)]
    left, right = (networks[kind].embed(pixels).embeddings[0].astype(np.float64) for kind in ("float32", compute))
    cosine = (left * right).sum(1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)
    tensor = networks[compute].normalized(pixels)
    calls: dict[str, Callable[[], None]] = {
        "float32": forward_call(networks["float32"], tensor),
        compute: forward_call(networks[compute], tensor),
    }
    times = timing.alternating(calls, options.number("rounds"))
    speedup = timing.ratio(times, "float32", compute)
    return Row(
        "embed",
        f"{compute} over float32, {said['device']}",
        {**said, "compute": compute, "batch": len(pixels), "rounds": options.number("rounds")},
        {
            "speedup": speedup["median"],
            "speedup_min": speedup["min"],
            "speedup_max": speedup["max"],
            "cosine_mean": float(cosine.mean()),
            "cosine_min": float(cosine.min()),
        },
        "" if plan.spec.weights.pretrained else "the cosine is that of an untrained network; give --weights",
    )


def _pipeline(setup: Setup, wanted: int, share: float, said: dict[str, Any], how: str = "") -> Row:
    """Measure files to Parquet against the network alone; `share` is the share of the matrix peak at one image/s."""
    rounds = list(pipeline_rounds(setup, wanted))
    if len(rounds) < wanted:
        left_out(f"{wanted - len(rounds)} of {wanted} rounds of the pipeline", "the images are too few")
    ratios = [each.pipeline / each.forward for each in rounds]
    whole = statistics.median(each.pipeline for each in rounds)
    plan = setup.resolved.plan
    return Row(
        "embed",
        f"pipeline over forward, {said['device']}{how}",
        {**said, "compute": plan.compute, "batch": plan.batch_size, "rounds": len(rounds)}
        | {"images": sum(each.images for each in rounds), "workers": setup.pool.workers},
        {
            "pipeline_images_per_s": whole,
            "forward_images_per_s": statistics.median(each.forward for each in rounds),
            "ratio_median": statistics.median(ratios),
            "ratio_min": min(ratios),
            "ratio_max": max(ratios),
            "share_of_matrix_peak": whole * share,
        },
    )


def _many(setup: Setup, folder: Path, gpus: int, said: dict[str, Any]) -> Row:
    """Run the whole stage on several GPUs, one process each."""
    asked = dataclasses.replace(setup.settings, devices=torch_devices(gpus))
    _, report = run_embed(Storage(folder), None, asked, Silent())
    return Row(
        "embed",
        f"pipeline, {gpus} GPUs",
        {**said, "gpus": gpus, "batch": asked.images_per_batch, "images": report.embedded, "compute": asked.compute},
        {"images_per_s": report.images_per_second, "seconds": report.seconds},
        "with the start of a process for each GPU",
    )

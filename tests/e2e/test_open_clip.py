"""Models of open_clip: images and texts in one space, through every interface."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import lookalike
from lookalike.cli._run import run
from lookalike_indexer.cli.index import index
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import UsageError, WeightsError
from lookalike_indexer.models import open_clip_models
from lookalike_indexer.models.statefile import fitted, read_state
from lookalike_indexer.models.text_encoder import TextEncoder
from lookalike_indexer.models.weights import load_pretrained, parse_weights

pytestmark = [
    pytest.mark.skipif(not importlib.util.find_spec("open_clip"), reason="open_clip is not installed"),
    pytest.mark.xdist_group("open_clip"),
]
# The smallest open_clip model with an included tokenizer. Its weights are random, since none can be downloaded here.
MODEL = "open_clip/ViT-S-32-alt"
TEXTS = ["a red bus at night", "ein Ücüncü Kedi 猫", "two dogs & a cat"]
# The cosine between our vector and open_clip's own: the same float32 network, the same decoder.
SAME = 1 - 1e-5
TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import skimage.data

    folder = tmp_path_factory.mktemp("photos")
    for name in ("chelsea", "coffee", "rocket"):
        Image.fromarray(getattr(skimage.data, name)()).convert("RGB").save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def collection(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip") / "collection"
    made(photos, "--collection", folder, "--model", MODEL, "--weights", "untrained:0", "--compute", "float32")
    return folder


@pytest.fixture(scope="module")
def client(collection: Path) -> Iterator[lookalike.LocalClient]:
    with lookalike.open(collection, timeout=120) as found:
        yield found


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Register a model that open_clip knows in this process only, and that is small enough to be saved quickly."""
    import open_clip

    path = tmp_path_factory.mktemp("configs") / "lookalike-tiny.json"
    path.write_text(json.dumps(TINY))
    open_clip.add_model_config(path)
    return "open_clip/lookalike-tiny"


@pytest.fixture(scope="module")
def theirs(client: lookalike.LocalClient) -> torch.nn.Module:
    """Return the same network built by open_clip alone: new weights with the same seed."""
    import open_clip

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return open_clip.create_model(MODEL.removeprefix("open_clip/")).eval()


def made(*line: object) -> str:
    result = CliRunner().invoke(index, [*map(str, line), "--json"])
    assert result.exit_code == 0, result.output
    return result.stdout


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    unit = [each / np.linalg.norm(each.astype(np.float64), axis=-1, keepdims=True) for each in (left, right)]
    return (unit[0] * unit[1]).sum(axis=-1)


def test_images_and_texts_have_the_vectors_of_open_clip(client, photos, theirs):
    import open_clip

    transform = open_clip.image_transform(224, is_train=False)
    names = ["chelsea.png", "coffee.png", "rocket.png"]
    with torch.inference_mode():
        images = theirs.encode_image(torch.stack([transform(Image.open(photos / name)) for name in names])).numpy()
        tokens = open_clip.get_tokenizer(MODEL.removeprefix("open_clip/"))(TEXTS)
        texts = theirs.encode_text(tokens).numpy()
    assert cosines(client.embed(texts=TEXTS), texts).min() >= SAME
    assert cosines(client.vectors(keys=names), images).min() >= SAME
    assert cosines(client.embed(images=[photos / name for name in names]), images).min() >= SAME
    # A text alone has the same vector as in a batch.
    many = client.embed(texts=TEXTS * 2)
    assert cosines(client.embed(text=TEXTS[1]), many[1]) >= SAME
    # Three calls, with at most two texts each.
    assert cosines(client.embed(texts=TEXTS * 2, batch_size=2), many).min() >= SAME
    # The nearest images to a text follow from these vectors alone.
    near = client.search(texts=TEXTS, k=3, exact=True)
    for row, found in enumerate(near):
        own = cosines(texts[row], images)
        assert [names.index(key) for key in found.keys] == np.argsort(-own).tolist()
        np.testing.assert_allclose(found.distances, np.sort(1 - own), atol=1e-4)
        assert found.served.pretrained is False


def test_collection_reports_text_support(client, collection):
    (space,) = client.info().spaces
    assert (space.name, space.model, space.takes_text, space.layer) == ("ViT-S-32-alt", MODEL, True, "embedding")
    spec = CollectionReader.open(str(collection)).manifest.models["ViT-S-32-alt"].spec
    assert (spec.classes, spec.preprocessing.interpolation, spec.preprocessing.crop) == (0, "bicubic", 224)


def test_texts_are_asked_in_batches_clusters_and_by_examples(client):
    one = client.search(text=TEXTS[0], k=2)
    assert list(one.keys) == list(client.search(texts=[TEXTS[0], TEXTS[0]], k=2)[1].keys)
    moved = client.search(text=TEXTS[0], keys=["coffee.png"], not_keys=[], k=1)
    assert "coffee.png" not in moved.keys
    rows = client.search(texts=[TEXTS[0], "word " * 80], k=1, errors="rows", batch_size=1)
    assert rows[0].keys == one.keys[:1]
    assert rows.errors == {1: "Text 1 cannot be embedded: it has 82 tokens, and the model reads 77; shorten it."}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("word " * 80, "Text 0 cannot be embedded: it has 82 tokens, and the model reads 77; shorten it."),
        ("x" * 1025, "Text 0 has 1025 bytes; the limit is 1024, which is max_query_text_bytes."),
        ("  ", "A text must be a str with a word, not '  '."),
        (b"bytes", "A text must be a str with a word, not b'bytes'."),
    ],
)
def test_text_that_cannot_be_embedded_whole_is_rejected_with_one_sentence(client, text, sentence):
    with pytest.raises(lookalike.InvalidArgumentError) as caught:
        client.search(text=text)
    assert str(caught.value) == sentence


def test_command_line_asks_by_text(client, collection, monkeypatch, capsys):
    monkeypatch.setenv("LOOKALIKE_TOKEN", client._connection.token)
    monkeypatch.setenv("LOOKALIKE_SERVER", client._connection.target)

    def said(*line: str) -> tuple[int, str, str]:
        code = run(["search", *line])
        return code, *capsys.readouterr()

    code, out, _ = said("--text", TEXTS[0], "-k", "2", "--json")
    answer = json.loads(out)
    assert (code, answer["query"]) == (0, {"text": TEXTS[0]})
    assert [each["key"] for each in answer["neighbors"]] == list(client.search(text=TEXTS[0], k=2).keys)
    for wrong in (("--text", "a", "coffee.png"), ()):
        code, _, err = said(*wrong)
        assert code == 2
        assert "Name an image or a key, or give --text; not both." in err
    code, _, err = said("--text", "a", "--box", "1,1,5,5")
    assert code == 2
    assert "'a' is a text" in err


@pytest.mark.parametrize("wrapped", ["state_dict", "module", "safetensors"])
def test_image_weights_of_a_file_equal_those_of_the_model(tiny, tmp_path, wrapped):
    import safetensors.torch

    model = open_clip_models.build(tiny).clip
    state = {name: value.clone() for name, value in model.state_dict().items()}
    path = tmp_path / "weights.bin"
    if wrapped == "safetensors":
        path = path.with_suffix(".safetensors")
        safetensors.torch.save_file(state, path)
    elif wrapped == "module":
        torch.save({f"module.{name}": value for name, value in state.items()}, path)
    else:
        torch.save({"epoch": 3, "state_dict": state}, path)
    module, classes, spec = load_pretrained(tiny, parse_weights(str(path)))
    assert (classes, spec.kind, spec.pretrained) == (0, "file", True)
    images, texts = torch.rand(2, 3, 32, 32), ["a red bus"]
    with torch.inference_mode():
        assert torch.equal(module(images), model.encode_image(images))
    found, failed = TextEncoder(module, tiny, "cpu").encode([*texts, "word " * 80])
    assert list(failed) == [1]
    import open_clip

    with torch.inference_mode():
        expected = model.encode_text(open_clip.get_tokenizer(tiny.removeprefix("open_clip/"))(texts)).numpy()
    np.testing.assert_allclose(found[:1], expected, rtol=1e-5, atol=1e-6)


def test_weights_of_another_model_are_rejected(tiny, tmp_path):
    state = open_clip_models.build(tiny).clip.state_dict()
    state["visual.proj"] = torch.zeros(32, 8)
    torch.save(dict(state), tmp_path / "other.pt")
    with pytest.raises(WeightsError, match=r"does not fit the model open_clip/lookalike-tiny.*1 of another shape"):
        fitted(tiny, read_state(tmp_path / "other.pt"), "The file")


def test_words_that_the_tokenizer_remembers_are_bounded(tiny, monkeypatch):
    from lookalike_indexer.models import text_encoder

    monkeypatch.setattr(text_encoder, "_REMEMBERED", 20)
    encoder = TextEncoder(open_clip_models.build(tiny), tiny, "cpu")
    before = encoder.encode(["a red bus"])[0]
    for number in range(40):
        encoder.encode([f"word{number}"])
    assert len(encoder._tokenizer.cache) <= 25
    np.testing.assert_array_equal(encoder.encode(["a red bus"])[0], before)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--model", "open_clip/ViT-B-33"), "open_clip has no model 'ViT-B-33'; did you mean open_clip/ViT-B-32"),
        (("--model", MODEL), f"{MODEL} has no ImageNet weights; give --weights a state dict, or untrained:0."),
        (("--model", "open_clip/ViT-B-32"), "give --weights open_clip:laion2b_e16, a state dict, or untrained:0."),
        (
            ("--model", "open_clip/ViT-B-32", "--weights", "open_clip:openai"),
            "trained with another activation than open_clip/ViT-B-32 has; give --model open_clip/ViT-B-32-quickgelu.",
        ),
        (("--model", "open_clip/ViT-B-32", "--weights", "open_clip:laion3b"), "open_clip has no weights 'laion3b' of"),
        (("--model", "resnet18", "--weights", "open_clip:openai"), "weights of open_clip's models, not of resnet18"),
        (
            ("--model", "open_clip/ViT-B-16-SigLIP", "--weights", "untrained:0"),
            "The transforms of open_clip/ViT-B-16-SigLIP are not supported",
        ),
    ],
)
def test_wrong_names_are_reported_before_anything_is_written(photos, tmp_path, options, sentence):
    result = CliRunner().invoke(index, [str(photos), "--collection", str(tmp_path / "c"), *options])
    assert result.exit_code == 2, result.output
    assert sentence in " ".join(result.output.split())
    assert not (tmp_path / "c" / "generations").exists()


def test_without_open_clip_the_error_explains_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(UsageError, match=r"pip install 'lookalike\[clip\]'"):
        open_clip_models.checked(MODEL)

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest

from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import DataLossError, DeviceError, UsageError
from lookalike_indexer.vectors.metric import prepare
from lookalike_server.placement.build_searchers import build_searchers, choose_devices, load_index
from lookalike_server.placement.devices import Cpu, Gpu, needs_half_tables
from lookalike_server.placement.searcher import OnDevice
from lookalike_server.placement.split import pieces
from lookalike_server.placement.strategies import by_distance

KINDS = ["Flat", "SQfp16", "SQ8", "PQ4x4", "IVF16,Flat", "IVF16,SQfp16", "IVF16,SQ8", "IVF16,PQ4x4",
         "PCA8,Flat", "PCA8,IVF16,Flat", "PCA8,IVF16,PQ4x4", "IVF16_HNSW8,Flat"]  # fmt: skip


def vectors(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, 16)).astype(np.float32)


@pytest.fixture
def stored(tmp_path: Path, index_of):
    """An index on disk, and loaded from there."""

    def make(factory: str, metric: str = "cosine", rows: int = 600) -> tuple[faiss.Index, Path]:
        path = tmp_path / "index.faiss"
        faiss.write_index(index_of(vectors(rows), factory, metric), str(path))
        return faiss.read_index(str(path)), path

    return make


class TestShards:
    @pytest.mark.parametrize("metric", ["cosine", "l2"])
    @pytest.mark.parametrize("kind", KINDS)
    def test_answer_as_the_whole_index_does(self, stored, kind, metric) -> None:
        index, path = stored(kind, metric)
        whole = OnDevice("cpu", index, metric)
        [sharded] = build_searchers(index, path, metric, "shard", [Cpu(f"cpu:{i}") for i in range(3)])
        queries = prepare(vectors(25, seed=5), metric)
        nprobe = 5 if "IVF" in kind else 0
        rows, distances = whole.search(queries, 12, nprobe)[:2]
        shard_rows, shard_distances = sharded.search(queries, 12, nprobe)[:2]
        sharded.close()
        assert sharded.name == "shard(cpu:0,cpu:1,cpu:2)"
        np.testing.assert_allclose(shard_distances, distances, atol=1e-6)
        # Codes can tie, and a tie at the last place may go either way.
        certain = distances < distances[:, -1:] - 1e-6
        np.testing.assert_array_equal(shard_rows[certain], rows[certain])

    def test_hold_each_row_once(self, stored) -> None:
        for kind in ("Flat", "IVF16,Flat"):
            index, path = stored(kind)
            cut = list(pieces(index, path, 7))
            assert [piece.index.ntotal for piece in cut] == [piece.stop - piece.start for piece in cut]
            assert sum(piece.index.ntotal for piece in cut) == 600
            assert cut[0].start == 0
            assert cut[-1].stop == 600
            assert index.ntotal == 600

    def test_more_shards_than_images(self, stored) -> None:
        index, path = stored("Flat", rows=3)
        with pytest.raises(DeviceError, match="3 images cannot be split over 4"):
            list(pieces(index, path, 4))

    def test_graph_cannot_be_cut(self, stored) -> None:
        index, path = stored("HNSW8")
        with pytest.raises(DeviceError, match=r"IndexHNSWFlat.*--placement cpu"):
            build_searchers(index, path, "cosine", "shard", [Cpu("a"), Cpu("b")])

    def test_failing_shard_fails_the_search(self, stored) -> None:
        index, path = stored("Flat")
        [sharded] = build_searchers(index, path, "cosine", "shard", [Cpu("a"), Cpu("b")])
        sharded._pieces[1]._strategy = None
        with pytest.raises(AttributeError):
            sharded.search(vectors(1), 3, 0)
        sharded.close()


class TestOnDevice:
    def test_results_are_padded_if_k_exceeds_the_rows(self, stored) -> None:
        index, _ = stored("Flat", rows=4)
        rows, distances = OnDevice("cpu", index, "cosine").search(prepare(vectors(2, 3), "cosine"), 6, 0)[:2]
        assert rows.shape == distances.shape == (2, 6)
        assert sorted(rows[0, :4]) == [0, 1, 2, 3]
        np.testing.assert_array_equal(rows[:, 4:], -1)
        assert np.isinf(distances[:, 4:]).all()

    @pytest.mark.parametrize("kind", ["IVF16,Flat", "IVF16_HNSW8,Flat", "IVF16,PQ4x4fs", "IVF16,SQ8,RFlat"])
    def test_more_lists_are_visited_until_k_rows_are_found(self, stored, kind) -> None:
        index, _ = stored(kind)
        placed = OnDevice("cpu", index, "cosine")
        rows, distances, effort, _ = placed.search(prepare(vectors(20, 3), "cosine"), 200, 1)
        assert all(len(set(line)) == 200 for line in rows.tolist())
        assert (rows >= 0).all()
        assert np.isfinite(distances).all()
        assert (effort > 1).all()
        assert (effort < 16).any(), "no more lists than it takes"

    def test_devices_bound_is_rejected_not_cut(self, stored) -> None:
        index, _ = stored("IVF16,Flat")
        bounded = OnDevice("cuda:0", index, "cosine", max_selection=2048)
        for k, nprobe in ((2049, 1), (1, 2049)):
            with pytest.raises(UsageError, match="cuda:0 can select at most 2048"):
                bounded.search(vectors(1), k, nprobe)

    def test_nprobe_travels_with_the_call(self, stored) -> None:
        index, _ = stored("IVF16,Flat")
        before = faiss.downcast_index(index).nprobe
        placed = OnDevice("cpu", index, "cosine")
        queries = prepare(vectors(30, 8), "cosine")
        few, _ = placed.search(queries, 10, 1)[:2]
        many, _ = placed.search(queries, 10, 16)[:2]
        assert (few != many).any()
        assert faiss.downcast_index(index).nprobe == before

    def test_distances_of_near_duplicates_do_not_depend_on_the_batch(self, index_of) -> None:
        stored = np.abs(vectors(100 * 2048 // 16).reshape(-1, 2048)) * 0.8
        queries = stored + np.float32(1e-4) * np.abs(vectors(stored.size // 16, 3).reshape(stored.shape))
        true = np.linalg.norm(queries.astype(np.float64) - stored, axis=1)
        placed = OnDevice("cpu", index_of(stored, "Flat", "l2"), "l2")
        rows, distances = placed.search(queries, 3, 0)[:2]
        assert len(queries) > 20, "faiss computes larger batches in another way"
        np.testing.assert_array_equal(rows[:, 0], np.arange(len(queries)))
        np.testing.assert_allclose(distances[:, 0], true, rtol=1e-5)
        alone, alone_distances = placed.search(queries[:1], 3, 0)[:2]
        np.testing.assert_array_equal(alone, rows[:1])
        np.testing.assert_array_equal(alone_distances, distances[:1])

    def test_equal_distances_by_row(self) -> None:
        rows = np.array([[5, 9, 2, 7], [1, 2, 3, 4]])
        distances = np.array([[0.1, 0.2, 0.2, 0.2], [0.1, 0.2, 0.3, 0.4]], np.float32)
        rows, distances = by_distance(rows, distances)
        assert rows.tolist() == [[5, 2, 7, 9], [1, 2, 3, 4]]

    @pytest.mark.parametrize("kind", ["Flat", "IVF4,Flat"])
    @pytest.mark.parametrize("metric", ["cosine", "l2"])
    def test_of_equals_at_the_last_place_the_lowest_rows_are_kept(self, index_of, kind, metric) -> None:
        # 10 images, each 40 times, in any order: k cuts through one of them.
        copies = np.random.default_rng(2).permutation(np.repeat(np.arange(10), 40))
        stored = np.sign(vectors(10))[copies]
        placed = OnDevice("cpu", index_of(stored, kind, metric), metric)
        queries = prepare(vectors(30, seed=4), metric)
        rows, distances = placed.search(queries, 50, 4 if "IVF" in kind else 0)[:2]
        for line in range(len(queries)):
            nearest, second = (copies == copies[rows[line, place]] for place in (0, 45))
            expected = [*np.flatnonzero(nearest), *np.flatnonzero(second)[:10]]
            if (np.diff(distances[line]) != 0).sum() == 1:
                assert rows[line].tolist() == expected
        assert (np.diff(distances[:, [0, 39]], axis=1) == 0).sum() > 15, "equal distances are what is tested"


class TestDevices:
    def test_tables_beyond_a_gpus_shared_memory_are_of_float16(self) -> None:
        for factory, expected in (("IVF4,PQ64", True), ("PCA64,IVF4,PQ64", True), ("IVF4,PQ32", False),
                                  ("IVF4,PQ64x4", False), ("Flat", False), ("IVF4,Flat", False)):  # fmt: skip
            assert needs_half_tables(faiss.index_factory(128, factory)) is expected, factory

    def test_placements_name_their_devices(self) -> None:
        assert [one.name for one in choose_devices("cpu", "", 0)] == ["cpu"]
        assert [one.name for one in choose_devices("gpu", "", 4)] == ["cuda:0"]
        assert [one.name for one in choose_devices("gpu", "2", 4)] == ["cuda:2"]
        assert [one.name for one in choose_devices("shard", "", 3)] == ["cuda:0", "cuda:1", "cuda:2"]
        assert [one.name for one in choose_devices("replicate", "0,2", 3)] == ["cuda:0", "cuda:2"]

    def test_missing_gpus_are_rejected_with_the_available_gpus(self) -> None:
        with pytest.raises(DeviceError, match="no GPU was found"):
            choose_devices("gpu", "", 0)
        with pytest.raises(DeviceError, match="no GPU was found"):
            choose_devices("shard", "", 0)
        with pytest.raises(DeviceError, match="GPUs 0 to 1"):
            choose_devices("shard", "0,5", 2)

    def test_contradictions_are_rejected(self) -> None:
        with pytest.raises(UsageError, match="takes one GPU"):
            choose_devices("gpu", "0,1", 2)
        with pytest.raises(UsageError, match="placement is cpu"):
            choose_devices("cpu", "0", 1)

    @pytest.mark.gpu
    @pytest.mark.parametrize("metric", ["cosine", "l2"])
    @pytest.mark.parametrize("kind", ["Flat", "SQfp16", "IVF16,Flat", "IVF16,SQfp16", "IVF16,SQ8", "IVF16,PQ8x8"])
    def test_gpu_answers_as_the_processor_does(self, stored, kind, metric) -> None:
        index, path = stored(kind, metric)
        queries = prepare(vectors(25, seed=5), metric)
        nprobe = 5 if "IVF" in kind else 0
        _, distances = OnDevice("cpu", index, metric).search(queries, 10, nprobe)[:2]
        for placement in ("gpu", "shard", "replicate"):
            [placed] = build_searchers(index, path, metric, placement, [Gpu(0)])
            _, found = placed.search(queries, 10, nprobe)[:2]
            np.testing.assert_allclose(found, distances, atol=2e-2)
            placed.close()

    @pytest.mark.gpu
    def test_index_kind_unsupported_on_gpus_is_rejected(self, stored) -> None:
        index, path = stored("HNSW8")
        with pytest.raises(DeviceError, match="--placement cpu"):
            build_searchers(index, path, "cosine", "gpu", [Gpu(0)])


class TestLoading:
    def test_digest_is_verified_first(self, make_toy) -> None:
        toy = make_toy()
        reader = CollectionReader.open(str(toy.root))
        entry = reader.index()
        path = reader.storage.local(entry.path)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        with pytest.raises(DataLossError, match="digest"):
            load_index(reader, entry)

from __future__ import annotations

from pathlib import Path

import pytest

from lookalike_indexer.errors import UsageError
from lookalike_indexer.models import compute
from lookalike_indexer.models.compute import has_fast_bfloat16, resolve_compute


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("vendor_id\t: GenuineIntel\nflags\t\t: fpu avx512_bf16 amx_bf16 amx_tile\n", True),
        ("vendor_id\t: GenuineIntel\nflags\t\t: fpu avx512_bf16\n", False),
        ("vendor_id\t: AuthenticAMD\nflags\t\t: fpu avx512_bf16\n", True),
        ("vendor_id\t: AuthenticAMD\nflags\t\t: fpu avx2\n", False),
        ("flags\t\t: fpu avx512_bf16\n", False),
        ("", False),
    ],
)
def test_bfloat16_is_chosen_where_it_is_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, expected: bool
):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{flags}model name\t: x\n")
    assert has_fast_bfloat16(tmp_path / "cpuinfo") is expected
    monkeypatch.setattr(compute, "has_fast_bfloat16", lambda: expected)
    assert resolve_compute("auto", "cpu") == ("bfloat16" if expected else "float32")


def test_requested_compute_type_is_used_or_rejected():
    assert resolve_compute("bfloat16", "cpu") == "bfloat16"
    assert resolve_compute("float32", "cpu") == "float32"
    with pytest.raises(UsageError, match="float16 needs a GPU"):
        resolve_compute("float16", "cpu")
    with pytest.raises(UsageError, match="'int8' is none of"):
        resolve_compute("int8", "cpu")


def test_no_processor_description_means_float32(tmp_path: Path):
    assert has_fast_bfloat16(tmp_path / "none") is False

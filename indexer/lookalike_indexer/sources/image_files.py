"""Detection of image files: by suffix if that is sufficient, or else by the first bytes."""

from __future__ import annotations

EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"}
    | {".heic", ".heif", ".hif", ".avif", ".jp2", ".j2k", ".j2c", ".jpx"}
)
CONTAINERS = frozenset({".parquet", ".pq", ".tar", ".zip"})
# Not opened: large sets have one such file beside each image.
_OTHERS = frozenset(
    {".txt", ".json", ".jsonl", ".xml", ".csv", ".tsv", ".md", ".html", ".yaml", ".yml", ".xmp", ".aae", ".cls"}
    | {".py", ".ipynb", ".npy", ".npz", ".pt", ".pth", ".safetensors", ".mat", ".pkl", ".log", ".db", ".svg", ".pdf"}
    | {".mp4", ".mov", ".avi", ".mkv", ".webm", ".mp3", ".wav", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"}
)
# These have the magic bytes of TIFF, but a TIFF reader finds only their preview.
_CAMERA_RAW = frozenset({".dng", ".nef", ".nrw", ".cr2", ".cr3", ".arw", ".sr2", ".orf", ".rw2", ".pef", ".srw"})
HEAD = 32
_BEGINNINGS = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"II*\x00",
    b"MM\x00*",
    b"II+\x00",
    b"MM\x00+",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n",
    b"\xff\x4f\xff\x51",
)
_BRANDS = frozenset({b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_LONGEST_SUFFIX = 12


def suffix_of(name: str) -> str:
    """Return the suffix of a file's name in lower case, empty if there is none."""
    stem, dot, suffix = name.rpartition(".")
    return f".{suffix.lower()}" if dot and stem.strip("./") else ""


def is_known(suffix: str) -> bool:
    """Return whether the suffix alone determines if the file is an image."""
    return suffix in EXTENSIONS or suffix in _OTHERS or suffix in _CAMERA_RAW or suffix in CONTAINERS


def is_image_header(head: bytes) -> bool:
    """Return whether a file is an image, by its first `HEAD` bytes, or fewer if it is shorter."""
    if head.startswith(_BEGINNINGS):
        return True
    if head[:4] == b"RIFF":
        return head[8:12] == b"WEBP"
    if head[4:8] == b"ftyp":
        return head[8:12] in _BRANDS
    # "BM" alone begins many texts. In a BMP file, the length follows in four bytes, then four zero bytes.
    return head[:2] == b"BM" and len(head) >= 26 and head[6:10] == bytes(4)


def other_kind(suffix: str) -> str:
    """Return the category of a file that is not an image, for the counts of left-out files."""
    if suffix in CONTAINERS:
        return f"archive or Parquet file ({suffix})"
    if suffix in _CAMERA_RAW:
        return f"camera raw ({suffix})"
    if not suffix:
        return "not an image (no suffix)"
    plain = len(suffix) <= _LONGEST_SUFFIX and suffix[1:].isalnum()
    return f"not an image ({suffix})" if plain else "not an image (other)"

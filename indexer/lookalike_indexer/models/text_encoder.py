"""Encoder of texts to vectors of the space that a CLIP-like model embeds images in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from lookalike_indexer.arrays import Float32
from lookalike_indexer.errors import WeightsError
from lookalike_indexer.models.open_clip_models import PictureTower, name_of, open_clip

# The maximum number of words that open_clip's tokenizer may cache in this process.
_REMEMBERED = 10_000


class TextEncoder:
    """The text half of an open_clip model with its tokenizer; not thread-safe."""

    def __init__(self, module: PictureTower, arch: str, device: str) -> None:
        """Load the tokenizer.

        Raise WeightsError if it belongs to another library, which is not installed, or its files are missing.
        """
        self._device = torch.device(device)
        # open_clip is largely untyped.
        self._clip: Any = module.clip.to(self._device).eval()
        try:
            self._tokenizer: Any = open_clip(arch).get_tokenizer(name_of(arch))
        except Exception as error:
            # transformers and its hub's client raise their own errors.
            raise WeightsError(
                f"The tokenizer of {arch} cannot be loaded here ({type(error).__name__}); ask with an image, or "
                "install transformers and sentencepiece and the tokenizer's files."
            ) from error

    def encode(self, texts: Sequence[str]) -> tuple[Float32, dict[int, str]]:
        """Return vectors, float32 of shape (n, dim), as the model gives them, not normalized, and the failures.

        A failure is the reason for a text, by position from 0: it has more tokens than the model reads. The row of such
        a text is zero. If every text has failed, dim is 0.
        """
        failed = {at: reason for at, text in enumerate(texts) if (reason := self._refused(text))}
        kept = [at for at in range(len(texts)) if at not in failed]
        if not kept:
            return np.zeros((len(texts), 0), np.float32), failed
        tokens = self._tokenizer([texts[at] for at in kept])
        self._forget()
        with torch.inference_mode():
            found = self._clip.encode_text(tokens.to(self._device), normalize=False).float().cpu().numpy()
        vectors = np.zeros((len(texts), found.shape[1]), np.float32)
        vectors[kept] = found
        return vectors, failed

    def _refused(self, text: str) -> str:
        """Return why a text cannot be encoded completely; "" if it can be."""
        room = self._tokenizer.context_length
        count = self._tokens(text)
        return f"it has {count} tokens, and the model reads {room}; shorten it" if count > room else ""

    def _tokens(self, text: str) -> int:
        """Return the number of tokens of a text, including those for its start and end."""
        if hasattr(self._tokenizer, "encode"):
            return len(self._tokenizer.encode(text)) + 2
        return len(self._tokenizer.tokenizer(self._tokenizer.clean_fn(text))["input_ids"])

    def _forget(self) -> None:
        """Clear the tokenizer's word cache, which would grow without limit."""
        words = getattr(self._tokenizer, "cache", None)
        if isinstance(words, dict) and len(words) > _REMEMBERED:
            special = [self._tokenizer.decoder[number] for number in self._tokenizer.all_special_ids]
            words.clear()
            words.update({word: word for word in special})

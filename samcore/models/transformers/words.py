"""How SAM 3 reads a text, and whether a folder has what that takes. Imports no torch."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from samcore.errors import InputError, ModelError
from samcore.models.transformers.folder import CONFIG, INDEX, WEIGHTS, read_json

MAX_PIECES = 32
"""Pieces of words of a text, with those that begin and end it: `Sam3Processor` in transformers."""

_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt")
_PART = "detector_model.detr_decoder."
"""Begins the names of some of the detector's weights."""


def check_detector(folder: Path, *, name: str) -> None:
    """See whether a folder of SAM 3 holds the detector's weights and the tokenizer.

    Raises:
        ModelError: One is missing; the message says what to take.
    """
    if not any(key.startswith(_PART) for key in _weight_names(folder)):
        raise ModelError(
            f"{name} lacks the weights of SAM 3's detector, which finds what a text says: its "
            f"weights have no {_PART}*; take the whole model, as facebook/sam3"
        )
    has = {path.name for path in folder.iterdir()}
    if "tokenizer.json" not in has and not {"vocab.json", "merges.txt"} <= has:
        raise ModelError(
            f"{name} has no tokenizer, by which a text is read: {folder} wants tokenizer.json, or "
            "vocab.json and merges.txt, as facebook/sam3 has them"
        )


def tokenizer_digest(folder: Path) -> str:
    """SHA-256 of the tokenizer's files, in hex."""
    said = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in _TOKENIZER
        if (folder / name).is_file()
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def read_texts(folder: Path, texts: Sequence[str]) -> list[tuple[list[int], list[int]]]:
    """The pieces of each text.

    Args:
        folder: That of the model.
        texts: Any number.

    Returns:
        For each text its pieces' numbers, filled up to `MAX_PIECES`, and 1 for each that is of the
        text, 0 for what fills up.

    Raises:
        InputError: A text is too long.
        ModelError: The tokenizer cannot be read.
    """
    from transformers import CLIPTokenizer

    try:
        tokenizer: Any = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        read = [tokenizer(text, padding="max_length", max_length=MAX_PIECES) for text in texts]
    except Exception as error:  # the tokenizers' own errors are plain exceptions
        told = " ".join(str(error).split())[:160]
        raise ModelError(f"cannot read the tokenizer in {folder}: {told}") from error
    most = _most_pieces(folder)
    for text, one in zip(texts, read, strict=True):
        count = sum(one["attention_mask"])
        if count > most:
            raise InputError(
                f"text: SAM 3 takes at most {most - 2} pieces of words a text, got {count - 2} in "
                f"{text[:40]!r}{' ...' if len(text) > 40 else ''}: say it in fewer words, or ask "
                "for several texts"
            )
    return [(list(one["input_ids"])[:most], list(one["attention_mask"])[:most]) for one in read]


def _most_pieces(folder: Path) -> int:
    detector = read_json(folder / CONFIG).get("detector_config") or {}
    text = detector.get("text_config") or {}
    return min(MAX_PIECES, int(text.get("max_position_embeddings", MAX_PIECES)))


def _weight_names(folder: Path) -> list[str]:
    """The names of all weights, from a file's header or an index.

    Raises:
        ModelError: It cannot be read.
    """
    if not (folder / WEIGHTS).is_file():
        return list(read_json(folder / INDEX).get("weight_map") or {})
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / WEIGHTS, framework="numpy") as file:
            return list(file.keys())
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot read {folder / WEIGHTS}: {error}") from error

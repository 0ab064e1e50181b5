"""A record is believed only whole, and only in its own place."""

import json
import random

from samcore.disk.sealed import open_record, seal_record

RECORD = {"name": "masks.parquet", "size": 12345, "seconds": 0.25, "label": "Größe", "none": None}


def test_what_was_sealed_comes_back() -> None:
    """Also after somebody laid it out anew."""
    data = seal_record(RECORD, of="a/00001")
    assert open_record(data, of="a/00001") == RECORD
    assert open_record(json.dumps(json.loads(data)).encode(), of="a/00001") == RECORD


def test_another_place_is_another_record() -> None:
    """A copy in another place, and one that was only renamed, are none."""
    data = seal_record(RECORD, of="a/00001")
    assert open_record(data, of="a/00002") is None
    assert open_record(data.replace(b"a/00001", b"a/00002"), of="a/00002") is None


def test_no_flipped_bit_is_believed() -> None:
    """Each of 400 flips gives None, or changes nothing that the record says."""
    data = seal_record(RECORD, of="a/00001")
    chance = random.Random(0)
    for _ in range(400):
        place, bit = chance.randrange(len(data)), 1 << chance.randrange(8)
        flipped = bytearray(data)
        flipped[place] ^= bit
        assert open_record(bytes(flipped), of="a/00001") in (None, RECORD)


def test_what_is_no_sealed_record_is_none() -> None:
    """Nothing, text, lists and records of older versions."""
    for data in (b"", b"{", b"[]", b"null", b"[" * 10_000, b'{"index": 3}', json.dumps(RECORD)):
        assert open_record(data if isinstance(data, bytes) else data.encode(), of="a") is None

"""The table of time and memory per stage."""

import sys
import time

import pytest

from pipeline.stages import StageTable, peak_memory_mb


def test_time_is_booked_on_the_stage_that_was_reported():
    heard = []
    table = StageTable(lambda stage, share: heard.append((stage, share)))
    table("reading", 0.0)
    time.sleep(0.02)
    table("fitting", 0.0)
    table("fitting", 0.5)
    time.sleep(0.06)
    table("reading", 0.9)
    time.sleep(0.02)
    table.stop()
    assert heard == [("reading", 0.0), ("fitting", 0.0), ("fitting", 0.5), ("reading", 0.9)]
    rows = {row["stage"]: row for row in table.to_json()}
    assert list(rows) == ["reading", "fitting"]
    assert rows["reading"]["seconds"] >= 0.04 and rows["fitting"]["seconds"] >= 0.06
    assert rows["fitting"]["cpu_seconds"] < rows["fitting"]["seconds"], "asleep"
    assert table.seconds == pytest.approx(sum(row["seconds"] for row in rows.values()), abs=2e-3)
    text = table.as_text().splitlines()
    assert text[0].split() == ["stage", "seconds", "CPU", "s", "peak", "MB"] and text[-1].startswith("all")


@pytest.mark.skipif(sys.platform == "win32", reason="the system does not say")
def test_peak_memory_is_in_megabytes():
    before = peak_memory_mb()
    block = bytearray(64_000_000)
    assert 30 < before < 200_000 and peak_memory_mb() >= before
    del block


def test_a_cards_memory_has_its_own_column(monkeypatch):
    import torch

    held = iter([1e6, 3e9, 3e9])
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: next(held))
    table = StageTable(lambda stage, share: None)
    table("reading", 0.0)
    table("refining", 0.0)
    table.stop()
    assert [row["card_mb"] for row in table.to_json()] == [1, 3000]
    lines = table.as_text().splitlines()
    assert lines[0].endswith("card MB") and [line.split()[-1] for line in lines[1:]] == ["1", "3000", "3000"]

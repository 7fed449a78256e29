"""The check of an export by its ``proof.json``."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.report import check


def test_a_proof_that_says_nothing_is_damage_and_one_of_before_there_were_digests_is_not(tmp_path: Path) -> None:
    proof = tmp_path / "proof.json"
    proof.write_text("{}")
    (finding,) = check.check([tmp_path]).findings
    assert finding.path == str(proof) and "make the export again" in finding.remedy
    proof.write_text(json.dumps({"bytes": {"model.onnx": 1}}))
    old = check.check([tmp_path])
    assert old.findings == [] and old.unchecked == [str(tmp_path)]

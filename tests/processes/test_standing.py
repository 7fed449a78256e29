"""Work that is handed to another process is done where its command stands."""

from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path

import pytest

from pipeline.processes import standing
from pipeline.processes.standing import VARIABLES, Place


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder to begin in; folder and variables are as before afterwards."""
    monkeypatch.chdir(tmp_path)
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(standing, "started", [])


def stands() -> tuple[str, list[str]]:
    return str(Path.cwd()), [os.environ[name] for name in VARIABLES]


def test_a_worker_goes_where_the_command_stands(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="the extra dask is not installed")
    (tmp_path / "there").mkdir()
    place = Place(str(tmp_path / "there"), ("results", str(tmp_path / "mine")))
    assert standing.work(place, pickle.dumps((stands, ()))) == (place.folder, list(place.values)) == stands()


def test_a_folder_by_a_name_that_is_not_seen_here_is_the_one_it_stands_in(tmp_path: Path) -> None:
    with standing.at(Place("/no/such/mount", ("", ""))):
        assert stands() == (str(tmp_path), ["", ""])


def test_after_work_elsewhere_a_name_that_is_not_seen_is_still_the_folder_it_was_started_in(tmp_path: Path) -> None:
    """Else one command's relative paths were written to in another command's folder."""
    (tmp_path / "there").mkdir()
    with standing.at(Place(str(tmp_path / "there"), ("", ""))):
        assert stands() == (str(tmp_path / "there"), ["", ""])
    with standing.at(Place("/no/such/mount", ("", ""))):
        assert stands() == (str(tmp_path), ["", ""])


def test_work_for_another_place_waits(tmp_path: Path) -> None:
    """A process stands in one folder: paths of one command must never be taken for another's."""
    places = [Place(str(tmp_path / name), (name, "")) for name in "ab"]
    for place in places:
        Path(place.folder).mkdir()
    seen: list[str] = []

    def stand(place: Place) -> None:
        with standing.at(place):
            seen.append(os.environ[VARIABLES[0]])

    with standing.at(places[0]):
        with standing.at(places[0]):  # more work for the same one does not
            assert os.environ[VARIABLES[0]] == "a"
        thread = threading.Thread(target=stand, args=(places[1],), daemon=True)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive() and not seen and os.environ[VARIABLES[0]] == "a"
    thread.join(10)
    assert seen == ["b"] and not standing.under_way

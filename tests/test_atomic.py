"""Whole files: through links, beside what killed processes left, and never in place of a device."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import anabranch.atomic
from anabranch.atomic import replacing, replacing_folder

HIDDEN = ".anabranch-*"

# a process that waits in the middle of a write; it loads this one file, for all of the library takes seconds
WRITER = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("atomic", sys.argv[1])
atomic = importlib.util.module_from_spec(spec)
spec.loader.exec_module(atomic)
with atomic.replacing(sys.argv[2]) as temporary:
    temporary.write_text("half")
    print("writing", flush=True)
    sys.stdin.readline()
    temporary.write_text("whole")
"""


def write(path, text="new"):
    with replacing(path) as temporary:
        temporary.write_text(text)


def writer(path):
    command = [sys.executable, "-c", WRITER, anabranch.atomic.__file__, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    return process


def ended(process):
    process.communicate(timeout=30)
    return process.returncode


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_its_file_is_written(tmp_path, there):
    target = tmp_path / "folder" / "real.txt"
    target.parent.mkdir()
    if there:
        target.write_text("old")
        target.chmod(0o640)
    (tmp_path / "link").symlink_to(Path("folder") / "real.txt")
    (tmp_path / "again").symlink_to("link")
    write(tmp_path / "again")
    assert (tmp_path / "again").is_symlink() and (tmp_path / "link").is_symlink()
    assert target.read_text() == "new" and not target.is_symlink()
    if there:
        assert target.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["again", "folder", "link", "real.txt"]


def test_a_link_to_another_file_system(tmp_path):
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no other file system")
    target = elsewhere / f"anabranch-test-{os.getpid()}"
    (tmp_path / "link").symlink_to(target)
    try:
        write(tmp_path / "link")
        assert target.read_text() == "new"
    finally:
        target.unlink(missing_ok=True)


def test_what_cannot_be_replaced_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "one").symlink_to("other")
    (tmp_path / "other").symlink_to("one")
    (tmp_path / "folder").mkdir()
    (tmp_path / "lost").symlink_to(tmp_path / "no" / "file")
    before = sorted(tmp_path.iterdir())
    wrong = {"pipe": "a pipe", "one": "comes back to itself", "folder": "is a folder", "lost": "does not exist"}
    for name, said in {**wrong, "/dev/null": "a device"}.items():
        with pytest.raises(OSError, match=said):
            write(tmp_path / name)
    assert sorted(tmp_path.iterdir()) == before
    assert Path("/dev/null").is_char_device()


def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path):
    process = writer(tmp_path / "m.txt")
    process.send_signal(signal.SIGKILL)
    ended(process)
    (left,) = tmp_path.glob(HIDDEN)
    assert (left / "m.txt").read_text() == "half"
    write(tmp_path / "other.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["other.txt"]


def test_what_another_process_is_writing_stays(tmp_path):
    process = writer(tmp_path / "m.txt")
    write(tmp_path / "other.txt")
    write(tmp_path / "m.txt", "first")
    assert len(list(tmp_path.glob(HIDDEN))) == 1
    process.stdin.write("\n")
    process.stdin.flush()
    assert ended(process) == 0
    assert (tmp_path / "m.txt").read_text() == "whole"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.txt", "other.txt"]


def test_what_the_same_process_is_writing_stays(tmp_path):
    with replacing(tmp_path / "a.txt") as outer:
        outer.write_text("outer")
        write(tmp_path / "b.txt")
    assert (tmp_path / "a.txt").read_text() == "outer"


def test_nothing_else_is_removed(tmp_path):
    (tmp_path / ".anabranch-notes").write_text("a file of the user's")
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "kept").write_text("")
    (tmp_path / ".anabranch-link").symlink_to("away")
    (tmp_path / ".m.txt.abcdefgh.txt").write_text("not ours")
    write(tmp_path / "m.txt")
    names = {".anabranch-notes", "away", ".anabranch-link", ".m.txt.abcdefgh.txt", "m.txt"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert (tmp_path / "away" / "kept").exists()


def test_where_nothing_can_be_locked_files_are_written_and_nothing_is_removed(tmp_path, monkeypatch):
    (tmp_path / ".anabranch-left").mkdir()

    def unsupported(*arguments):
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr("fcntl.flock", unsupported)
    write(tmp_path / "m.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".anabranch-left", "m.txt"]


def test_a_name_as_long_as_names_may_be(tmp_path):
    write(tmp_path / ("n" * 255))
    assert [len(path.name) for path in tmp_path.iterdir()] == [255]


def test_an_error_names_the_file_that_was_asked_for(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, replacing(tmp_path / "m.txt"):
        pass  # nothing was written
    assert caught.value.filename == str(tmp_path / "m.txt")
    assert not list(tmp_path.iterdir())


class TestFolders:
    def test_a_folder_appears_whole(self, tmp_path):
        with replacing_folder(tmp_path / "f") as temporary:
            (temporary / "one").write_text("1")
            assert not (tmp_path / "f").exists()
        assert [path.name for path in tmp_path.iterdir()] == ["f"]
        assert (tmp_path / "f" / "one").read_text() == "1"

    def test_or_not_at_all(self, tmp_path):
        (tmp_path / "empty").mkdir()
        for name in ("new", "empty"):
            with pytest.raises(KeyboardInterrupt), replacing_folder(tmp_path / name) as temporary:
                (temporary / "one").write_text("1")
                raise KeyboardInterrupt
        assert [path.name for path in tmp_path.rglob("*")] == ["empty"]

    def test_an_empty_one_is_filled_and_any_other_refused(self, tmp_path):
        (tmp_path / "f").mkdir()
        with replacing_folder(tmp_path / "f") as temporary:
            (temporary / "one").write_text("1")
        for path, error in (
            (tmp_path / "f", ValueError),
            (tmp_path / "f" / "one", ValueError),
            (tmp_path / "no" / "f", OSError),
        ):
            with pytest.raises(error), replacing_folder(path):
                pass  # nothing was made
        assert [path.name for path in tmp_path.rglob("*")] == ["f", "one"]

    def test_what_is_put_there_meanwhile_stays(self, tmp_path):
        with pytest.raises(OSError), replacing_folder(tmp_path / "f") as temporary:
            (temporary / "one").write_text("1")
            (tmp_path / "f").mkdir()
            (tmp_path / "f" / "other").write_text("2")
        assert [path.name for path in tmp_path.rglob("*")] == ["f", "other"]

"""Checksums and writing whole files."""

import errno
import hashlib
import os

import pytest

from smoothswap_lib import files

# SHA-256 of "hello", from coreutils
HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A folder of shipped data with one listed file."""
    folder = tmp_path / "data"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "a file.txt").write_bytes(b"hello")
    files.write_checksums(folder)
    monkeypatch.setenv("SMOOTHSWAP_DATA", str(folder))
    return folder


def test_the_data_folder_is_beside_the_library_or_named(monkeypatch, tmp_path):
    monkeypatch.delenv("SMOOTHSWAP_DATA", raising=False)
    assert (files.data_folder() / "head_model.npz").exists()
    monkeypatch.setenv("SMOOTHSWAP_DATA", str(tmp_path))
    assert files.data_folder() == tmp_path


def test_checksums_are_those_of_sha256sum(shipped):
    assert (shipped / "SHA256SUMS").read_text(encoding="utf-8") == f"{HELLO}  inner/a file.txt\n"
    assert files.read_checksums(shipped) == {"inner/a file.txt": HELLO}
    assert files.read_checksums(shipped / "inner") == {}
    path = shipped / "inner" / "a file.txt"
    path.write_bytes(bytes(range(256)) * 9000)
    assert files.sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_caches_hidden_and_half_written_files_are_not_listed(shipped):
    for name in (".DS_Store", ".images.parquet.12.tmp", "__pycache__/x.pyc", ".hidden/y"):
        (shipped / name).parent.mkdir(exist_ok=True)
        (shipped / name).write_bytes(b"")
    (shipped / "b").write_bytes(b"")
    files.write_checksums(shipped)
    assert list(files.read_checksums(shipped)) == ["b", "inner/a file.txt"]


def test_an_unchanged_file_passes(shipped, monkeypatch):
    path = shipped / "inner" / "a file.txt"
    assert files.verify(path) == path
    monkeypatch.chdir(shipped)
    files.verify("inner/a file.txt")  # however it is named
    (shipped / "new").write_bytes(b"")
    files.verify(shipped / "new")  # what the list does not name cannot be checked


def test_a_changed_or_missing_file_is_named_with_its_hashes(shipped, monkeypatch):
    path = shipped / "inner" / "a file.txt"
    path.write_bytes(b"hallo")
    actual = hashlib.sha256(b"hallo").hexdigest()
    with pytest.raises(ValueError, match=f"a file.txt.*{actual}.*{HELLO}.*git checkout"):
        files.verify(path)
    monkeypatch.chdir(shipped)
    with pytest.raises(ValueError, match="damaged"):
        files.verify("inner/a file.txt")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"a file.txt.*{HELLO}.*git checkout"):
        files.verify(path)


def test_a_file_elsewhere_keeps_no_hash_of_a_namesake(shipped, tmp_path):
    (shipped / "images.parquet").write_bytes(b"ours")
    files.write_checksums(shipped)
    own = tmp_path / "images.parquet"
    own.write_bytes(b"theirs")
    assert files.verify(own) == own
    with pytest.raises(FileNotFoundError, match="check the path") as caught:
        files.verify(tmp_path / "inner" / "images.parquet")
    assert "git" not in str(caught.value)


def test_atomic_writes_whole_files_or_none(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with files.atomic(path) as temporary:
        temporary.write_text("first", encoding="utf-8")
        assert not path.exists()
        assert temporary.parent == path.parent  # a rename across disks is no rename
    assert path.read_text(encoding="utf-8") == "first"

    with pytest.raises(RuntimeError, match="stop"), files.atomic(path) as temporary:  # noqa: PT012
        temporary.write_text("sec", encoding="utf-8")
        raise RuntimeError("stop")
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]
    assert path.read_text(encoding="utf-8") == "first"


def refuse(number, filename):
    raise OSError(number, os.strerror(number), filename)


def test_what_cannot_be_written_is_named_and_what_cannot_be_read_keeps_its_name(tmp_path):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "below.txt"
    with pytest.raises(FileExistsError, match="below.txt cannot be written: "), files.atomic(path):
        pass
    path = tmp_path / "a.txt"
    with pytest.raises(OSError, match="a.txt cannot be written: No space left"), files.atomic(path):
        refuse(errno.ENOSPC, None)
    with pytest.raises(PermissionError, match="a.txt cannot be written: "), files.atomic(path) as temporary:
        refuse(errno.EACCES, str(temporary))
    with pytest.raises(FileNotFoundError, match="input.txt"), files.atomic(path):
        (tmp_path / "input.txt").read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_rename_that_is_refused_once_is_tried_again(tmp_path, monkeypatch):
    kept, calls = os.replace, []

    def refuse_once(source, target):
        calls.append(target)
        if len(calls) == 1:
            raise PermissionError("a virus scanner reads it")
        kept(source, target)

    monkeypatch.setattr(os, "replace", refuse_once)
    with files.atomic(tmp_path / "a.txt") as path:
        path.write_text("whole")
    assert (tmp_path / "a.txt").read_text() == "whole" and len(calls) == 2

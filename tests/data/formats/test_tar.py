"""Only regular files come out of a tar, whatever else is in it; one that is cut off gives what it still has."""

import io
import os
import tarfile

import pytest

from mm1.data.formats import tar
from mm1.data.formats.streams import Damaged
from mm1.data.formats.tar import members


def every(name):
    return True


def gather(path, wanted=every):
    """(members, reason of the end)"""
    found = []
    try:
        for member in members(path, wanted):
            found.append((member.name, member.data))
    except Damaged as error:
        return found, error.reason
    return found, None


@pytest.mark.parametrize("layout", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_those_of_the_standard_library(tmp_path, layout):
    path = tmp_path / "a.tar"
    names = ["a.txt", "deep/" * 20 + "b.txt"]
    if layout != tarfile.USTAR_FORMAT:
        names += ["long/" * 60 + "c.jpg", "ü/" + "x" * 120]
    contents = [(name, os.urandom(n * 400)) for n, name in enumerate(names)]
    with tarfile.open(path, "w", format=layout, pax_headers={"comment": "global"}) as archive:
        for name, data in contents:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1.5
            archive.addfile(info, io.BytesIO(data))
    assert gather(path) == (contents, None)
    assert gather(path, lambda name: name == "a.txt")[0] == contents[:1]


def test_an_extended_header_may_tell_the_size(tmp_path):
    path = tmp_path / "a.tar"
    extended, big = tarfile.TarInfo("x"), tarfile.TarInfo("big")  # whose own header says 0 bytes
    extended.type, extended.size = tarfile.XHDTYPE, len(b"12 size=700\n")
    parts = [extended.tobuf(), b"12 size=700\n".ljust(512, b"\0"), big.tobuf(), (b"x" * 700).ljust(1024, b"\0")]
    path.write_bytes(b"".join([*parts, tarfile.TarInfo("next").tobuf(), bytes(1024)]))
    assert gather(path) == ([("big", b"x" * 700), ("next", b"")], None)


def test_links_devices_folders_and_pipes_are_walked_over(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            info = tarfile.TarInfo(f"special{kind.decode()}.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        info = tarfile.TarInfo("real.jpg")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    assert gather(path) == ([("real.jpg", b"abc")], None)


def test_wherever_a_tar_is_cut_what_is_whole_comes_out_and_the_cut_is_told(tmp_path, write):
    contents = [("a", b"1" * 600), ("b", b"2" * 100)]
    whole = write.tar(tmp_path / "whole.tar", contents).read_bytes()
    end = 512 + 1024 + 512 + 512  # both members with their headers
    path = tmp_path / "cut.tar"
    for cut in [0, 100, 512, 1000, 1535, 1536, 2000, 2100, end - 1, end, end + 511]:
        path.write_bytes(whole[:cut])
        found, reason = gather(path)
        assert found == contents[: (cut >= 1536) + (cut >= end)]
        assert reason == "truncated"
    path.write_bytes(whole[: end + 512])
    assert gather(path) == (contents, None)


def test_a_damaged_header_ends_the_reading(tmp_path, write):
    path = write.tar(tmp_path / "a.tar", [("a", b"1"), ("b", b"2")])
    data = bytearray(path.read_bytes())
    data[1024 + 3] ^= 1
    path.write_bytes(data)
    assert gather(path) == ([("a", b"1")], "damaged")


def test_what_is_too_large_is_not_held_in_memory(tmp_path, write, monkeypatch):
    monkeypatch.setattr(tar, "MAX_IMAGE_BYTES", 1000)
    path = write.tar(tmp_path / "a.tar", [("a", b"1" * 1001), ("b", b"2" * 1000)])
    assert gather(path) == ([("a", None), ("b", b"2" * 1000)], None)


def test_an_endless_extended_header_is_refused(tmp_path):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 1 << 40
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + b"0" * 4096)
    assert gather(tmp_path / "a.tar") == ([], "damaged")
    for record in (b"99 path=a\n", b"x path=a\n", b"3 path=a\n", b"12 size=-100\n", b"0" * 600):
        info.size = len(record)
        (tmp_path / "a.tar").write_bytes(info.tobuf() + record.ljust(1024, b"\0"))
        assert gather(tmp_path / "a.tar") == ([], "damaged")

"""What a tar holds, header by header (ustar, GNU and pax), read by offset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from diptych.errors import DataError

_BLOCK = 512
_LONGEST_END = 65_536  # zeros; more is the hole of a download that was not finished
_LARGEST_RECORD = 1 << 26  # to a power of two some tars are filled up (tar -b 512, -b 2048)
_LINK = b"1"
_WITHOUT_BYTES = b"123456"  # links, devices and folders, whatever their header says


class Unmarked(DataError):
    """A tar whose end no block of zeros marks: it may have been cut off between two members."""


@dataclass(frozen=True)
class Member:
    """A regular file in a tar, or a hard link to one: ``link`` then names the other, and there are no bytes."""

    name: str
    begin: int  # of its first header
    start: int  # of its bytes
    size: int
    link: str

    @property
    def end(self) -> int:
        """Where the next member may begin."""
        return _padded(self.start + self.size)


def members(read: Callable[[int, int], bytes], length: int, *, whole: bool = False) -> Iterator[Member]:
    """The files of a tar of so many bytes. Raises DataError where it stops making sense.

    ``read``: the bytes at an offset, so many of them. ``whole``: whether this is a whole tar, not a part of one; then
    Unmarked is raised after the last member where nothing says that it was the last.
    """
    offset, begin, long_name, long_link, long_size = 0, 0, "", "", -1
    while offset + _BLOCK <= length:
        header = read(offset, _BLOCK)
        if not header.strip(b"\0"):
            _check_end(read, offset, length)
            return
        try:
            size, kind = _number(header[124:136]), header[156:157]
            if header[257:262] != b"ustar":
                raise ValueError("no header")
        except ValueError as error:
            raise DataError(f"no valid header at byte {offset:,}") from error
        start = offset + _BLOCK
        if kind in b"0\0" and long_size >= 0:
            size = long_size
        if kind in _WITHOUT_BYTES:
            size = 0
        if size < 0 or start + size > length:
            raise DataError(f"the file ends at byte {length:,}, inside a member")
        offset = _padded(start + size)
        if kind == b"L":
            long_name = _text(read(start, size))
        elif kind == b"K":
            long_link = _text(read(start, size))
        elif kind == b"x":
            try:
                records = _pax(read(start, size))
                long_name = _text(records.get(b"path", long_name.encode()))
                long_link = _text(records.get(b"linkpath", long_link.encode()))
                long_size = int(records.get(b"size", b"-1"))
            except ValueError as error:
                raise DataError(f"no valid extended header at byte {start:,}") from error
        elif kind in b"0\0" + _LINK:
            name = long_name or _header_name(header)
            link = (long_link or _text(header[157:257])) if kind == _LINK else ""
            if not name.rpartition("/")[2].startswith("."):  # what macOS adds
                yield Member(name, begin, start, size, link)
        if kind not in b"LKx":
            begin, long_name, long_link, long_size = offset, "", "", -1
    if length % _BLOCK or not length:
        raise DataError(f"the file ends at byte {length:,}, inside a header")
    if whole:
        raise Unmarked(f"nothing marks its end at byte {length:,}")


def _check_end(read: Callable[[int, int], bytes], offset: int, length: int) -> None:
    """Raise DataError unless nothing but zeros follows an end, and no more of them than fill up a record."""
    record = min(length & -length, _LARGEST_RECORD)  # the largest power of two that divides the length
    said = f"{length - offset:,} bytes follow the end of the archive at byte {offset:,}"
    if length - offset > max(_LONGEST_END, record + 2 * _BLOCK):
        raise DataError(f"{said}; if it ought to end there, 'truncate -s {offset + 2 * _BLOCK}' of it takes them away")
    if read(offset, length - offset).strip(b"\0"):
        raise DataError(f"{said}, and are no zeros")


def _header_name(header: bytes) -> str:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return _text(prefix + b"/" + name if prefix else name)


def _number(field: bytes) -> int:
    if field[0] & 0x80:  # too large for octal digits
        return int.from_bytes(field[1:], "big")
    return int(field.strip(b" \0") or b"0", 8)


def _pax(data: bytes) -> dict[bytes, bytes]:
    records = {}
    while data:
        length = int(data.partition(b" ")[0])
        if length < 1:
            raise ValueError("a record of no length")
        key, _, value = data[:length].partition(b" ")[2].rstrip(b"\n").partition(b"=")
        records[key] = value
        data = data[length:]
    return records


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "replace")


def _padded(offset: int) -> int:
    return -(-offset // _BLOCK) * _BLOCK

"""Small WARC files, as crawlers write them."""

import gzip

import pyarrow as pa
import pytest


class Warc:
    """Builds records; a fixture, because test modules can not import each other."""

    @staticmethod
    def record(block, kind="response", url="https://a.example/", content_type="application/http; msgtype=response"):
        head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nContent-Type: {content_type}\r\n"
        return f"{head}Content-Length: {len(block)}\r\n\r\n".encode() + block + b"\r\n\r\n"

    @classmethod
    def http(cls, body, *headers, status="200 OK", content_type="text/html", url="https://a.example/"):
        lines = [f"HTTP/1.1 {status}", *([f"Content-Type: {content_type}"] if content_type else []), *headers]
        return cls.record("\r\n".join([*lines, "", ""]).encode() + body, url=url)

    @staticmethod
    def packed(records, how):
        """The bytes of a file, and the places in it at which a cut loses no record in its middle."""
        if how == "gzip_whole":
            data = gzip.compress(b"".join(records), mtime=0)
            return data, [0, len(data)]
        pack = {
            "plain": bytes,
            "gzip": lambda record: gzip.compress(record, mtime=0),
            "zstd": lambda record: pa.Codec("zstd").compress(record, asbytes=True),
            "lz4": lambda record: pa.Codec("lz4").compress(record, asbytes=True),
        }[how]
        parts, ends = [pack(record) for record in records], [0]
        for part in parts:
            ends.append(ends[-1] + len(part))
        return b"".join(parts), ends


@pytest.fixture(scope="session")
def warc():
    return Warc

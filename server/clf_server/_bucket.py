"""A bucket of an S3-compatible store, by its URL."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from pyarrow import fs

_CONNECT_SECONDS, _REQUEST_SECONDS, _ATTEMPTS = 5, 30, 3
_OPTIONS = {"endpoint", "region"}


@dataclass(frozen=True)
class Bucket:
    """Where objects lie in an S3-compatible store. It holds no credentials.

    Attributes
    ----------
    path
        Bucket and prefix.
    endpoint
        URL of the store; None for Amazon's.
    region
        Region; None where the environment or the store says it.
    """

    path: str
    endpoint: str | None
    region: str | None

    @classmethod
    def parse(cls, url: str) -> Bucket:
        """Read ``s3://bucket/prefix?endpoint=https://host:port&region=name``.

        Raises
        ------
        ValueError
            It is no such URL.
        """
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
        if (
            parts.scheme != "s3"
            or not parts.hostname
            or "@" in parts.netloc  # credentials belong into the environment
            or set(options) - _OPTIONS
        ):
            raise ValueError
        endpoint = options.get("endpoint")
        if endpoint is not None:
            where = urlsplit(endpoint)
            if where.scheme not in ("http", "https") or not where.hostname or where.path:
                raise ValueError
        path = f"{parts.netloc}/{parts.path.strip('/')}".rstrip("/")
        return cls(path, endpoint, options.get("region"))

    def open(self) -> fs.FileSystem:
        """Return the file system; credentials come from the environment or AWS's own files."""
        options: dict[str, str] = {}
        if self.endpoint is not None:
            where = urlsplit(self.endpoint)
            options |= {"scheme": where.scheme, "endpoint_override": where.netloc}
        if self.region is not None:
            options["region"] = self.region
        store = fs.S3FileSystem(
            connect_timeout=_CONNECT_SECONDS,
            request_timeout=_REQUEST_SECONDS,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
            **options,
        )
        return fs.SubTreeFileSystem(self.path, store)

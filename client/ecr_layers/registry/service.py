"""A service for one caller: its API, and the connections to S3."""

import io

from ecr_layers.oci.references import Repository, checked_digest
from ecr_layers.registry.api import Api
from ecr_layers.registry.images import Images
from ecr_layers.registry.layers import Layers
from ecr_layers.registry.referrers import Referrers
from ecr_layers.registry.signing import Authorize
from ecr_layers.transfer.blobs import TransferSettings
from ecr_layers.transfer.downloads import Downloads
from ecr_layers.transfer.layer_file import LayerFile
from ecr_layers.transfer.rates import RateLimit
from ecr_layers.transfer.retries import Retries
from ecr_layers.transfer.source import BlobSource, DownloadUrls
from ecr_layers.transfer.transport import Transport

_BUFFER = 256 * 1024


class Service:
    """A service for one caller. May be used from several threads.

    Args:
        url: Its URL, without a slash at its end.
        authorize: Proves who the caller is; None sends no credentials.
        retries: How long to go on trying.
        transfers: How blobs are downloaded.
        user_agent: The User-Agent header.

    Attributes:
        url: Its URL.
        transfers: How blobs are downloaded.
        layers: Resolves layers.
        images: Reads manifests and configs.
        referrers: Lists referrers.
    """

    def __init__(
        self, url: str, authorize: Authorize | None, retries: Retries, transfers: TransferSettings, user_agent: str
    ) -> None:
        self.url = url
        self.transfers = transfers
        self._retries = retries
        self._transport = Transport(transfers.connections, user_agent=user_agent)
        # A local service has no certificate, and neither has its S3.
        limit = RateLimit(transfers.limit_rate) if transfers.limit_rate else None
        self._downloads = Downloads(self._transport, allows_http=url.startswith("http://"), limit=limit)
        api = Api(url, authorize, self._transport, retries)
        self.layers = Layers(api, retries)
        self.images = Images(api, self.layers, self._downloads, retries, self._transport.clock)
        self.referrers = Referrers(api, self.images)

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    @property
    def host(self) -> str:
        """Its host, with the port if the URL has one."""
        return self.url.partition("://")[2]

    def urls(self, repository: Repository) -> DownloadUrls:
        """Return the download URLs of a repository's layers, which are resolved when they are needed."""
        return DownloadUrls(lambda digests: self.layers.resolve(repository, digests), self._transport.clock)

    def source(self, digest: str, urls: DownloadUrls) -> BlobSource:
        """Return the bytes of a blob."""
        return BlobSource(digest, urls, self._downloads, self._retries)

    def open_layer(
        self, repository: Repository, digest: str, size: int | None = None, *, is_read_whole: bool = False
    ) -> io.BufferedReader:
        """Open a layer or config as a file; see `Client.open_layer` and `LayerFile`.

        Raises:
            ServiceError: If the service refuses its download URL.
            TransferError: If its size is unknown and S3 doesn't say it.
        """
        urls = self.urls(repository)
        source = self.source(checked_digest(digest), urls)
        urls.get(digest)
        file = LayerFile(source, size, self.transfers.connections, is_read_whole=is_read_whole)
        return io.BufferedReader(file, _BUFFER)

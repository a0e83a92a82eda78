"""Mirrors the tags of a repository into a layout."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from ecr_layers.errors import ServiceError
from ecr_layers.oci.manifests import Manifest
from ecr_layers.oci.references import ImageReference, Repository
from ecr_layers.registry.service import Service
from ecr_layers.saving.images import LayoutSaver
from ecr_layers.saving.options import Saved, SaveOptions, callbacks_apart
from ecr_layers.saving.plans import Planner, WantedImage
from ecr_layers.store.layout import ImageName
from ecr_layers.store.target import locked, target_errors


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What a mirror did.

    Attributes:
        saved: The new and changed images.
        unchanged: The tags whose images the layout had.
        removed: The tags that were removed from the layout's index.
    """

    saved: tuple[Saved, ...]
    unchanged: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mirror:
    """A mirror of a repository.

    Attributes:
        service: The service.
        repository: The repository.
        patterns: Which tags are mirrored, such as `1.*`.
        removes: Whether tags that the repository doesn't have anymore are removed from the layout's index.
        options: The options.
    """

    service: Service
    repository: Repository
    patterns: Sequence[str]
    removes: bool
    options: SaveOptions

    def run(self, directory: Path) -> Mirrored:
        """Bring a layout up to date. Each image is complete before the next begins.

        Raises:
            ClientError: If the tags can't be listed, or an image can't be saved.
        """
        tags = [tag for tag in self.service.images.tags(self.repository) if self._matches(tag)]
        with (
            callbacks_apart(self.options) as options,
            target_errors(directory),
            locked(directory, options["on_wait"]),
        ):
            saver = LayoutSaver(self.service, directory, options)
            results = {tag: self._save(saver, tag, root) for tag in tags if (root := self._root(tag)) is not None}
            removed = self._remove(saver, results.keys()) if self.removes else ()
            saver.index.write(directory)
        saved = tuple(each for each in results.values() if each is not None)
        return Mirrored(saved, tuple(tag for tag, each in results.items() if each is None), removed)

    def _root(self, tag: str) -> Manifest | None:
        """Return what a tag stands for; None if it was deleted since it was listed."""
        try:
            return self.service.images.read_manifest(ImageReference(self.repository, tag))
        except ServiceError as error:
            if error.code != "ImageNotFoundException":
                raise
            return None

    def _save(self, saver: LayoutSaver, tag: str, root: Manifest) -> Saved | None:
        """Save an image; return None if the layout has it."""
        name = ImageName.of_tag(self.service.host, self.repository, tag)
        found, with_referrers = saver.index.find(name.full), self.options.get("referrers", False)
        if found == root.digest and not with_referrers:
            return None
        plan = Planner(self.service, with_referrers, {}).plan(WantedImage(self.repository, root, name))
        # Docker's manifests are others in a layout.
        listed = {entry.get("digest") for entry in saver.index.entries}
        if found == plan.root.digest and all(each.descriptor.digest in listed for each in plan.referrers):
            return None
        (saved,) = saver.save([plan])
        return saved

    def _remove(self, saver: LayoutSaver, tags: Collection[str]) -> tuple[str, ...]:
        names = filter(None, map(ImageName.of, saver.index.entries))
        gone = [
            name.tag
            for name in names
            if name == ImageName.of_tag(self.service.host, self.repository, name.tag)
            and self._matches(name.tag)
            and name.tag not in tags
        ]
        for tag in gone:
            saver.index.remove(ImageName.of_tag(self.service.host, self.repository, tag).full)
        return tuple(gone)

    def _matches(self, tag: str) -> bool:
        return any(fnmatchcase(tag, pattern) for pattern in self.patterns)

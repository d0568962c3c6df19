"""Memory that the limits of a container leave: those of its control group and of all groups around it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")

V2 = ("memory.max", "memory.current", ("inactive_file", "active_file"))
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))
"""Names of a group's limit and usage, and of what of its usage is cached files, which the kernel lets go when asked."""


def bytes_left(mount: Path = MOUNT, own: Path = OWN) -> int | None:
    """Bytes that this process can still take within the limits of its control groups; None where there is no limit.

    Args:
        mount: where the control groups are mounted.
        own: the file that names this process's groups, a line "number:controllers:/path" each; version 2 has one line,
            without controllers.
    """
    left = [found for group, names in _groups(mount, own) if (found := _left(group, *names)) is not None]
    return min(left, default=None)


def _groups(mount: Path, own: Path) -> Iterator[tuple[Path, tuple[str, str, tuple[str, ...]]]]:
    """The folders of this process's groups and of those around them.

    In a container the mount is often the group itself, while the path is that on its host: then there is no such folder
    below, and the mount alone counts.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top, names = (mount / "memory", V1) if controllers else (mount, V2)
        group = top / path.lstrip("/")
        while top in group.parents:
            yield group, names
            group = group.parent
        yield top, names


def _left(group: Path, limit: str, usage: str, cached: tuple[str, ...]) -> int | None:
    try:
        most = (group / limit).read_text().strip()
        if most == "max":
            return None
        statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        reclaimable = sum(int(statistics.get(name, 0)) for name in cached)
        return max(0, int(most) - max(0, int((group / usage).read_text()) - reclaimable))
    except (OSError, ValueError):  # no such group, or one without a memory controller
        return None

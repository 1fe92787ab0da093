"""How many CPUs this process may use: its affinity, and the quota of its control group."""

from __future__ import annotations

import math
import os
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def usable_cpus(root: Path = _ROOT, membership: Path = _MEMBERSHIP) -> int:
    """The default concurrency, at least 1. A quota of 1.5 CPUs counts as 2."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_quota(root, membership)
    return max(1, allowed if quota is None else min(allowed, math.ceil(quota)))


def cgroup_quota(root: Path = _ROOT, membership: Path = _MEMBERSHIP) -> float | None:
    """The smallest CPU quota, in CPUs, of this process's control group and those above it; None without one."""
    quotas = [
        quota
        for controllers, path in _groups(membership)
        for directory in _upwards(_mount(root, controllers), path)
        if (quota := (_quota_v2(directory) if not controllers else _quota_v1(directory))) is not None
    ]
    return min(quotas, default=None)


def _groups(membership: Path) -> list[tuple[str, str]]:
    """Pairs of controllers (empty: version 2) and path that may limit CPU time."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return []
    groups = [line.split(":", 2)[1:] for line in lines if line.count(":") >= 2]
    return [(controllers, path) for controllers, path in groups if not controllers or "cpu" in controllers.split(",")]


def _mount(root: Path, controllers: str) -> Path:
    if not controllers:
        unified = root / "unified"
        return unified if unified.is_dir() else root
    return next((root / name for name in (controllers, "cpu") if (root / name).is_dir()), root / controllers)


def _upwards(mount: Path, path: str) -> list[Path]:
    """The group's directory and its parents up to the mount; in a container the path may not be visible."""
    directory = mount / path.strip("/")
    found = [directory]
    while directory != mount and mount in directory.parents:
        directory = directory.parent
        found.append(directory)
    return found


def _quota_v2(directory: Path) -> float | None:
    try:
        quota, period = (directory / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_v1(directory: Path) -> float | None:
    try:
        quota = int((directory / "cpu.cfs_quota_us").read_text())
        period = int((directory / "cpu.cfs_period_us").read_text())
        return None if quota <= 0 else quota / period
    except (OSError, ValueError, ZeroDivisionError):
        return None

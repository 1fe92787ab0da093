"""The default concurrency follows affinity and control groups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from umbel.pools.cpu_count import cgroup_quota, usable_cpus


def membership(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "membership"
    path.write_text(text)
    return path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_version_2_takes_the_smallest_quota_on_the_way_up(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    write(root / "a" / "cpu.max", "150000 100000\n")
    write(root / "a" / "b" / "cpu.max", "max 100000\n")
    assert cgroup_quota(root, membership(tmp_path, "0::/a/b\n")) == 1.5


def test_version_1(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    write(root / "cpu,cpuacct" / "docker" / "cpu.cfs_quota_us", "50000\n")
    write(root / "cpu,cpuacct" / "docker" / "cpu.cfs_period_us", "100000\n")
    write(root / "cpu,cpuacct" / "cpu.cfs_quota_us", "-1\n")
    write(root / "cpu,cpuacct" / "cpu.cfs_period_us", "100000\n")
    assert cgroup_quota(root, membership(tmp_path, "5:memory:/x\n4:cpu,cpuacct:/docker\n")) == 0.5


@pytest.mark.parametrize("text", ["", "nonsense", "0::/gone\n"])
def test_no_quota(tmp_path: Path, text: str) -> None:
    assert cgroup_quota(tmp_path / "cgroup", membership(tmp_path, text)) is None


def test_a_quota_of_a_container_that_sees_only_its_own_root(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    write(root / "cpu.max", "100000 100000\n")
    assert cgroup_quota(root, membership(tmp_path, "0::/not/visible/here\n")) == 1.0


def test_at_least_one_and_not_more_than_affinity(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    none = membership(tmp_path, "0::/\n")
    write(root / "cpu.max", "1000 100000\n")
    assert usable_cpus(root, none) == 1
    write(root / "cpu.max", "99900000 100000\n")
    assert usable_cpus(root, none) == len(os.sched_getaffinity(0))

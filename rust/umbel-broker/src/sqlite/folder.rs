//! Is responsible for refusing places where a queue in a SQLite file cannot work.

use std::path::Path;

use super::location::Location;
use crate::error::{BrokerError, Result};

/// File systems on which locks or shared memory do not reach other machines, by `statfs` number.
#[cfg(target_os = "linux")]
const NETWORK: [(u32, &str); 11] = [
    (0x0000_6969, "NFS"),
    (0x0000_517B, "SMB"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB"),
    (0x0000_564C, "NCP"),
    (0x5346_414F, "AFS"),
    (0x6B41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x00C3_6400, "Ceph"),
    (0x0BD0_0BD0, "Lustre"),
    (0x4750_4653, "GPFS"),
];

/// What `statfs` says of everything that goes through FUSE; the mount table has the real type.
#[cfg(target_os = "linux")]
const FUSE: u32 = 0x6573_5546;

/// FUSE types that keep their files elsewhere.
#[cfg(target_os = "linux")]
const NETWORK_FUSE: [&str; 10] =
    ["sshfs", "s3fs", "gcsfuse", "glusterfs", "rclone", "goofys", "mount-s3", "cephfs", "juicefs", "davfs"];

/// Checks that the folder is there and local.
///
/// # Errors
/// [`BrokerError::Config`] when it is not.
pub(super) fn check(location: &Location) -> Result<()> {
    let folder = location.path.parent().unwrap_or(Path::new("/"));
    let refuse = |detail: String| Err(BrokerError::Config { setting: location.display_url(), detail });
    match std::fs::metadata(folder) {
        Err(error) => return refuse(format!("folder {} cannot be used: {error}; create it", folder.display())),
        Ok(found) if !found.is_dir() => return refuse(format!("{} is not a folder", folder.display())),
        Ok(_) => {}
    }
    if location.path.is_dir() {
        return refuse("this is a folder; name a file in it".to_owned());
    }
    match network_type(folder) {
        Some(kind) if !location.allow_network => refuse(format!(
            "{} is on a network file system ({kind}), where SQLite's locks and shared memory do not work between \
             machines and messages would be lost; use a local disk, or a broker made for many machines (redis://). \
             If only this machine uses it: ?network_filesystem=allow",
            folder.display()
        )),
        _ => Ok(()),
    }
}

#[cfg(target_os = "linux")]
fn network_type(folder: &Path) -> Option<String> {
    let number = rustix::fs::statfs(folder).ok()?.f_type as u32;
    if number == FUSE {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let kind = mount_type(&mounts, &folder.canonicalize().ok()?)?;
        let name = kind.strip_prefix("fuse.").unwrap_or(&kind);
        return NETWORK_FUSE.contains(&name).then_some(kind);
    }
    NETWORK.iter().find(|(magic, _)| *magic == number).map(|(_, name)| (*name).to_owned())
}

#[cfg(not(target_os = "linux"))]
fn network_type(_folder: &Path) -> Option<String> {
    None
}

/// Type of the mount that `folder` is on, from the text of `/proc/self/mountinfo`.
#[cfg(target_os = "linux")]
fn mount_type(mounts: &str, folder: &Path) -> Option<String> {
    let mut best: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let Some(point) = left.split(' ').nth(4) else { continue };
        let point = point.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\");
        // Later mounts cover earlier ones at the same place.
        if folder.starts_with(&point) && best.is_none_or(|(length, _)| point.len() >= length) {
            best = right.split(' ').next().map(|kind| (point.len(), kind));
        }
    }
    best.map(|(_, kind)| kind.to_owned())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_counts() {
        let mounts = "22 1 254:0 / / rw - ext4 /dev/vda rw\n\
                      30 22 0:40 / /mnt/a rw - fuse.sshfs me@host:/ rw\n\
                      31 30 0:41 / /mnt/a/b\\040c rw - fuse.ntfs-3g /dev/sdb rw\n\
                      broken line";
        let kind = |folder: &str| mount_type(mounts, Path::new(folder));
        assert_eq!(kind("/home").as_deref(), Some("ext4"));
        assert_eq!(kind("/mnt/a/x").as_deref(), Some("fuse.sshfs"));
        assert_eq!(kind("/mnt/ab").as_deref(), Some("ext4"));
        assert_eq!(kind("/mnt/a/b c/d").as_deref(), Some("fuse.ntfs-3g"));
    }

    #[test]
    fn local_folders_pass_and_missing_ones_are_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let check_path = |path: &Path| {
            let url = format!("sqlite:///{}", path.display());
            check(&Location::parse(&url, &Default::default(), "broker_url").expect("parse"))
        };
        assert_eq!(check_path(&folder.path().join("q.db")), Ok(()));
        let missing = check_path(&folder.path().join("none/q.db")).expect_err("missing").to_string();
        assert!(missing.contains("none") && missing.contains("create it"), "{missing}");
        let itself = check_path(folder.path()).expect_err("a folder").to_string();
        assert!(itself.contains("name a file in it"), "{itself}");
    }
}

//! Which file system a folder lies on, as far as it matters: whether others can change it without this machine noticing.

use std::{io, path::Path};

/// File systems whose changes by other machines come without an event here, by the number that the kernel gives them.
#[cfg(target_os = "linux")]
const SHARED: [(u32, &str); 14] = [
    (0x0000_6969, "NFS"),
    (0x0000_517b, "SMB"),
    (0xff53_4d42, "SMB"),
    (0xfe53_4d42, "SMB"),
    (0x6573_5546, "FUSE"),
    (0x0102_1997, "9P"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x0000_564c, "NCP"),
    (0x0116_1970, "GFS2"),
    (0x7461_636f, "OCFS2"),
    (0x786f_4256, "VirtualBox"),
];

/// The kind of shared file system that a folder lies on; `None` for one of this machine's own.
#[cfg(target_os = "linux")]
pub fn shared(folder: &Path) -> io::Result<Option<&'static str>> {
    // The kernel's number has 32 bits; the type that holds it differs from machine to machine, sign included.
    let kind = i128::from(rustix::fs::statfs(folder)?.f_type) & i128::from(u32::MAX);
    Ok(SHARED.iter().find(|(number, _)| i128::from(*number) == kind).map(|(_, name)| *name))
}

/// Elsewhere the folder's own test has to decide.
#[cfg(not(target_os = "linux"))]
pub fn shared(folder: &Path) -> io::Result<Option<&'static str>> {
    folder.metadata().map(|_| None)
}

//! Lua scripts, one file each under `scripts/`.

/// A script: its source, and the place of its digest in every connection's table.
///
/// A connection loads a script when it first runs it and uses the digest from then on; a server that forgot it
/// (`SCRIPT FLUSH`, a restart, a failover) is given it again.
#[derive(Debug, PartialEq, Eq)]
pub struct Script {
    /// File name without `.lua`, for error texts.
    pub name: &'static str,
    /// What the server runs.
    pub source: &'static str,
}

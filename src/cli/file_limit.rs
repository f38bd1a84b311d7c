//! How many files the gateway may have open: each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the gateway has open beside its connections, generously.
const OTHERS: u64 = 128;

/// Allows as many open files as the system lets it, and warns if that is too few for `connections`. The usual soft limit
/// of 1,024 is for programs that use select(2), which this is not.
pub(super) fn raise(connections: u64) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let allowed = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::debug!(%error, "cannot raise the limit of open files");
            limit.current
        }
    };
    if let Some(allowed) = allowed.filter(|allowed| *allowed < connections + OTHERS) {
        tracing::warn!(
            "{allowed} files may be open (ulimit -n), which is too few for {connections} connections \
             (gateway.max_connections): some will have to wait"
        );
    }
}

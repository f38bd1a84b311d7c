//! What one client may take of the connection layer.

use std::time::Duration;

/// The smallest head buffer hyper works with.
const MIN_HEAD_BYTES: usize = 8192;

/// Bounds on connections. Time inside a request (the body, the answer) is bounded elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at a time; one more is answered with 503 and closed.
    pub max_connections: usize,
    /// Time for a complete request head: from the connection's start, later from the head's first byte.
    pub header_timeout: Duration,
    /// Time from an answer to the first byte of the next head. Also the time a client has to take the answer.
    pub idle_timeout: Duration,
    /// Time a client that was answered early may go on sending before the socket is closed.
    pub linger_timeout: Duration,
    /// Bytes such a client may send in that time. They are read and thrown away.
    pub linger_max_bytes: usize,
    /// Size of a request head, in bytes; a larger one is answered with 431. Below 8,192 it counts as that.
    pub max_head_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(1),
            linger_timeout: Duration::from_secs(2),
            linger_max_bytes: 4 * 1024 * 1024,
            max_head_bytes: 128 * 1024,
        }
    }
}

impl Limits {
    /// `max_head_bytes` as hyper takes it: it panics on less than its own minimum.
    pub(super) fn head_buffer_bytes(&self) -> usize {
        self.max_head_bytes.max(MIN_HEAD_BYTES)
    }
}

//! What one client may take of the connection layer.

use std::time::Duration;

/// The smallest head buffer hyper works with.
const MIN_HEAD_BYTES: usize = 8192;

/// How many headers hyper reads unless it is told otherwise.
pub(super) const HYPERS_MAX_HEADERS: usize = 100;

/// Bounds on connections. Time inside a request (the body, the answer) is bounded elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at a time; one more is answered with 503 and closed.
    pub max_connections: usize,
    /// Those from one address, a proxy's excepted; one more is answered with 429 and closed.
    pub max_connections_per_address: usize,
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
    /// Header lines of a request; one with more is answered with 431.
    pub max_headers: usize,
    /// Requests at a time on a connection of HTTP/2, which a client begins by prior knowledge; `None` speaks HTTP/1.1
    /// alone.
    pub http2_max_streams: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            max_connections_per_address: 1024,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(1),
            linger_timeout: Duration::from_secs(2),
            linger_max_bytes: 4 * 1024 * 1024,
            max_head_bytes: 128 * 1024,
            max_headers: HYPERS_MAX_HEADERS,
            http2_max_streams: None,
        }
    }
}

impl Limits {
    /// `max_head_bytes` as hyper takes it: it panics on less than its own minimum.
    pub(super) fn head_buffer_bytes(&self) -> usize {
        self.max_head_bytes.max(MIN_HEAD_BYTES)
    }
}

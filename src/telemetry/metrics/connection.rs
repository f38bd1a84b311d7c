//! Metrics of TCP connections.

use super::instrument::{Level, Meter, Total};

/// Open connections, and those that were turned away or cut.
pub struct ConnectionMetrics {
    open: Level,
    refused: Total,
    address_refused: Total,
    proxy_headers_refused: Total,
    heads_refused: Total,
    timed_out: Total,
    accept_errors: Total,
}

impl ConnectionMetrics {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            open: Level::gauge(meter, "connections_open", "Connections that are open now"),
            refused: Total::new(
                meter,
                "connections_refused_total",
                "Connections closed at once because as many were open as may be",
            ),
            address_refused: Total::new(
                meter,
                "connections_address_refused_total",
                "Connections closed at once because as many were open from their address as may be",
            ),
            proxy_headers_refused: Total::new(
                meter,
                "proxy_headers_refused_total",
                "Connections of trusted proxies closed because they did not begin with the PROXY protocol",
            ),
            heads_refused: Total::new(
                meter,
                "request_heads_refused_total",
                "Request heads answered 400, 414 or 431 because they were malformed or too large",
            ),
            timed_out: Total::new(
                meter,
                "connections_timed_out_total",
                "Connections closed because no request head arrived in time",
            ),
            accept_errors: Total::new(
                meter,
                "accept_errors_total",
                "Errors of the listening socket, such as no free file descriptor",
            ),
        }
    }

    /// Counts a connection as open.
    pub fn opened(&self) {
        self.open.raise(1);
    }

    /// Counts a connection as closed that was counted as open.
    pub fn closed(&self) {
        self.open.lower(1);
    }

    /// Counts a connection closed because the cap was reached.
    pub fn refused(&self) {
        self.refused.increment();
    }

    /// Counts a connection closed because the cap of its address was reached.
    pub fn address_refused(&self) {
        self.address_refused.increment();
    }

    /// Counts a connection closed because its proxy did not say whom it is for.
    pub fn proxy_header_refused(&self) {
        self.proxy_headers_refused.increment();
    }

    /// Counts a request head that was malformed or too large.
    pub fn head_refused(&self) {
        self.heads_refused.increment();
    }

    /// Counts a connection closed because its request head did not arrive in time.
    pub fn timed_out(&self) {
        self.timed_out.increment();
    }

    /// Counts an error of the listening socket.
    pub fn accept_failed(&self) {
        self.accept_errors.increment();
    }
}

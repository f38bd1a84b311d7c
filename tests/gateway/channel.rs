//! Chat channels: accepted at once, answered once, in order, whatever happens in between.

mod accept;
mod crash;
mod edit;
mod linq;
mod order;
mod privacy;
mod retention;
mod send;
mod talk;
mod webhook_signature;
mod whatsapp;

use crate::support::{
    gateway::Gateway,
    platform::Platform,
    process::LONGEST_WAIT,
    sender::{self, Setting},
};

/// A gateway with WhatsApp, and the platform behind it.
async fn with_whatsapp(more: &[Setting<'_>]) -> (Gateway, Platform) {
    let platform = Platform::start();
    let settings: Vec<_> = sender::whatsapp(&platform).into_iter().chain(more.iter().copied()).collect();
    (Gateway::start_with(&settings).await, platform)
}

/// Waits until a query on the database says this.
async fn until_sql(gateway: &Gateway, query: &str, expected: &str) {
    let looking = async {
        while gateway.sql(query) != expected {
            tokio::task::yield_now().await;
        }
    };
    let found = tokio::time::timeout(LONGEST_WAIT, looking).await;
    assert!(found.is_ok(), "{query}: {expected:?} is expected, but it stays {:?}", gateway.sql(query));
}

//! Chat channels: accepted at once, answered once, in order, whatever happens in between.

mod accept;
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
    gateway::{Gateway, until_sql},
    platform::Platform,
    sender::{self, Setting},
};

/// A gateway with WhatsApp, and the platform behind it.
pub async fn with_whatsapp(more: &[Setting<'_>]) -> (Gateway, Platform) {
    let platform = Platform::start();
    let settings: Vec<_> = sender::whatsapp(&platform).into_iter().chain(more.iter().copied()).collect();
    (Gateway::start_with(&settings).await, platform)
}

//! Moorgate: a gateway between the outside world and a language model. What it has told anyone, it never forgets.
//!
//! The crate is a library with a small binary on top. From the outside in:
//!
//! | module | what it holds |
//! |---|---|
//! | [`cli`] | one file for each command |
//! | [`app`] | the composition root: what starts in which order, and stops |
//! | [`http`] | what clients see: routes, layers, errors, connections |
//! | [`service`] | use cases with several collaborators: pairing, the turn |
//! | [`provider`] | language models |
//! | [`channel`] | chat platforms |
//! | [`repository`] | what is remembered, as traits |
//! | [`sqlite`] | their one implementation, and the only place with SQL |
//! | [`domain`] | pure values and rules |
//! | [`config`] | what the operator may set |
//! | [`telemetry`] | logs and metrics |
//! | [`system`] | clock and randomness |
//! | [`outbound`] | calls to other people's servers |
//! | [`tunnel`] | programs that make the gateway reachable from elsewhere |
//!
//! `docs/ARCHITECTURE.md` walks through a request.

pub mod app;
pub mod channel;
pub mod cli;
pub mod config;
pub mod domain;
pub mod http;
pub mod outbound;
pub mod provider;
pub mod repository;
pub mod service;
pub mod sqlite;
pub mod system;
pub mod telemetry;
pub mod tunnel;

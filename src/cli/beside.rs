//! Commands beside a server: they open the same file, take their one step, and close it.

use std::sync::Arc;

use super::{Failure, FileArgs, block_on, load};
use crate::{
    app, config::Config, domain::time::Millis, repository::StoreError, service::pairing::PairingService,
    sqlite::SqliteStore,
};

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::new(Self::DATABASE, error)
    }
}

/// The open store, what issues codes on it, and the present moment.
pub(super) struct Beside {
    pub(super) store: Arc<SqliteStore>,
    pub(super) pairing: PairingService,
    pub(super) now: Millis,
}

/// Takes a step on a database that exists.
///
/// # Errors
/// A [`Failure`]: of the configuration, of the database, or that of the step.
pub(super) fn run<T>(
    files: FileArgs,
    step: impl AsyncFnOnce(&Beside) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let config = load(files, Vec::new())?;
    let path = &config.database.path;
    if !path.exists() {
        return Err(Failure::new(Failure::DATABASE, format!("there is no database at {}", path.display())));
    }
    run_on(&config, step)
}

/// Takes a step on a database that is made if it is missing.
///
/// # Errors
/// A [`Failure`]: of the database, or that of the step.
pub(super) fn run_on<T>(
    config: &Config,
    step: impl AsyncFnOnce(&Beside) -> Result<T, Failure>,
) -> Result<T, Failure> {
    block_on(async {
        let (store, pairing, clock) = app::open_beside(config).await?;
        let beside = Beside { store, pairing, now: clock.now() };
        let taken = step(&beside).await;
        beside.store.close().await;
        taken
    })
}

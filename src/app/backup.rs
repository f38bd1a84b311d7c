//! The backups of a running server: a task beside everything else, which asks now and then whether one is due.

use std::{convert::Infallible, sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{Core, part};
use crate::{
    config::Config,
    domain::health::{Component, State},
    service::supervisor::{Pulse, Supervisor},
    sqlite::{Rotation, UpkeepError},
};

/// The pause between two questions whether a backup is due.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Backups that are made by themselves, if the configuration says where.
pub(super) struct Backups {
    rotation: Option<Arc<Rotation>>,
    stopping: CancellationToken,
}

impl Backups {
    /// Nothing is made yet. `stopping` ends one that is at work soon, and it leaves nothing behind.
    pub(super) fn new(config: &Config, core: &Core, stopping: CancellationToken) -> Self {
        let rotation = part::backup_schedule(config).map(|schedule| {
            let (clock, metrics) = (Arc::clone(&core.clock), Arc::clone(&core.metrics));
            Arc::new(Rotation::new(part::database_settings(config), schedule, clock, metrics))
        });
        Self { rotation, stopping }
    }

    /// Begins to look whether one is due.
    pub(super) fn keep(&self, supervisor: &Arc<Supervisor>) -> Option<JoinHandle<()>> {
        let (rotation, stopping) = (self.rotation.clone()?, self.stopping.clone());
        Some(supervisor.keep(Component::Backups, stopping.clone(), move |pulse| {
            run(Arc::clone(&rotation), pulse, stopping.clone())
        }))
    }

    /// Makes a backup if one is due. Whether it was.
    pub(super) async fn run_once(&self) -> Result<bool, UpkeepError> {
        match &self.rotation {
            Some(rotation) => rotation.run_once(&self.stopping).await.map(|made| made.is_some()),
            None => Ok(false),
        }
    }
}

async fn run(rotation: Arc<Rotation>, pulse: Pulse, stopping: CancellationToken) -> Result<(), Infallible> {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pulse.is_well();
    while stopping.run_until_cancelled(tick.tick()).await.is_some() {
        match rotation.run_once(&stopping).await {
            Ok(Some(_)) => pulse.is_well(),
            Ok(None) => {} // none was due, or the last one failed a short time ago
            Err(_) => pulse.say(State::Error), // what came of it is counted and logged
        }
    }
    Ok(())
}

//! The backups of a running server: a task beside everything else, which asks now and then whether one is due.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{Core, part};
use crate::{
    config::Config,
    sqlite::{Rotation, UpkeepError},
};

/// The pause between two questions whether a backup is due.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Backups that are made by themselves, if the configuration says where.
pub(super) struct Backups {
    rotation: Option<Arc<Rotation>>,
    stopping: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Backups {
    /// Starts the task. `stopping` ends it.
    pub(super) fn start(config: &Config, core: &Core, stopping: CancellationToken) -> Self {
        let rotation = part::backup_schedule(config).map(|schedule| {
            let (clock, metrics) = (Arc::clone(&core.clock), Arc::clone(&core.metrics));
            Arc::new(Rotation::new(part::database_settings(config), schedule, clock, metrics))
        });
        let task = rotation.clone().map(|rotation| tokio::spawn(run(rotation, stopping.clone())));
        Self { rotation, stopping, task }
    }

    /// Makes a backup if one is due. Whether it was.
    pub(super) async fn run_once(&self) -> Result<bool, UpkeepError> {
        match &self.rotation {
            Some(rotation) => rotation.run_once(&self.stopping).await.map(|made| made.is_some()),
            None => Ok(false),
        }
    }

    /// Waits until the task has ended. One that is at work gives up soon, and leaves nothing behind.
    pub(super) async fn ended(&mut self) {
        if let Some(task) = &mut self.task {
            task.await.ok();
        }
    }
}

async fn run(rotation: Arc<Rotation>, stopping: CancellationToken) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stopping.run_until_cancelled(tick.tick()).await.is_some() {
        rotation.run_once(&stopping).await.ok(); // what came of it is counted and logged
    }
}

//! The commands, each from its arguments to what it prints.

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{BackupArgs, OutputArgs, RestoreArgs, text};
use crate::{
    app::{self, StartError},
    cli::{Failure, load, print, signals::Signals},
    config::Config,
    sqlite::{self, DatabaseSettings, Removed, Restore, Stage, UpkeepError, Watch},
    system::{Clock as _, SystemClock},
};

pub(super) async fn info(arguments: OutputArgs) -> Result<(), Failure> {
    let (json, settings) = open(arguments)?;
    let info = sqlite::info(&settings).await?;
    show(json, &info, text::info)
}

pub(super) async fn check(arguments: OutputArgs) -> Result<(), Failure> {
    let (json, settings) = open(arguments)?;
    let line = ProgressLine::new();
    let checked = sqlite::check(&settings, &|stage| line.show(&text::progress(stage))).await;
    line.clear();
    let checked = checked?;
    show(json, &checked, text::checked)?;
    let found = checked.found();
    if found == 0 {
        return Ok(());
    }
    let path = settings.path.display();
    let text = format!("{path} is not sound: {found} of the checks above found something");
    Err(Failure::new(Failure::DATABASE, text))
}

pub(super) async fn backup(arguments: BackupArgs) -> Result<(), Failure> {
    let (json, settings) = open(arguments.output)?;
    let backup =
        watched(async |watch| sqlite::back_up(&settings, &arguments.file, arguments.force, watch).await)
            .await?;
    show(json, &backup, text::backup)
}

pub(super) async fn restore(arguments: RestoreArgs) -> Result<(), Failure> {
    let (json, settings) = open(arguments.output)?;
    let restore = watched(async |watch| Restore::prepare(&settings, &arguments.file, watch).await).await?;
    if restore.replaces() {
        let question = format!(
            "Replace {} with {}? Its old contents are kept.",
            settings.path.display(),
            arguments.file.display()
        );
        arguments.confirm.ask(&question)?;
    }
    let restored = restore.finish(SystemClock::new().wall()).await?;
    show(json, &restored, text::restored)
}

pub(super) async fn vacuum(arguments: OutputArgs) -> Result<(), Failure> {
    let (json, settings) = open(arguments)?;
    let line = ProgressLine::new();
    let vacuumed = sqlite::vacuum(&settings, &|stage| line.show(&text::progress(stage))).await;
    line.clear();
    show(json, &vacuumed?, text::vacuumed)
}

pub(super) async fn migrate(arguments: OutputArgs) -> Result<(), Failure> {
    let (json, settings) = open(arguments)?;
    let migrated = sqlite::migrate(&settings).await?;
    show(json, &migrated, text::migrated)
}

pub(super) async fn prune(arguments: OutputArgs) -> Result<(), Failure> {
    let config = load(arguments.files, Vec::new())?;
    must_exist(&config)?;
    let (store, _, _) = app::open_beside(&config).await?;
    let line = ProgressLine::new();
    let removed = store.prune(&|removed: &Removed| line.show(&text::progress_of_prune(removed))).await;
    line.clear();
    store.close().await;
    show(arguments.json, &removed.map_err(StartError::from)?, text::removed)
}

fn open(arguments: OutputArgs) -> Result<(bool, DatabaseSettings), Failure> {
    let config = load(arguments.files, Vec::new())?;
    Ok((arguments.json, app::database_settings(&config)))
}

/// A command that would make a new database where there is none has the wrong path.
fn must_exist(config: &Config) -> Result<(), Failure> {
    let path = config.database.path.clone();
    if path.exists() { Ok(()) } else { Err(StartError::from(sqlite::OpenError::Missing(path)).into()) }
}

/// Does work that shows how far it is on a terminal, and that ends in order at Ctrl-C and SIGTERM.
async fn watched<T>(work: impl AsyncFnOnce(&Watch<'_>) -> Result<T, UpkeepError>) -> Result<T, Failure> {
    let (stop, line, mut signals) = (CancellationToken::new(), ProgressLine::new(), Signals::catch()?);
    let progress = |stage: Stage| line.show(&text::progress(stage));
    let watch = Watch { stop: &stop, progress: &progress };
    let work = work(&watch);
    tokio::pin!(work);
    let result = tokio::select! {
        result = &mut work => result,
        () = signals.next() => {
            stop.cancel();
            work.await
        }
    };
    line.clear();
    Ok(result?)
}

/// A line on standard error that is written over again and again, if that is a terminal.
struct ProgressLine {
    is_seen: bool,
}

impl ProgressLine {
    fn new() -> Self {
        Self { is_seen: io::stderr().is_terminal() }
    }

    fn show(&self, text: &str) {
        if self.is_seen {
            write!(io::stderr(), "\r\x1b[K{text}").ok(); // nobody may be looking
        }
    }

    fn clear(&self) {
        self.show("");
    }
}

fn show<T: Serialize>(json: bool, value: &T, text: impl Fn(&T) -> String) -> Result<(), Failure> {
    let shown = if json {
        serde_json::to_string(value).map_err(|error| Failure::new(Failure::DATABASE, error))? + "\n"
    } else {
        text(value)
    };
    print(shown);
    Ok(())
}

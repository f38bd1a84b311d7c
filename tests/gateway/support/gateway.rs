//! A gateway inside the test's process: the real server on a free port, a database of its own, a clock and a model that
//! the test moves.

use std::{net::SocketAddr, path::PathBuf, process::Command, sync::Arc};

use moorgate::{
    app::{App, Parts, StartError, database_settings},
    config::{Config, Inputs, Override, load},
    sqlite::{Finding, UpkeepError, check},
    system::{Clock, Entropy, SystemEntropy},
};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::{
    client::Client,
    model::TestModel,
    time::TestClock,
    wait::{until_is, until_query},
};

/// A running gateway.
pub struct Gateway {
    app: Option<App>,
    pub client: Client,
    pub clock: TestClock,
    pub model: TestModel,
    /// The code that it printed at its start.
    pub code: Option<String>,
    config: Config,
    folder: TempDir,
    _threads: Threads,
}

/// A gateway runs on threads of its own, so that a test may block its own: in the middle of a transaction the gateway
/// holds the database, and `sqlite3` waits for it. As in the program, calls of models and platforms have theirs.
struct Threads(Option<[Runtime; 2]>);

impl Threads {
    fn new() -> Self {
        let threads = |name, number| {
            Builder::new_multi_thread().worker_threads(number).thread_name(name).enable_all().build().unwrap()
        };
        Self(Some([threads("requests", 2), threads("calls", 1)]))
    }

    async fn start(&self, config: Config, parts: Parts) -> Result<App, StartError> {
        let [requests, calls] = self.0.as_ref().unwrap().each_ref().map(|runtime| runtime.handle().clone());
        let parts = Parts { calls: Some(calls), ..parts };
        let start = move || requests.block_on(App::start(&config, parts));
        tokio::task::spawn_blocking(start).await.unwrap()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.0.take().unwrap().into_iter().for_each(Runtime::shutdown_background);
    }
}

/// The default configuration, but a free port and a database in `folder`.
fn config_in(folder: &TempDir, settings: &[(&'static str, &str)]) -> Config {
    let mut overrides = vec![
        Override { flag: "--port", key: "gateway.port", value: "0".into() },
        Override {
            flag: "--database",
            key: "database.path",
            value: folder.path().join("moorgate.db").display().to_string(),
        },
    ];
    overrides.extend(settings.iter().map(|(key, value)| Override { flag: key, key, value: (*value).into() }));
    load(&Inputs { cwd: folder.path().into(), overrides, ..Inputs::default() }).unwrap()
}

impl Gateway {
    /// Starts with the default configuration.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts with some keys set, by their dotted names.
    pub async fn start_with(settings: &[(&'static str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let config = config_in(&folder, settings);
        let (clock, model) = (TestClock::new(), TestModel::new());
        let app = start(&config, &clock, &model).await.unwrap();
        Self::of(app, clock, model, config, folder)
    }

    /// Starts with some keys set, and pairs a client: its token.
    pub async fn paired_with(settings: &[(&'static str, &str)]) -> (Self, String) {
        let gateway = Self::start_with(settings).await;
        let token = gateway.pair().await;
        (gateway, token)
    }

    fn of(
        (app, threads): (App, Threads),
        clock: TestClock,
        model: TestModel,
        config: Config,
        folder: TempDir,
    ) -> Self {
        let client = Client::new(app.address());
        let code = app.pairing_code().map(|code| code.expose().to_owned());
        Self { app: Some(app), client, clock, model, code, config, folder, _threads: threads }
    }

    /// Stops in order and starts again on the same file, with the same clock and model.
    pub async fn restart(mut self) -> Self {
        self.stop().await;
        let app = start(&self.config, &self.clock, &self.model).await.unwrap();
        Self::of(app, self.clock.clone(), self.model.clone(), self.config.clone(), self.take_folder())
    }

    /// Stops in order and starts again on the same file with other keys set.
    pub async fn restart_with(mut self, settings: &[(&'static str, &str)]) -> Self {
        self.stop().await;
        let config = config_in(&self.folder, settings);
        let app = start(&config, &self.clock, &self.model).await.unwrap();
        Self::of(app, self.clock.clone(), self.model.clone(), config, self.take_folder())
    }

    /// Stops in order and starts again after the wall clock was set by so many milliseconds while nothing ran.
    pub async fn restart_with_clock_set(mut self, by_ms: i64) -> Self {
        self.stop().await;
        self.clock.step_wall(by_ms);
        self.restart().await
    }

    /// Leaves it behind as `kill -9` would, and starts again on a copy of what is on disk, with the same clock and a new
    /// model. Nobody may write to the database meanwhile, nor checkpoint it.
    pub async fn killed(self) -> Self {
        let (folder, mut config) = (TempDir::new().unwrap(), self.config.clone());
        // First the file, then its WAL: what a checkpoint writes to the one stays in the other.
        for suffix in ["", "-wal"] {
            let name = format!("moorgate.db{suffix}");
            std::fs::copy(self.folder.path().join(&name), folder.path().join(&name)).unwrap();
        }
        config.database.path = folder.path().join("moorgate.db");
        let (clock, model) = (self.clock.clone(), TestModel::new());
        let app = start(&config, &clock, &model).await.unwrap();
        Self::of(app, clock, model, config, folder)
    }

    /// Tries to start another gateway on the same file.
    pub async fn start_another(&self) -> Result<(), StartError> {
        start(&self.config, &self.clock, &self.model).await.map(drop)
    }

    /// Stops in order.
    pub async fn stop(&mut self) {
        if let Some(app) = self.app.take() {
            app.shutdown().await;
        }
    }

    /// Forgets what has expired by now.
    pub async fn sweep(&self) {
        self.app.as_ref().unwrap().sweep().await.unwrap();
    }

    /// Puts what was said into memory.
    pub async fn remember(&self) {
        self.app.as_ref().unwrap().remember().await.unwrap();
    }

    /// What breaks a promise in the database.
    pub async fn findings(&self) -> Vec<Finding> {
        check(&database_settings(&self.config), &|_| ()).await.unwrap().findings
    }

    /// Makes a backup if one is due. Whether it was.
    pub async fn back_up(&self) -> Result<bool, UpkeepError> {
        self.app.as_ref().unwrap().back_up().await
    }

    /// Pairs with the code that was printed at the start.
    pub async fn pair(&self) -> String {
        self.client.paired(self.code.as_ref().unwrap()).await
    }

    /// A further code, as `moorgate pair` issues it.
    pub async fn another_code(&self) -> String {
        let (store, pairing, _) = moorgate::app::open_beside(&self.config).await.unwrap();
        let now = moorgate::system::SteadyClock::new(Arc::new(self.clock.clone())).now();
        let code = pairing.issue_code("another", now).await.unwrap();
        store.close().await;
        code.expose().to_owned()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.app.as_ref().unwrap().address()
    }

    /// The value of one series of `/metrics`, by its name and labels as they are shown there; 0 if it is not shown.
    pub async fn metric(&self, series: &str) -> u64 {
        let text = self.client.get("/metrics").await.text;
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Scrapes until a series has a value.
    pub async fn until_metric(&self, series: &str, value: u64) {
        until_is(series, &value, async || self.metric(series).await).await;
    }

    pub fn database(&self) -> PathBuf {
        self.folder.path().join("moorgate.db")
    }

    /// What Debian's `sqlite3` prints for a statement on the live file.
    pub fn sql(&self, statement: &str) -> String {
        sqlite3(&self.database(), statement)
    }

    fn take_folder(&mut self) -> TempDir {
        std::mem::replace(&mut self.folder, TempDir::new().unwrap())
    }
}

async fn start(config: &Config, clock: &TestClock, model: &TestModel) -> Result<(App, Threads), StartError> {
    let parts = Parts {
        clock: Arc::new(clock.clone()) as Arc<dyn Clock>,
        entropy: Arc::new(SystemEntropy) as Arc<dyn Entropy>,
        provider: Some(Arc::new(model.clone())),
        ..Parts::default()
    };
    let threads = Threads::new();
    Ok((threads.start(config.clone(), parts).await?, threads))
}

/// Waits until a query on the database says this.
pub async fn until_sql(gateway: &Gateway, query: &str, expected: &str) {
    until_query(&gateway.database(), query, expected).await;
}

/// Runs Debian's `sqlite3` as an operator would.
pub fn sqlite3(database: &std::path::Path, statement: &str) -> String {
    let output =
        Command::new("sqlite3").args(["-cmd", ".timeout 10000"]).arg(database).arg(statement).output();
    let output = output.expect("sqlite3 is installed (Debian: apt-get install sqlite3)");
    assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

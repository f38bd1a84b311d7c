//! The configuration as an operator meets it: files, variables and flags in, a [`Config`] or problems out.

mod channel;
mod edge;
mod example;
mod layer;
mod platform;
mod problem;
mod provider;
mod secret;

use std::{
    ffi::OsString,
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use super::{Config, Inputs, Override, load};

/// A working folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("moorgate-config-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn with(self, name: &str, text: impl AsRef<[u8]>) -> Self {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn inputs(&self, env: &[(&str, &str)]) -> Inputs {
        let env = env.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
        Inputs { env, cwd: self.0.clone(), ..Inputs::default() }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// What `./config.toml` and the variables make together.
fn config(file: &str, env: &[(&str, &str)]) -> Config {
    load(&Folder::new().with("config.toml", file).inputs(env)).unwrap()
}

/// Checks that `./config.toml` and the variables are refused in these words, one problem per line.
fn refuses(file: &str, env: &[(&str, &str)], problems: &str) {
    assert_eq!(refusal(&Folder::new().with("config.toml", file).inputs(env)), problems);
}

fn refusal(inputs: &Inputs) -> String {
    load(inputs).unwrap_err().to_string()
}

fn flag(flag: &'static str, key: &'static str, value: &str) -> Override {
    Override { flag, key, value: value.to_owned() }
}

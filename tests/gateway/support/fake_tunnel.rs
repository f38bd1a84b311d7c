//! The programs that make tunnels, played by a script that is first on the `PATH` of the real program.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use serde_json::Value;
use tempfile::TempDir;

use super::wait::until;

const SCRIPT: &str = include_str!("../../fixtures/fake_tunnel.py");

/// The programs, and what they are told to do.
pub struct FakeTunnel {
    folder: TempDir,
    path: String,
}

/// What a program was given when it was run.
pub struct Run {
    pub pid: u32,
    pub group: u32,
    pub arguments: Vec<String>,
    pub environment: Value,
    /// The port of its API, and of the far side of the tunnel.
    pub edge: u16,
}

impl FakeTunnel {
    /// Programs that come up.
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let script = folder.path().join("fake_tunnel");
        fs::write(&script, SCRIPT).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let programs = folder.path().join("bin");
        fs::create_dir(&programs).unwrap();
        for name in ["cloudflared", "tailscale", "ngrok", "own-tunnel"] {
            symlink(&script, programs.join(name)).unwrap();
        }
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", programs.display());
        Self { folder, path }
    }

    /// The variables with which a gateway finds them.
    pub fn env(&self) -> [(&str, &str); 2] {
        [("PATH", &self.path), ("FAKE", self.folder.path().to_str().unwrap())]
    }

    /// Tells the programs something, in whole.
    pub fn tell(&self, what: &str, text: &str) {
        let whole = self.folder.path().join(format!("{what}.whole"));
        fs::write(&whole, text).unwrap();
        fs::rename(whole, self.file(what)).unwrap();
    }

    /// Takes it back.
    pub fn untell(&self, what: &str) {
        fs::remove_file(self.file(what)).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Waits until the programs have written this.
    pub async fn until_written(&self, name: &str) -> String {
        until(&format!("a program writes {name}"), async || self.file(name).exists()).await;
        fs::read_to_string(self.file(name)).unwrap()
    }

    /// Waits until a program has been run for the `number`-th time, from 0.
    pub async fn run(&self, number: usize) -> Run {
        let given: Value = serde_json::from_str(&self.until_written(&format!("run.{number}")).await).unwrap();
        let id = |name: &str| u32::try_from(given[name].as_u64().unwrap()).unwrap();
        let arguments = given["arguments"].as_array().unwrap().iter();
        Run {
            pid: id("pid"),
            group: id("group"),
            arguments: arguments.map(|argument| argument.as_str().unwrap().to_owned()).collect(),
            environment: given["environment"].clone(),
            edge: u16::try_from(id("edge")).unwrap(),
        }
    }

    /// How often a program has been run.
    pub fn runs(&self) -> usize {
        let names = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_str().unwrap().starts_with("run.")).count()
    }
}

/// Whether a process runs; one that has ended and that nobody asked about does not.
pub fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X'])))
}

/// The command lines of all processes of a group.
pub fn command_lines(group: u32) -> Vec<String> {
    let of_group = |path: &Path| {
        let stat = fs::read_to_string(path.join("stat")).ok()?;
        let rest = stat.rsplit_once(") ")?.1;
        let its = rest.split(' ').nth(2)?.parse::<u32>().ok()?;
        if rest.starts_with(['Z', 'X']) {
            return None; // it has ended, and waits for its parent to see it
        }
        let line = fs::read(path.join("cmdline")).ok()?;
        (its == group).then(|| String::from_utf8_lossy(&line).replace('\0', " "))
    };
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    processes.filter_map(|entry| of_group(&entry.path())).collect()
}

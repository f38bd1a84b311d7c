//! The configuration file, which pairing must leave alone.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use tempfile::TempDir;

use crate::support::process::{Process, moorgate};

const FILE: &str = "\
# Ask Jo before you change this.
[gateway]
webhook_rate_limit_per_minute   =  0x3c   # sixty\r
paired_tokens = [
    'zc_old', # the laptop
]
";

/// All that can be seen of the file: its text, mode, inode, and when it was last changed in any way.
fn seen(file: &Path) -> (Vec<u8>, u32, u64, i64, i64) {
    let meta = fs::metadata(file).unwrap();
    (fs::read(file).unwrap(), meta.mode(), meta.ino(), meta.ctime(), meta.ctime_nsec())
}

fn run(folder: &Path, arguments: &[&str]) -> String {
    let output = moorgate(folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Failure 24: pairing wrote the whole configuration anew from its start-up copy: comments and hand edits lost,
/// environment overrides made permanent, mode 0600 became 0644.
#[tokio::test]
async fn pairing_leaves_the_configuration_file_untouched() {
    for mode in [0o600, 0o440] {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("config.toml");
        fs::write(&file, FILE).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        let before = seen(&file);

        let mut process = Process::start(folder.path(), &[("MOORGATE_GATEWAY__PAIR_LOCKOUT_SECS", "7")]);
        let banner = run(folder.path(), &["pair", "--label", "phone"]);
        let code = banner.lines().find_map(|line| line.strip_prefix("X-Pairing-Code: ")).unwrap();
        let token = process.client.paired(code).await;
        let created = run(folder.path(), &["token", "create", "--label", "ci"]);
        for token in ["zc_old", token.as_str()] {
            assert_eq!(process.client.post(token, None, "hello").await.status, 200);
        }
        assert!(created.starts_with("zc_"));
        assert_eq!(seen(&file), before);

        process.signal("TERM");
        assert!(process.wait().success());
        assert_eq!(seen(&file), before);
    }
}

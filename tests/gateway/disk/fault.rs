//! Each call that changes the disk fails in its turn: with an I/O error once, or with a full disk until it is over.

use std::{fs::OpenOptions, os::unix::fs::FileExt as _};

use tempfile::TempDir;

use super::Shim;
use crate::support::{
    client::Reply,
    gateway::sqlite3,
    process::{Process, moorgate, run},
    size::size,
    wait::until_some,
};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

impl Shim {
    /// The call after so many others fails, and if it is to go on, so do all later ones.
    fn fail(&self, calls: i32, error: i32, goes_on: bool) {
        // In the place of the old numbers, since the program has mapped the file; how many last, since that is what counts.
        let file = OpenOptions::new().write(true).open(&self.fail).unwrap();
        file.write_all_at(&0_i32.to_ne_bytes(), 0).unwrap();
        file.write_all_at(&[error, i32::from(goes_on)].map(i32::to_ne_bytes).concat(), 4).unwrap();
        file.write_all_at(&calls.to_ne_bytes(), 0).unwrap();
    }
}

/// Posts and attempts to pair while the disk fails: whoever is refused is served when it works again.
#[tokio::test]
async fn whatever_call_fails_a_refused_request_succeeds_when_it_is_sent_again() {
    let Some(shim) = Shim::build() else { return };
    let folder = TempDir::new().unwrap();
    let mut env = shim.env("MOORGATE_SHIM_FAIL");
    env.push(("MOORGATE_GATEWAY__REQUEST_TIMEOUT_SECS", "5"));
    let process = Process::start(folder.path(), &env);
    let calls = i32::try_from(size("MOORGATE_TEST_CALLS", 30)).unwrap();
    let (mut refused, mut answers) = (0, Vec::new());
    for (error, goes_on) in [(EIO, false), (ENOSPC, true)] {
        for call in 1..=calls {
            let key = format!("key-{error}-{call}");
            shim.fail(call, error, goes_on);
            let first = process.client.post("", Some(&key), "hello").await;
            shim.fail(0, 0, false);
            let reply = if first.status == 200 {
                first
            } else {
                assert_refused(&first);
                refused += 1;
                // An answer whose claim was written before the disk failed is kept until it can be written, too.
                until_told(async || process.client.post("", Some(&key), "hello").await).await
            };
            assert_eq!(
                (reply.status, reply.json()["response"] == "hello"),
                (200, true),
                "{error} {call}: {reply:?}"
            );
            answers.push(key);

            let client =
                process.client.seen_from(&format!("127.{}.{}.{}", 10 + error, call / 200, 1 + call % 200));
            shim.fail(call, error, goes_on);
            let first = client.pair("wrong").await;
            shim.fail(0, 0, false);
            if first.status != 403 {
                assert_refused(&first);
                assert_eq!(until_told(async || client.pair("wrong").await).await.status, 403);
            }
        }
    }
    assert!(refused > 0, "no call failed");
    assert_eq!(process.client.get("/ready").await.status, 200);
    process.kill();
    assert_sound(&folder);
    let process = Process::start(folder.path(), &super::OPEN);
    for key in &answers {
        let replay = process.client.post("", Some(key), "hello").await;
        assert_eq!(replay.header("idempotency-replayed"), Some("true"), "{key}: {replay:?}");
    }
    let told = "SELECT count(*) FROM pairing_failure";
    assert!(
        sqlite3(&process.database, told).parse::<i32>().unwrap() >= 2 * calls,
        "each refusal was counted"
    );
}

/// Sends again for as long as the work goes on, or a commit is in doubt, and if the disk took longer than a request may.
async fn until_told(mut send: impl AsyncFnMut() -> Reply) -> Reply {
    let told = async || Some(send().await).filter(|reply| ![408, 409, 503].contains(&reply.status));
    until_some("the work comes to an end", told).await
}

/// Refused; or not told, as long as it is not known whether a commit is on the disk.
fn assert_refused(reply: &Reply) {
    assert!([503, 408].contains(&reply.status), "{reply:?}");
}

fn assert_sound(folder: &TempDir) {
    let checked = run(moorgate(folder.path()).args(["db", "check"]));
    assert_eq!(checked.code, Some(0), "{checked:?}");
}

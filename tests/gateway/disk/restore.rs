//! `moorgate db restore` and a power cut.

use std::fs;

use tempfile::TempDir;

use super::{
    OPEN, Shim,
    record::{Change, read},
};
use crate::support::process::{Process, moorgate, run};

/// The WAL of a database that was gone could stand beside the restored one, and be applied to it: its removal was not on disk
/// when the restored one got its name.
#[test]
fn what_is_left_of_an_old_database_is_gone_for_good_before_the_restored_one_has_its_name() {
    let Some(shim) = Shim::build() else { return };
    let outer = TempDir::new().unwrap();
    let folder = outer.path().join("folder-of-moorgate.db"); // so that the shim watches the folder, too
    fs::create_dir(&folder).unwrap();
    drop(Process::start(&folder, &OPEN));
    let backed_up = run(moorgate(&folder).args(["db", "backup", "copy.db"]));
    assert_eq!(backed_up.code, Some(0), "{backed_up:?}");
    for suffix in ["", "-wal", "-shm"] {
        fs::remove_file(folder.join(format!("moorgate.db{suffix}"))).ok();
    }
    fs::write(folder.join("moorgate.db-wal"), "left over").unwrap();

    let database = folder.join("moorgate.db");
    let mut restore = moorgate(&folder);
    restore.args(["db", "restore", "copy.db", "--yes", "--database"]).arg(&database);
    let restored = run(restore.envs(shim.env("MOORGATE_SHIM_RECORD")));
    assert_eq!(restored.code, Some(0), "{restored:?}");

    let changes = read(&fs::read(&shim.record).unwrap());
    let place = |is: &dyn Fn(&Change) -> bool| changes.iter().position(|(_, _, change)| is(change)).unwrap();
    let removed = place(&|change| matches!(change, Change::Remove(name) if name == "moorgate.db-wal"));
    let named = place(&|change| matches!(change, Change::Rename(name) if name == "moorgate.db"));
    let folder_file = changes[removed..named].iter().find_map(|(_, file, change)| match change {
        Change::Name(name) if name == "folder-of-moorgate.db" => Some(*file),
        _ => None,
    });
    let folder_file = folder_file.expect("the folder is opened after the removal");
    let is_synced =
        |(_, file, change): &(usize, i64, Change)| *file == folder_file && matches!(change, Change::Sync(_));
    assert!(changes[removed..named].iter().any(is_synced), "and synced before the name is given");
}
